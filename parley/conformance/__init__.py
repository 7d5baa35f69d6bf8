"""Conformance: what a model server really does, seen on the wire and not in its documentation."""
