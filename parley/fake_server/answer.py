"""The answer: what is to be said, before a dialect says it."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from parley.fake_server.script import ToolCall

# How many pieces were said before; or which part of its end.
Mark = int | Literal["finish", "usage", "end"]
Said = tuple[Mark, bytes]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A piece of text, of the answer or of the thinking."""

    text: str
    thought: bool = False


Piece = Spoken | ToolCall


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `finish` is the neutral word or a raw one, "" for none at all."""

    number: int
    created: int
    model: str
    pieces: tuple[Piece, ...]
    finish: str
    input_tokens: int
    output_tokens: int
    usage: bool = True
    asked: Mapping[str, object] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The whole text, without the thinking."""
        return "".join(p.text for p in self.pieces if isinstance(p, Spoken) and not p.thought)

    @property
    def thinking(self) -> str:
        """The whole thinking."""
        return "".join(p.text for p in self.pieces if isinstance(p, Spoken) and p.thought)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls of tools."""
        return tuple(p for p in self.pieces if isinstance(p, ToolCall))


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something that went wrong, to be said in a dialect's shape."""

    status: int
    message: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one protocol writes: `stream` gives the data of each event, with its mark."""

    name: str
    stream: Callable[[Answer], Iterable[Said]]
    document: Callable[[Answer], object]
    complaint: Callable[[Complaint], bytes]
    failure: Callable[[Complaint], Iterable[bytes]]
    newline: str = "lf"
    headers: Mapping[str, str] = field(
        default_factory=lambda: {"Content-Type": "text/event-stream"}
    )


def encoded(payload: object) -> bytes:
    """Write JSON as servers do: no blanks, and no escapes that are not needed."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
