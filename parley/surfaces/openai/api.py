"""``/v1``: OpenAI's wire format, for every client that speaks it.

Stateless: the caller brings the conversation along. With ``X-Conversation-Id`` the last message is
a turn of that conversation, which supplies what came before.
"""

from dataclasses import replace
from uuid import uuid4

from fastapi import APIRouter, Request
from starlette.responses import Response

from parley.auth.callers import Callers
from parley.auth.principal import Scope
from parley.chat.engine import Engine
from parley.chat.errors import InvalidRequest, NotFound, ParleyError, UnknownModel
from parley.chat.extras import check_extras
from parley.chat.turns import Extras, Turn, TurnRequest
from parley.surfaces.answers import json_answer
from parley.surfaces.appending import appending
from parley.surfaces.following import followed
from parley.surfaces.http.bodies import decode_body
from parley.surfaces.http.event_stream import EventStream, WholeAnswer
from parley.surfaces.http.failures import refused
from parley.surfaces.http.ids import idempotency_key
from parley.surfaces.http.plain_route import PlainRoute
from parley.surfaces.http.schema import giving, taking
from parley.surfaces.models import Models
from parley.surfaces.openai.answers import Wire
from parley.surfaces.openai.requests import Asked, asked_of, extras_of, sampling_of
from parley.surfaces.openai.shapes import (
    Completion,
    CompletionBody,
    ListedModel,
    ListedModels,
    OpenAIError,
)
from parley.surfaces.owners import uuid_or_missing

_CONVERSATION = "x-conversation-id"
# When a model was made nobody knows; clients want a number.
_CREATED = 0


def openai_model_routes(models: Models, callers: Callers) -> APIRouter:
    """Make the routes of the models."""
    router = APIRouter(prefix="/v1/models", tags=["openai"])

    def listed() -> list[ListedModel]:
        return [ListedModel(i.id, "model", _CREATED, i.provider) for i in models.models()]

    @router.get("", summary="List the models", responses=giving(ListedModels, error=OpenAIError))
    async def all_of_them(request: Request) -> Response:
        callers.stateless(request).require(Scope.READ)
        return json_answer(ListedModels("list", listed()))

    @router.get(
        "/{model_id:path}", summary="One model", responses=giving(ListedModel, error=OpenAIError)
    )
    async def one(request: Request, model_id: str) -> Response:
        callers.stateless(request).require(Scope.READ)
        for model in listed():
            if model.id == model_id:
                return json_answer(model)
        raise UnknownModel("No model has this id. GET /v1/models lists them.")

    return router


def openai_completion_routes(
    engine: Engine,
    models: Models,
    callers: Callers,
    body_limit_bytes: int,
    image_limit_bytes: int,
) -> APIRouter:
    """Make the route of completions; a body may have images beside its other bytes."""
    router = APIRouter(prefix="/v1", tags=["openai"], route_class=PlainRoute)
    limit_bytes = body_limit_bytes + image_limit_bytes * 4 // 3

    @router.post(
        "/chat/completions",
        summary="Answer a conversation",
        responses=giving(
            Completion, kinds={"text/event-stream": "Chunks, then [DONE]"}, error=OpenAIError
        ),
        openapi_extra=taking(CompletionBody),
    )
    async def complete(request: Request) -> Response:
        conversation_id = request.headers.get(_CONVERSATION)
        stateless = conversation_id is None
        principal = callers.stateless(request) if stateless else callers.of_api(request)[0]
        principal.require(Scope.CHAT)
        body = await decode_body(request, CompletionBody, limit_bytes)
        asked = asked_of(body)
        images = tuple(image for message in asked.earlier for image in message.images)
        check_extras(Extras(images=images), image_limit_bytes)
        asks = TurnRequest(
            owner=principal.owner,
            thread_id=str(uuid4()),
            text=asked.text or "",
            model=model_id_of(models, body.model),
            sampling=sampling_of(body),
            extras=extras_of(body, asked.images, stateless=stateless),
        )
        if conversation_id is None:
            earlier, prompt = asked.earlier, asked.system_prompt
            asks = replace(asks, keep=False, earlier=earlier, system_prompt=prompt)
        else:
            thread_id = await _thread_id(engine, principal.owner.id, conversation_id, asked)
            asks = replace(asks, thread_id=thread_id, key=idempotency_key(request))
        turn = (await engine.submit(asks)).turn
        return _answer(request, engine, turn, body)

    return router


def model_id_of(models: Models, wanted: str) -> str:
    """Give the id of a model that is wanted by it, or by a provider's name that one alone has."""
    infos = models.models()
    named = [info.id for info in infos if info.name == wanted]
    known = any(info.id == wanted for info in infos)
    return named[0] if not known and len(named) == 1 else wanted


async def _thread_id(engine: Engine, owner_id: str, conversation_id: str, asked: Asked) -> str:
    thread_id = uuid_or_missing(conversation_id, "conversation")
    if asked.text is None:
        raise InvalidRequest("In a conversation the last message must be a user's.")
    if not await engine.owns_thread(owner_id, thread_id):
        raise NotFound("There is no such conversation.")
    return thread_id


def _answer(request: Request, engine: Engine, turn: Turn, body: CompletionBody) -> Response:
    options = body.stream_options
    theirs = {tool.function.name for tool in body.tools or ()}
    wire = Wire(turn, theirs, bool(options and options.include_usage))
    events, headers = followed(engine, turn), {"x-turn-id": turn.id}

    def refuse(error: ParleyError) -> Response:
        return refused(request.url.path, error)

    if body.stream:
        frames = wire.chunks(appending(events, keep=turn.keep))
        return EventStream(frames, headers, refuse=refuse)
    return WholeAnswer(wire.whole(events), headers, refuse=refuse)
