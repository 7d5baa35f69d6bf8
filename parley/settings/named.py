"""A variable of the environment that a command is told by name."""

import os


def environment_value(name: str) -> str | None:
    """Read a variable; None where it is not set, or empty."""
    return os.environ.get(name) or None
