"""Admin: what administrators see: usage and health, and people's words only where that is allowed."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from parley.auth.callers import Callers
from parley.auth.principal import Principal, Scope
from parley.chat.administration import Administration
from parley.chat.errors import Forbidden
from parley.observability.audit import audit
from parley.surfaces.account.shapes import UsageList
from parley.surfaces.answers import json_answer
from parley.surfaces.http.schema import giving
from parley.surfaces.models import HealthShape, Models

_HEADERS = {"cache-control": "private, no-store", "x-content-type-options": "nosniff"}
_MOST = 1000
_MAY_NOT_READ = "Administrators may not read what others wrote here (ADMIN_CAN_READ)."


class HealthOfModels(msgspec.Struct):
    """How the models are doing, by their ids."""

    models: dict[str, HealthShape]


def admin_routes(
    administration: Administration,
    models: Models,
    callers: Callers,
    prefix: str,
    *,
    can_read: bool,
) -> APIRouter:
    """Make the routes; with `can_read` one of them gives other people's conversations."""
    router = APIRouter(prefix=f"{prefix}/admin", tags=["administration"])

    @router.get("/usage", summary="Say who used how much", responses=giving(UsageList))
    async def usage(request: Request, days: Annotated[int, Query(ge=1, le=3660)] = 30) -> Response:
        _administrator(request, callers, "usage")
        since = datetime.now(UTC) - timedelta(days=days)
        used = await administration.usage(since, _MOST)
        return json_answer(UsageList(list(used)))

    @router.get("/health", summary="Say how the models are doing", responses=giving(HealthOfModels))
    async def health(request: Request) -> Response:
        _administrator(request, callers, "health")
        found = await models.health()
        shapes = {id: HealthShape.for_admins(one) for id, one in found.items()}
        return json_answer(HealthOfModels(shapes))

    @router.get("/users/{user_id}/conversations", summary="Read what is a user's")
    async def conversations(request: Request, user_id: str) -> Response:
        principal = _administrator(request, callers, "conversations")
        who = principal.owner.identifier
        if not can_read:
            audit("admin_read_refused", identifier=who, user_id=user_id[:200])
            raise Forbidden(_MAY_NOT_READ)
        pieces: AsyncIterator[str] = await administration.conversations(user_id)
        audit("admin_read", identifier=who, user_id=user_id[:200])
        return StreamingResponse(pieces, headers=_HEADERS, media_type="application/json")

    return router


def _administrator(request: Request, callers: Callers, what: str) -> Principal:
    """Give who asks, if it is an administrator; whoever asks is in the audit log."""
    principal = callers.required(request)
    who = principal.owner.identifier
    try:
        principal.require(Scope.ADMIN)
    except Forbidden:
        audit("admin_refused", identifier=who, what=what)
        raise
    audit("admin_asked", identifier=who, what=what)
    return principal
