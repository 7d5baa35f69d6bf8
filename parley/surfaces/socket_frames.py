"""Socket frames: what a WebSocket client says, and how its answers are written.

Three dialects. Typed: a bare text or a JSON object of the shapes below in, events out. Older
clients: ``{"id", "text"}`` both ways, the first frame of an answer with an empty text. Plain
(``?format=text``): a text in, each answer as one text.
"""

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from parley.chat.errors import InvalidRequest, ParleyError
from parley.chat.events import ErrorEvent, Event, TextEvent
from parley.chat.fold import Folded, fold
from parley.surfaces.appending import appending
from parley.surfaces.http.ids import checked_id
from parley.surfaces.wire import event_fields

# What is meant as JSON, right or wrong.
_IS_OBJECT = re.compile(r'\s*\{\s*["}]')
_encode = msgspec.json.Encoder().encode


class MessageFrame(msgspec.Struct, tag_field="type", tag="message", forbid_unknown_fields=True):
    """A message; `id` makes it safe to repeat within its conversation, and names its answer."""

    message: str
    id: str | None = None
    conversation_id: str | None = None
    model: str | None = None
    tools: list[str] | None = None


class StopFrame(msgspec.Struct, tag_field="type", tag="stop", forbid_unknown_fields=True):
    """Stops a turn."""

    turn_id: str


class FollowFrame(msgspec.Struct, tag_field="type", tag="follow", forbid_unknown_fields=True):
    """Reads a turn, from a cursor on."""

    turn_id: str
    after: int = 0


class PingFrame(msgspec.Struct, tag_field="type", tag="ping", forbid_unknown_fields=True):
    """Asks for a pong."""


class OldFrame(msgspec.Struct):
    """A message of an older client; its answer comes in frames with its id."""

    id: str
    text: str


Frame = MessageFrame | StopFrame | FollowFrame | PingFrame
Writer = Callable[[AsyncGenerator[Event]], AsyncGenerator[str]]

_decode_typed = msgspec.json.Decoder(Frame).decode
_decode_old = msgspec.json.Decoder(OldFrame).decode
_decode_keys = msgspec.json.Decoder(dict[str, Any]).decode


def read_frame(text: str) -> Frame | OldFrame:
    """Understand a frame; what is no JSON object is a message. Raises `InvalidRequest`."""
    if not _IS_OBJECT.match(text):
        return MessageFrame(text)
    try:
        keys = _decode_keys(text)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest(
            "The frame begins as JSON and is none. A message that looks like it goes into"
            ' {"type": "message", "message": …}.'
        ) from None
    is_old = "type" not in keys and {"id", "text"} <= keys.keys()
    try:
        frame = _decode_old(text) if is_old else _decode_typed(text)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The frame does not fit: {error}.") from None
    if isinstance(frame, MessageFrame | OldFrame) and frame.id is not None:
        checked_id(frame.id, "id")
    return frame


class ErrorFrame(msgspec.Struct):
    """An error that belongs to no event of a turn."""

    type: str
    turn_id: None
    seq: int
    content: str
    code: str
    retry_after_s: float | None
    id: str | UnsetType = UNSET


def error_frame(error: ParleyError, id: str | None = None) -> str:
    """Write an error; `id` is that of the message which it answers."""
    frame = ErrorFrame(
        "error", None, 0, error.message, error.code, error.retry_after_s, id or UNSET
    )
    return _encode(frame).decode()


def pong() -> str:
    """Write the answer to a ping."""
    return '{"type":"pong"}'


def old_frame(id: str, text: str) -> str:
    """Write a piece of an answer for an older client."""
    return _encode(OldFrame(id, text)).decode()


def typed(id: str | None) -> Writer:
    """Write every event; `id` is that of the message, if it had one."""

    async def write(events: AsyncGenerator[Event]) -> AsyncGenerator[str]:
        beside = {"id": id} if id else {}
        async with aclosing(events):
            async for event in events:
                yield _encode(event_fields(event) | beside).decode()

    return write


def old(id: str) -> Writer:
    """Write pieces of text with the message's id; this wire cannot take text back."""

    async def write(events: AsyncGenerator[Event]) -> AsyncGenerator[str]:
        yield old_frame(id, "")
        async with aclosing(appending(events)) as appended:
            async for event in appended:
                if isinstance(event, TextEvent):
                    yield old_frame(id, event.text)
                elif isinstance(event, ErrorEvent):
                    yield old_frame(id, event.message)

    return write


async def whole(events: AsyncGenerator[Event]) -> AsyncGenerator[str]:
    """Write the answer as one text; nothing of it was sent before, so none is taken back."""
    folded = Folded()
    async with aclosing(events):
        async for event in events:
            folded = fold([event], folded)
    yield "\n\n".join(filter(None, [folded.text, folded.error_message]))
