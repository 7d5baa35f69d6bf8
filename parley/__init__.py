"""Parley: self-hosted LLM chat in which a turn belongs to its thread, not to a socket."""

__version__ = "0.1.0"
