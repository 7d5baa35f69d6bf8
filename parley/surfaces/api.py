"""API: all doors to a conversation beside the page, with what each of them needs."""

from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import APIRouter

from parley.auth.callers import Callers
from parley.chat.conversations import Conversations
from parley.chat.engine import Engine
from parley.surfaces.conversations import collection_routes, conversation_routes, message_routes
from parley.surfaces.doc_pages import doc_page_routes
from parley.surfaces.export import export_routes
from parley.surfaces.models import Models, model_routes
from parley.surfaces.openai.api import openai_completion_routes, openai_model_routes
from parley.surfaces.seal import Seals
from parley.surfaces.sse import chat_routes
from parley.surfaces.stateless import stateless_routes
from parley.surfaces.turns import turn_routes

_STATELESS = "/api/chat"


@dataclass(frozen=True, slots=True)
class Api:
    """What the doors lead to, and their limits; `prefix` is where the REST API begins.

    A stream of the conversations and turns API that is silent for `keepalive_s` says that it lives.
    """

    engine: Engine
    models: Models
    conversations: Conversations
    callers: Callers
    seals: Seals
    prefix: str
    body_limit_bytes: int
    message_limit_bytes: int
    image_limit_bytes: int
    import_limit_bytes: int
    keepalive_s: float = 15.0

    def routers(self) -> Iterator[APIRouter]:
        """Make the routes over HTTP."""
        engine, callers, limit = self.engine, self.callers, self.body_limit_bytes
        paths = list(dict.fromkeys([f"{self.prefix}/chat", _STATELESS]))
        yield chat_routes(engine, callers, limit)
        yield stateless_routes(engine, callers, self.seals, paths, limit)
        yield collection_routes(self.conversations, callers, self.prefix, limit)
        yield export_routes(
            self.conversations,
            callers,
            self.prefix,
            limit_bytes=self.import_limit_bytes,
            message_limit_bytes=self.message_limit_bytes,
            image_limit_bytes=self.image_limit_bytes,
        )
        yield conversation_routes(self.conversations, callers, self.prefix, limit)
        yield message_routes(engine, callers, self.prefix, limit, self.keepalive_s)
        yield turn_routes(engine, callers, self.prefix, self.keepalive_s)
        yield model_routes(self.models, callers, self.prefix)
        yield openai_model_routes(self.models, callers)
        yield openai_completion_routes(engine, self.models, callers, limit, self.image_limit_bytes)
        yield doc_page_routes(self.prefix)
