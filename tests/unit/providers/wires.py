"""Wires: what the failure matrix needs to know of each dialect, to be played on all of them."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from parley.chat.models import CompletionRequest, Sampling
from parley.chat.ports import Provider
from providers import gemini, huggingface, tgi
from providers.config import Connection, Deadlines
from tests.fakes import gemini_wire, model_server, tgi_wire
from tests.fakes.model_server import DONE, ModelServer, Reply, event, json_reply
from tests.unit.providers.support import LONG, REQUEST, Outcome, outcome_of

# The native wire asks for nothing else first where it is told how long an answer may be.
ASKED = replace(REQUEST, model="tgi", sampling=Sampling(max_tokens=8))
KEY = "hf_0123456789secret"


@dataclass(frozen=True)
class Wire:
    """A dialect: how it is opened, and what bytes say a piece, a whole answer, an overload."""

    name: str
    opens: Callable[[Connection, Sampling], Provider]
    piece: Callable[[str], bytes]
    answer: Callable[..., tuple[bytes, ...]]
    overloaded: bytes
    document: bytes
    api: str = ""
    # What is enough for an end: the rest, if there is one, may be cut off.
    ends: tuple[bytes, ...] = ()

    def connection(
        self, url: str, deadlines: Deadlines = LONG, key: str | None = KEY
    ) -> Connection:
        return Connection(
            self.name.partition(" ")[0],
            url,
            key,
            deadlines=deadlines,
            options={"api": self.api},
            key_setting="THE_KEY",
            url_setting="THE_URL",
            model_setting="THE_MODEL",
        )


def _chat(*texts: str) -> tuple[bytes, ...]:
    pieces = map(tgi_wire.chat_chunk, texts)
    return (*pieces, tgi_wire.chat_chunk("", "stop"), tgi_wire.chat_usage(), DONE)


TGI_CHAT = Wire(
    "tgi chat",
    tgi.open_provider,
    tgi_wire.chat_chunk,
    _chat,
    tgi_wire.chat_error("Model is overloaded") + DONE,
    json_reply(model_server.completion("Hi")).steps[0],  # type: ignore[arg-type] # bytes, not a step
    ends=(tgi_wire.chat_chunk("", "stop"),),
)
TGI_NATIVE = Wire(
    "tgi native",
    tgi.open_provider,
    tgi_wire.token,
    tgi_wire.tokens,
    tgi_wire.generation_error("Model is overloaded", "overloaded"),
    tgi_wire.generation("Hi"),
    api="generate",
    ends=(tgi_wire.token("</s>", special=True, end=tgi_wire.details(), said="a"),),
)
HUGGINGFACE = Wire(
    "huggingface",
    huggingface.open_provider,
    model_server.chunk,
    model_server.answer,
    event({"error": {"message": "Model is overloaded", "type": "overloaded"}}),
    json_reply(model_server.completion("Hi")).steps[0],  # type: ignore[arg-type] # bytes, not a step
    ends=(model_server.finish(),),
)
GEMINI = Wire(
    "gemini",
    gemini.open_provider,
    gemini_wire.said,
    gemini_wire.answer,
    gemini_wire.gemini_event(gemini_wire.failure(503, "UNAVAILABLE", "The model is overloaded.")),
    gemini_wire.response(
        {"text": "Hi"}, finish="STOP", usage={"promptTokenCount": 3, "candidatesTokenCount": 2}
    ).removeprefix(b"data: "),
    ends=(gemini_wire.ended(),),
)
ALL = (TGI_CHAT, TGI_NATIVE, HUGGINGFACE, GEMINI)


@asynccontextmanager
async def played(
    wire: Wire, *replies: Reply, deadlines: Deadlines = LONG, key: str | None = KEY
) -> AsyncGenerator[tuple[Provider, ModelServer]]:
    """A provider of this dialect, and the fake server that it talks to."""
    async with model_server.model_server(*replies) as server:
        provider = wire.opens(wire.connection(server.root, deadlines, key), Sampling())
        try:
            yield provider, server
        finally:
            await provider.aclose()


async def outcome(
    wire: Wire, *replies: Reply, deadlines: Deadlines = LONG, request: CompletionRequest = ASKED
) -> Outcome:
    """What a dialect makes of a server that replies so."""
    async with played(wire, *replies, deadlines=deadlines) as (provider, _):
        return await outcome_of(provider, request)
