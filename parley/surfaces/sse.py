"""``POST /chat``: a message in, the answer out as server-sent events of plain text.

Nothing but ``data:`` lines. A newline inside text becomes a second ``data:`` line of the same
event; a line of text that is just ``[DONE]`` is split, so that only the end looks like the end.
With ``"format": "events"`` the same turn comes as typed events (wire.py).
"""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Literal

import msgspec
from fastapi import APIRouter, Request

from parley.auth.callers import Callers
from parley.chat.engine import Engine
from parley.chat.events import ErrorEvent, Event, TextEvent
from parley.chat.turns import TurnRequest
from parley.observability.logs import get_logger
from parley.surfaces.appending import Appended
from parley.surfaces.following import followed
from parley.surfaces.http.bodies import decode_body
from parley.surfaces.http.event_stream import EventStream
from parley.surfaces.http.ids import checked_id, idempotency_key
from parley.surfaces.http.plain_route import PlainRoute
from parley.surfaces.http.schema import giving, taking
from parley.surfaces.sessions import thread_of
from parley.surfaces.wire import event_json

logger = get_logger(__name__)

_END = "[DONE]"
DONE = f"data: {_END}\n\n".encode()
_NEWLINES = re.compile(r"\r\n|\r|\n")


class ChatBody(msgspec.Struct):
    """The body of ``POST /chat``; fields that are not named here are ignored."""

    session_id: str
    message: str
    model: str | None = None
    format: Literal["text", "events"] = "text"


def chat_routes(engine: Engine, callers: Callers, body_limit_bytes: int) -> APIRouter:
    """Make the route; `callers` says whose turn it is."""
    router = APIRouter(tags=["chat"], route_class=PlainRoute)

    @router.post(
        "/chat",
        summary="Send a message, stream the answer",
        response_class=EventStream,
        responses=giving(kinds={"text/event-stream": "The answer's text, then [DONE]"}),
        openapi_extra=taking(ChatBody),
    )
    async def chat(request: Request) -> EventStream:
        body = await decode_body(request, ChatBody, body_limit_bytes)
        checked_id(body.session_id, "session_id")
        session = callers.of_session(request, body.session_id)
        logger.info("Chat request", session=session.log_name)
        owner, thread_id = await thread_of(engine, session)
        begun = await engine.submit(
            TurnRequest(
                owner=owner,
                thread_id=thread_id,
                text=body.message,
                model=body.model,
                key=idempotency_key(request),
            )
        )
        render = event_frames if body.format == "events" else text_frames
        turn = begun.turn
        return EventStream(render(followed(engine, turn)), {"x-turn-id": turn.id})

    return router


async def event_frames(events: AsyncGenerator[Event]) -> AsyncGenerator[bytes]:
    """Render all events as JSON, then ``[DONE]``."""
    async with aclosing(events):
        async for event in events:
            yield b"data: " + event_json(event) + b"\n\n"
    yield DONE


async def text_frames(events: AsyncGenerator[Event]) -> AsyncGenerator[bytes]:
    """Render the answer's text and, as text, an error; then ``[DONE]``."""
    appended, texts = Appended(), _Texts()
    async with aclosing(events):
        async for event in events:
            for frame in texts.framed(appended.of(event)):
                yield frame
            if appended.is_over:
                break
    yield DONE


class _Texts:
    """The text of events, without the second half of a line end that was cut in two."""

    def __init__(self) -> None:
        self._last = ""

    def framed(self, events: Sequence[Event]) -> list[bytes]:
        return [text_frame(text) for event in events if (text := self._of(event))]

    def _of(self, event: Event) -> str:
        if type(event) is TextEvent:
            text = event.text
        elif type(event) is ErrorEvent:
            text = f"\n\n{event.message}" if self._last else event.message
        else:
            return ""
        is_second_half = self._last == "\r" and text.startswith("\n")
        self._last = text[-1:] or self._last
        return text[1:] if is_second_half else text


def text_frame(text: str) -> bytes:
    """Render text as one event, or as more where a line of it would look like the end."""
    if _END not in text and "\n" not in text and "\r" not in text:
        return f"data: {text}\n\n".encode()
    frames: list[list[str]] = [[]]
    for line in _NEWLINES.split(text):
        if line.strip() == _END:
            cut = line.index("]")
            frames[-1].append(line[:cut])
            frames.append([line[cut:]])
        else:
            frames[-1].append(line)
    rendered = ("\n".join(f"data: {line}" for line in lines) for lines in frames)
    return "".join(f"{frame}\n\n" for frame in rendered).encode()
