"""Starters: what a new conversation offers to begin with."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Starter:
    """A button of an empty conversation, and the message that it sends."""

    label: str
    message: str
