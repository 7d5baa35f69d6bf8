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
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class TextPart:
    """A run of text inside a message."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image that the user shows the model: its bytes, never an address that is fetched."""

    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A call that the model made, in its own message; `arguments` is JSON as the model wrote it.

    `signature` is what some providers want back with the call, as they sent it.
    """

    id: str
    name: str
    arguments: str
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    """What a call gave, in a message of role `TOOL`; `call_id` is the call's `id`."""

    call_id: str
    name: str
    text: str
    is_error: bool = False


Part = TextPart | ImagePart | ToolCallPart | ToolResultPart


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; `parts` is never empty.

    A `TOOL` message has one `ToolResultPart` and nothing else; images are the user's.
    """

    role: Role
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, role: Role, text: str) -> "Message":
        """Make a message of one text part."""
        return cls(role, (TextPart(text),))

    @property
    def text(self) -> str:
        """All text of the message, a tool's result included, joined without separators."""
        if len(self.parts) == 1 and type(self.parts[0]) is TextPart:
            return self.parts[0].text
        return "".join(p.text for p in self.parts if isinstance(p, TextPart | ToolResultPart))

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The images of the message."""
        return tuple(part for part in self.parts if isinstance(part, ImagePart))

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        """The calls of tools in the message."""
        return tuple(part for part in self.parts if isinstance(part, ToolCallPart))


def storable_text(text: str) -> str:
    """Replace what no database takes, each by one character: NUL and lone surrogates."""
    return _NOT_STORABLE.sub("\N{REPLACEMENT CHARACTER}", text)
