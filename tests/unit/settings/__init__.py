"""The environment as config, and all that may be wrong with it."""
