"""``POST /chat``: a message in, the answer out as server-sent events of plain text.

Nothing but ``data:`` lines. A newline inside text becomes a second ``data:`` line of the same
event; text that is just ``[DONE]`` is split, so that only the end looks like the end. With
``"format": "events"`` the same turn comes as typed events (wire.py).
"""

import re
from collections.abc import AsyncIterator, Callable
from typing import Literal

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from parley.auth.callers import Callers, Session
from parley.chat.engine import Engine
from parley.chat.errors import InvalidRequest, Restarted
from parley.chat.events import Attempt, ErrorEvent, Event, Snapshot, TextEvent
from parley.chat.turns import Turn, TurnRequest
from parley.observability.logs import get_logger
from parley.surfaces.bodies import decode_body
from parley.surfaces.wire import event_json

logger = get_logger(__name__)

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
DONE = b"data: [DONE]\n\n"
ID_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_NEWLINES = re.compile(r"\r\n|\r|\n")


class ChatBody(msgspec.Struct):
    """The body of ``POST /chat``; fields that are not named here are ignored."""

    session_id: str
    message: str
    model: str | None = None
    format: Literal["text", "events"] = "text"


def chat_routes(engine: Engine, callers: Callers, body_limit_bytes: int) -> APIRouter:
    """Make the route; `callers` says whose turn it is."""
    router = APIRouter()

    @router.post("/chat", summary="Send a message, stream the answer")
    async def chat(request: Request) -> StreamingResponse:
        body = await decode_body(request, ChatBody, body_limit_bytes)
        if not ID_PATTERN.fullmatch(body.session_id):
            raise InvalidRequest(
                "session_id must be 1 to 128 characters of A-Z a-z 0-9 . _ : and -."
            )
        session = callers.of_session(request, body.session_id)
        logger.info("Chat request", session=session.log_name)
        begun = await engine.submit(
            TurnRequest(
                owner=session.owner,
                thread_id=await _thread_id(engine, session),
                text=body.message,
                model=body.model,
                key=idempotency_key(request),
            )
        )
        render = event_frames if body.format == "events" else text_frames
        return event_stream(engine, begun.turn, render)

    return router


async def _thread_id(engine: Engine, session: Session) -> str:
    own = session.maybe_thread_id
    if own and await engine.owns_thread(session.owner.id, own):
        return own
    return session.thread_id


def event_stream(
    engine: Engine, turn: Turn, render: Callable[[AsyncIterator[Event]], AsyncIterator[bytes]]
) -> StreamingResponse:
    """Stream a turn; the client's leaving ends the reading, not the turn."""
    return StreamingResponse(
        render(engine.follow(turn)),
        media_type="text/event-stream",
        headers=HEADERS | {"x-turn-id": turn.id},
    )


def idempotency_key(request: Request) -> str | None:
    """Read the ``Idempotency-Key`` header; raises `InvalidRequest` where it is no id."""
    key = request.headers.get("idempotency-key")
    if key is not None and not ID_PATTERN.fullmatch(key):
        raise InvalidRequest(
            "Idempotency-Key must be 1 to 128 characters of A-Z a-z 0-9 . _ : and -."
        )
    return key


async def event_frames(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    """Render all events as JSON, then ``[DONE]``."""
    async for event in events:
        yield b"data: " + event_json(event) + b"\n\n"
    yield DONE


async def text_frames(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    """Render the answer's text and, as text, an error; then ``[DONE]``."""
    shown = False
    async for event in events:
        match event:
            case TextEvent(text=text) | Snapshot(text=text):
                yield text_frame(text)
                shown = True
            case ErrorEvent(message=message):
                yield text_frame(f"\n\n{message}" if shown else message)
            case Attempt(keep=False) if shown:
                # This wire cannot take text back: the turn goes on and is in the history.
                yield text_frame(f"\n\n{Restarted(_RESTARTED).message}")
                break
    yield DONE


_RESTARTED = "The answer began again. Its final form is in the history of this conversation."


def text_frame(text: str) -> bytes:
    """Render text as one event, or two where it would look like the end."""
    if text == "[DONE]":
        return text_frame("[DONE") + text_frame("]")
    if "\n" in text or "\r" in text:
        text = "\ndata: ".join(_NEWLINES.split(text))
    return f"data: {text}\n\n".encode()
