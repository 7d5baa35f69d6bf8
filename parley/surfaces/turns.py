"""``{API_V1}/turns/{turn_id}``: how a turn is doing, its events from any cursor, and its stop."""

from datetime import datetime
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from parley.auth.callers import Callers
from parley.auth.principal import Scope
from parley.chat.engine import Engine
from parley.chat.errors import InvalidRequest, NotFound
from parley.chat.turns import Turn
from parley.surfaces.answers import json_answer
from parley.surfaces.following import resumable_frames
from parley.surfaces.http.event_stream import EventStream
from parley.surfaces.http.schema import giving
from parley.surfaces.owners import PRIVATE, first_found, owners_of_turn, uuid_or_missing
from parley.surfaces.wire import UsageShape, usage_shape

# A cursor is a 64-bit number.
_BEYOND = 2**63


class TurnError(msgspec.Struct):
    """Why a turn failed."""

    code: str
    message: str


class TurnAttempt(msgspec.Struct):
    """One call of a provider."""

    provider: str
    model: str
    reason: str
    outcome: str
    output_tokens: int
    duration_ms: int


class TurnShape(msgspec.Struct, rename={"id": "turn_id"}):
    """A turn as clients see it; `message_id` is the answer's."""

    id: str
    conversation_id: str
    message_id: str
    state: str
    model: str
    created_at: datetime
    ended_at: datetime | None
    finish_reason: str | None
    usage: UsageShape | None
    error: TurnError | None
    attempts: list[TurnAttempt]


def turn_routes(engine: Engine, callers: Callers, prefix: str, keepalive_s: float) -> APIRouter:
    """Make the routes; whose a turn is, the engine says."""
    router = APIRouter(prefix=f"{prefix}/turns/{{turn_id}}", tags=["turns"])

    async def find(request: Request, turn_id: str, scope: Scope) -> Turn:
        owners, known_id = owners_of_turn(request, callers, scope), uuid_or_missing(turn_id, "turn")
        return await first_found(owners, lambda owner_id: engine.turn(owner_id, known_id))

    @router.get("", summary="How a turn is doing", responses=giving(TurnShape))
    async def state(request: Request, turn_id: str) -> Response:
        return json_answer(turn_shape(await find(request, turn_id, Scope.READ)))

    @router.get(
        "/events",
        summary="Follow a turn from a cursor",
        response_class=EventStream,
        responses=giving(kinds={"text/event-stream": "Typed events, each with its id"})
        | {204: {"description": "There is nothing more to come"}},
    )
    async def events(request: Request, turn_id: str, after: int | None = None) -> Response:
        turn = await find(request, turn_id, Scope.READ)
        cursor = _cursor(request, after)
        # A browser connects again after the end, too, and only this keeps it from that.
        if turn.state.is_over and not [e async for e in engine.follow(turn, cursor)]:
            return Response(status_code=204, headers=PRIVATE)
        frames = resumable_frames(engine, turn, cursor)
        return EventStream(frames, {"x-turn-id": turn.id}, keepalive_s=keepalive_s)

    @router.post(
        "/stop",
        summary="Stop a turn",
        status_code=202,
        responses=giving(TurnShape, status=202) | _over(),
    )
    async def stop(request: Request, turn_id: str) -> Response:
        owners = owners_of_turn(request, callers, Scope.CHAT)
        known_id = uuid_or_missing(turn_id, "turn")
        try:
            before = await first_found(owners, lambda owner_id: engine.turn(owner_id, known_id))
        except NotFound:
            before = None  # one that is not kept, or none at all
        turn = await first_found(owners, lambda owner_id: engine.stop(owner_id, known_id))
        was_over = before is not None and before.state.is_over
        return json_answer(turn_shape(turn), 200 if was_over else 202)

    return router


def turn_shape(turn: Turn) -> TurnShape:
    """Write a turn."""
    answer = turn.answer
    error = answer.error_code and TurnError(answer.error_code, answer.error_message or "")
    return TurnShape(
        id=turn.id,
        conversation_id=turn.thread_id,
        message_id=turn.answer_step_id,
        state=turn.state.value,
        model=turn.model,
        created_at=turn.created_at,
        ended_at=answer.ended_at,
        finish_reason=answer.finish_reason.value if answer.finish_reason else None,
        usage=usage_shape(answer.usage),
        error=error or None,
        attempts=[msgspec.convert(a, TurnAttempt, from_attributes=True) for a in answer.attempts],
    )


def _over() -> dict[int | str, Any]:
    answer = giving(TurnShape)[200]
    return {200: {**answer, "description": "It was over already"}}


def _cursor(request: Request, after: int | None) -> int:
    """Read the cursor: what a browser sends when it connects again is newer than its URL."""
    sent = request.headers.get("last-event-id")
    if sent is not None and sent.strip():
        if not (sent.isascii() and sent.isdecimal()):
            raise InvalidRequest("Last-Event-ID must be the id of an event of this turn.")
        after = int(sent[:20])
    if after is None:
        return 0
    if not 0 <= after < _BEYOND:
        raise InvalidRequest("after must be the seq of an event of this turn, or 0.")
    return after
