"""HTTP: what the routes share: bodies, ids, failures, streams, schemas."""
