"""``{API_V1}/conversations/{id}/export`` and ``…/import``: taken along, and brought back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from parley.auth.callers import Callers
from parley.auth.principal import Scope
from parley.chat.conversations import Conversation, Conversations
from parley.observability.audit import audit
from parley.surfaces.answers import json_answer
from parley.surfaces.conversation_shapes import ConversationShape, conversation_shape
from parley.surfaces.export_shapes import (
    EXPORTED_END,
    ExportedConversation,
    brought_turns,
    exported_head,
    exported_turn,
    file_name,
    markdown_head,
    markdown_turn,
    read_export,
)
from parley.surfaces.http.places import one_of
from parley.surfaces.http.schema import giving, taking
from parley.surfaces.kept import read_kept
from parley.surfaces.owners import owner_of_api, uuid_or_missing

_TYPES = {"json": "application/json", "markdown": "text/markdown; charset=utf-8"}
_ENDINGS = {"json": "json", "markdown": "md"}
# Each is in memory several times over, as what arrived, as objects and as rows: 130 MB for one of 50.
_AT_ONCE = 2
_PATIENCE_S = 30.0
_MANY = "Too many conversations are being imported. Try again."


def export_routes(
    conversations: Conversations,
    callers: Callers,
    prefix: str,
    *,
    limit_bytes: int,
    message_limit_bytes: int,
    image_limit_bytes: int,
) -> APIRouter:
    """Make the routes; an export that is brought back may have `limit_bytes`."""
    router = APIRouter(prefix=f"{prefix}/conversations", tags=["conversations"])
    places = asyncio.Semaphore(_AT_ONCE)

    @router.get(
        "/{conversation_id}/export",
        summary="Take one along",
        responses=giving(ExportedConversation, kinds={"text/markdown": "The same for people"}),
    )
    async def export(
        request: Request, conversation_id: str, format: Literal["json", "markdown"] = "json"
    ) -> Response:
        owner, headers = owner_of_api(request, callers, Scope.READ)
        found = await conversations.read(owner.id, uuid_or_missing(conversation_id, "conversation"))
        audit("conversation_exported", user_id=owner.id, conversation_id=found.id, format=format)
        pieces = _json if format == "json" else _markdown
        name = file_name(found.title, _ENDINGS[format])
        return StreamingResponse(
            pieces(conversations, owner.id, found),
            headers=headers | {"content-disposition": name},
            media_type=_TYPES[format],
        )

    @router.post(
        "/import",
        summary="Bring one back",
        status_code=201,
        responses=giving(ConversationShape, status=201),
        openapi_extra=taking(ExportedConversation),
    )
    async def bring(request: Request) -> Response:
        owner, headers = owner_of_api(request, callers, Scope.CHAT)
        async with one_of(places, _PATIENCE_S, _MANY):
            body = await read_kept(request, callers, owner, limit_bytes, "LIMIT_UPLOAD_BYTES")
            # Megabytes take a while to read, which is others' time.
            exported = await asyncio.to_thread(read_export, body)
            turns = brought_turns(exported, message_limit_bytes, image_limit_bytes)
            made = await conversations.bring(owner, exported.title, exported.metadata, turns)
        where = {"location": f"{prefix}/conversations/{made.id}"}
        return json_answer(conversation_shape(made), 201, headers | where)

    return router


async def _json(
    conversations: Conversations, owner_id: str, found: Conversation
) -> AsyncIterator[bytes]:
    yield exported_head(found)
    separator = b""
    async for turn in conversations.turns(owner_id, found.id):
        yield separator + exported_turn(turn)
        separator = b","
    yield EXPORTED_END


async def _markdown(
    conversations: Conversations, owner_id: str, found: Conversation
) -> AsyncIterator[str]:
    yield markdown_head(found)
    async for turn in conversations.turns(owner_id, found.id):
        yield markdown_turn(turn)
