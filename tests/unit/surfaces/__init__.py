"""Surfaces without a process around them: rendering, parsing, and the ASGI middlewares."""
