"""``POST {API_V1}/chat`` and ``/api/chat``: nothing is kept here, the caller keeps the context.

Typed events, nothing but ``data:`` lines; before `done` comes the conversation so far, sealed
(seal.py), which the next request brings along. The client's leaving stops the turn.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from time import time
from typing import Literal
from uuid import uuid4

import msgspec
from fastapi import APIRouter, Request

from parley.auth.callers import Callers
from parley.auth.principal import Principal, Scope
from parley.chat.engine import Engine
from parley.chat.events import Done, ErrorEvent, Event, TextEvent, ToolEnd, ToolStart
from parley.chat.fold import Folded, fold
from parley.chat.messages import Message, Role
from parley.chat.turns import Extras, Turn, TurnRequest
from parley.surfaces.appending import appending
from parley.surfaces.following import followed
from parley.surfaces.http.bodies import decode_body
from parley.surfaces.http.event_stream import EventStream
from parley.surfaces.http.plain_route import PlainRoute
from parley.surfaces.http.schema import giving, taking
from parley.surfaces.seal import LIMIT_BYTES, SealedContext, SealedMessage, Seals
from parley.surfaces.sse import DONE
from parley.surfaces.wire import event_json

_SHOWN = (TextEvent, ToolStart, ToolEnd, ErrorEvent, Done)


class StatelessBody(msgspec.Struct):
    """The body; fields that are not named here are ignored. `tools` are Parley's own."""

    message: str
    system_prompt: str | None = None
    context: SealedContext | None = None
    model: str | None = None
    tools: list[str] | None = None
    events: Literal["all"] | None = None


@dataclass(frozen=True, slots=True)
class _Talk:
    """One request: who asks, what was said before, and what is asked now."""

    seals: Seals
    principal: Principal
    system_prompt: str | None
    before: tuple[SealedMessage, ...]
    message: str

    def updated(self, answer: str) -> SealedContext:
        """Seal the conversation with this turn."""
        asked, said = SealedMessage("user", self.message), SealedMessage("assistant", answer)
        messages = (*self.before, asked, said)
        return self.seals.seal(self.principal.seal_name, self.system_prompt, messages, time())


def stateless_routes(
    engine: Engine,
    callers: Callers,
    seals: Seals,
    paths: Sequence[str],
    body_limit_bytes: int,
) -> APIRouter:
    """Make the route, at each of these paths."""
    router = APIRouter(tags=["stateless"], route_class=PlainRoute)

    async def chat(request: Request) -> EventStream:
        principal = callers.stateless(request)
        principal.require(Scope.CHAT)
        body = await decode_body(request, StatelessBody, body_limit_bytes + LIMIT_BYTES)
        talk = _talk(seals, principal, body)
        turn = (await engine.submit(_turn_request(talk, body))).turn
        everything = body.events == "all"
        events = followed(engine, turn)
        if not everything:
            events = appending(events, keep=False)
        frames = _frames(events, turn, talk, everything=everything)
        return EventStream(frames, {"x-turn-id": turn.id})

    for path in paths:
        router.add_api_route(
            path,
            chat,
            methods=["POST"],
            summary="Chat without a history here",
            response_class=EventStream,
            responses=giving(kinds={"text/event-stream": "Typed events, then [DONE]"}),
            openapi_extra=taking(StatelessBody),
        )
    return router


def _talk(seals: Seals, principal: Principal, body: StatelessBody) -> _Talk:
    before: tuple[SealedMessage, ...] = ()
    prompt = body.system_prompt
    if body.context is not None:
        opened = seals.open(body.context, principal.seal_name, time())
        before, prompt = opened.messages, prompt or opened.system_prompt
    return _Talk(seals, principal, prompt, before, body.message)


def _turn_request(talk: _Talk, body: StatelessBody) -> TurnRequest:
    return TurnRequest(
        owner=talk.principal.owner,
        thread_id=str(uuid4()),
        text=body.message,
        model=body.model,
        system_prompt=talk.system_prompt,
        earlier=tuple(Message.of(Role(said.role), said.content) for said in talk.before),
        keep=False,
        extras=Extras(use_tools=None if body.tools is None else tuple(body.tools)),
    )


async def _frames(
    events: AsyncGenerator[Event], turn: Turn, talk: _Talk, *, everything: bool
) -> AsyncGenerator[bytes]:
    folded = Folded()
    async with aclosing(events):
        async for event in events:
            folded = fold([event], folded)
            if isinstance(event, Done) and folded.error_code is None:
                yield _context_update(turn, event.seq, talk.updated(folded.text))
                event = replace(event, seq=event.seq + 1)  # noqa: PLW2901 - it comes after that
            if everything or isinstance(event, _SHOWN):
                yield b"data: " + event_json(event) + b"\n\n"
    yield DONE


def _context_update(turn: Turn, seq: int, context: SealedContext) -> bytes:
    update = {"type": "context_update", "turn_id": turn.id, "seq": seq, "content": context}
    return b"data: " + msgspec.json.encode(update) + b"\n\n"
