"""Messages: role and parts, as the model sees them."""

import re
from dataclasses import dataclass
from enum import StrEnum

_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")


class Role(StrEnum):
    """Who speaks in a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class TextPart:
    """A run of text inside a message."""

    text: str


Part = TextPart


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; `parts` is never empty."""

    role: Role
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, role: Role, text: str) -> "Message":
        """Make a message of one text part."""
        return cls(role, (TextPart(text),))

    @property
    def text(self) -> str:
        """All text of the message, joined without separators."""
        return "".join(part.text for part in self.parts)


def storable_text(text: str) -> str:
    """Replace what no database takes, each by one character: NUL and lone surrogates."""
    return _NOT_STORABLE.sub("\N{REPLACEMENT CHARACTER}", text)
