"""``{API_V1}/conversations``: one's own threads, listed, searched, made, renamed, deleted, read.

A turn of one is asked for at ``/{id}/messages`` and comes as typed events with ids: whoever loses
the connection goes on at ``/turns/{turn_id}/events``.
"""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from parley.auth.callers import Callers
from parley.auth.principal import Scope
from parley.chat.conversations import Conversations, Order
from parley.chat.engine import Engine
from parley.chat.errors import InvalidRequest, NotFound
from parley.chat.turns import Extras, TurnRequest
from parley.surfaces.answers import json_answer
from parley.surfaces.conversation_shapes import (
    ChangedConversation,
    ConversationList,
    ConversationShape,
    MessageList,
    NewConversation,
    NewMessage,
    conversation_shape,
    message_shape,
)
from parley.surfaces.following import resumable_frames
from parley.surfaces.http.bodies import decode_body, decoded
from parley.surfaces.http.event_stream import EventStream
from parley.surfaces.http.ids import idempotency_key
from parley.surfaces.http.schema import giving, taking
from parley.surfaces.kept import read_kept
from parley.surfaces.owners import owner_of_api, uuid_or_missing

LARGEST_PAGE = 100
_QUERY_CHARS = 1000
_CURSOR_CHARS = 500
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE)]
Cursor = Annotated[str | None, Query(max_length=_CURSOR_CHARS)]
Words = Annotated[str | None, Query(max_length=_QUERY_CHARS)]
_NO_CONVERSATION = "There is no such conversation."


def collection_routes(
    conversations: Conversations, callers: Callers, prefix: str, body_limit_bytes: int
) -> APIRouter:
    """Make the routes of all of one's conversations.

    A caller whom nobody knows becomes a guest where guests are allowed, here and below.
    """
    router = APIRouter(prefix=f"{prefix}/conversations", tags=["conversations"])

    @router.get("", summary="List or search", responses=giving(ConversationList))
    async def listed(
        request: Request, limit: Limit = 20, cursor: Cursor = None, q: Words = None
    ) -> Response:
        owner, headers = owner_of_api(request, callers, Scope.READ)
        page = await conversations.page(owner.id, limit=limit, cursor=cursor, search=q)
        data = [conversation_shape(one) for one in page.items]
        return json_answer(ConversationList(data, page.next_cursor), headers=headers)

    @router.post(
        "",
        summary="Make an empty one",
        status_code=201,
        responses=giving(ConversationShape, status=201),
        openapi_extra=taking(NewConversation),
    )
    async def create(request: Request) -> Response:
        owner, headers = owner_of_api(request, callers, Scope.CHAT)
        said = await read_kept(request, callers, owner, body_limit_bytes)
        body = decoded(said, NewConversation)
        made = await conversations.create(owner, body.title, body.metadata)
        where = {"location": f"{prefix}/conversations/{made.id}"}
        return json_answer(conversation_shape(made), 201, headers | where)

    return router


def conversation_routes(
    conversations: Conversations, callers: Callers, prefix: str, body_limit_bytes: int
) -> APIRouter:
    """Make the routes of one conversation."""
    router = APIRouter(prefix=f"{prefix}/conversations/{{conversation_id}}", tags=["conversations"])

    @router.get("", summary="Read one", responses=giving(ConversationShape))
    async def read(request: Request, conversation_id: str) -> Response:
        owner, headers = owner_of_api(request, callers, Scope.READ)
        found = await conversations.read(owner.id, _id(conversation_id))
        return json_answer(conversation_shape(found), headers=headers)

    @router.patch(
        "",
        summary="Rename, or change metadata",
        responses=giving(ConversationShape),
        openapi_extra=taking(ChangedConversation),
    )
    async def change(request: Request, conversation_id: str) -> Response:
        owner, headers = owner_of_api(request, callers, Scope.CHAT)
        said = await read_kept(request, callers, owner, body_limit_bytes)
        body = decoded(said, ChangedConversation)
        title = None if body.title is msgspec.UNSET else body.title
        metadata: dict[str, Any] = {} if body.metadata is msgspec.UNSET else body.metadata
        if title is not None and not title.strip():
            raise InvalidRequest("A title needs a letter or more.")
        known_id = _id(conversation_id)
        changed = await conversations.change(owner.id, known_id, title, metadata)
        return json_answer(conversation_shape(changed), headers=headers)

    @router.delete(
        "",
        summary="Delete, for good",
        status_code=204,
        responses=giving(status=204),
    )
    async def delete(request: Request, conversation_id: str) -> Response:
        owner, headers = owner_of_api(request, callers, Scope.CHAT)
        await conversations.delete(owner.id, _id(conversation_id))
        return Response(status_code=204, headers=headers)

    @router.get("/messages", summary="Read its messages", responses=giving(MessageList))
    async def messages(
        request: Request,
        conversation_id: str,
        limit: Limit = 50,
        cursor: Cursor = None,
        order: Order = "asc",
    ) -> Response:
        owner, headers = owner_of_api(request, callers, Scope.READ)
        page = await conversations.messages(
            owner.id, _id(conversation_id), limit=limit, cursor=cursor, order=order
        )
        data = [message_shape(one) for one in page.items]
        return json_answer(MessageList(data, page.next_cursor), headers=headers)

    return router


def message_routes(
    engine: Engine, callers: Callers, prefix: str, body_limit_bytes: int, keepalive_s: float
) -> APIRouter:
    """Make the route that begins a turn."""
    router = APIRouter(prefix=f"{prefix}/conversations/{{conversation_id}}", tags=["conversations"])

    @router.post(
        "/messages",
        summary="Send a message, stream the answer",
        response_class=EventStream,
        responses=giving(kinds={"text/event-stream": "Typed events, each with its id"}),
        openapi_extra=taking(NewMessage),
    )
    async def send(request: Request, conversation_id: str) -> EventStream:
        owner, headers = owner_of_api(request, callers, Scope.CHAT)
        body = await decode_body(request, NewMessage, body_limit_bytes)
        key, thread_id = idempotency_key(request), _id(conversation_id)
        if not await engine.owns_thread(owner.id, thread_id):
            raise NotFound(_NO_CONVERSATION)
        begun = await engine.submit(
            TurnRequest(
                owner=owner,
                thread_id=thread_id,
                text=body.message,
                model=body.model,
                key=key,
                replaces=body.replaces and uuid_or_missing(body.replaces, "turn"),
                extras=Extras(use_tools=None if body.tools is None else tuple(body.tools)),
            )
        )
        return EventStream(
            resumable_frames(engine, begun.turn),
            headers | {"x-turn-id": begun.turn.id},
            keepalive_s=keepalive_s,
        )

    return router


def _id(conversation_id: str) -> str:
    return uuid_or_missing(conversation_id, "conversation")
