"""Starters: what a new conversation offers to begin with, alone or in a profile."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Starter:
    """A button of an empty conversation, and the message that it sends."""

    label: str
    message: str


@dataclass(frozen=True, slots=True)
class Profile:
    """A way to begin a conversation: with which model, told what, offering which starters.

    None is left to the configuration.
    """

    label: str
    description: str = ""
    model: str | None = None
    system_prompt: str | None = None
    temperature: float | None = None
    starters: tuple[Starter, ...] = ()
