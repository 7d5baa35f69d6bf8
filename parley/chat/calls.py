"""Calls: the tool calls of one completion, put together from its deltas."""

import json
from collections.abc import Container
from dataclasses import dataclass

from parley.chat.deltas import ToolCallDelta
from parley.chat.errors import ProtocolViolation
from parley.chat.messages import ToolCallPart, storable_text

MOST_CALLS = 32
MOST_CHARS = 256 * 1024
# No tool has so long a name; a model may write what it likes.
_NAME_CHARS = 200


@dataclass(slots=True)
class _Open:
    id: str | None
    name: str
    arguments: list[str]
    signature: str | None


class Calls:
    """Collects calls in the order in which they began."""

    def __init__(self) -> None:
        """Begin with none."""
        self._calls: list[_Open] = []
        self._places: dict[int, int] = {}
        self._chars = 0

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, delta: ToolCallDelta) -> None:
        """Take a piece of a call; raises `ProtocolViolation` for calls without end."""
        self._chars += len(delta.arguments)
        place = self._places.get(delta.index)
        if place is None or _is_another(self._calls[place], delta):
            place = self._places[delta.index] = len(self._calls)
            self._calls.append(_Open(delta.id, "", [], None))
        call = self._calls[place]
        call.id = call.id or delta.id
        call.name = call.name or delta.name or ""
        call.signature = delta.signature or call.signature
        call.arguments.append(delta.arguments)
        if len(self._calls) > MOST_CALLS or self._chars > MOST_CHARS:
            raise ProtocolViolation("The model called tools without end. Ask it again.")

    def parts(self, taken: Container[str] = ()) -> tuple[ToolCallPart, ...]:
        """Give the calls, each with an id of its own that is not `taken`."""
        parts: list[ToolCallPart] = []
        used: set[str] = set()
        for number, call in enumerate(self._calls, 1):
            id = storable_text(call.id or f"call_{number}")
            base, again = id, 1
            while id in used or id in taken:
                again += 1
                id = f"{base}_{again}"
            used.add(id)
            arguments = storable_text("".join(call.arguments)) or "{}"
            name = storable_text(call.name)[:_NAME_CHARS]
            parts.append(ToolCallPart(id, name, arguments, call.signature))
        return tuple(parts)


def _is_another(call: _Open, delta: ToolCallDelta) -> bool:
    """Whether a server that counts every call as its first begins the next one."""
    if not (delta.name and call.name):
        return False
    if delta.name != call.name or (delta.id and call.id and delta.id != call.id):
        return True
    return bool(delta.arguments) and _is_whole("".join(call.arguments))


def _is_whole(arguments: str) -> bool:
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return False
    return True
