"""Failures of tools: what the model is told, and the stable word that everybody else gets."""

from typing import Literal

Why = Literal[
    "failed",
    "invalid_arguments",
    "not_allowed",
    "not_found",
    "robots",
    "timeout",
    "too_large",
    "unavailable",
    "unsupported",
]


class ToolFailed(Exception):
    """A tool did not do what it was called for; the message says why, and what may help."""

    def __init__(self, message: str, why: Why = "failed") -> None:
        """Keep both."""
        super().__init__(message)
        self.message = message
        self.why: Why = why
