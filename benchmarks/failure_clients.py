"""The clients of the failure matrix: the official SDKs, used as their manuals say, and ours."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import Any

from google import genai
from google.genai import types as gemini
from huggingface_hub import AsyncInferenceClient
from openai import AsyncOpenAI
from text_generation import AsyncClient  # type: ignore[import-untyped]  # it has none

from parley.chat.deltas import Finish, Text
from parley.chat.errors import Overloaded, ProviderError
from parley.chat.models import Sampling
from parley.chat.ports import Provider
from providers import Connection, Deadlines, RetryConfig, ask, connect
from providers.retrying import Retrying
from providers.tgi import TGI

TIMEOUT_S = 1.5
_OURS = Deadlines(TIMEOUT_S, TIMEOUT_S, TIMEOUT_S, total_s=30, after_finish_s=TIMEOUT_S)
# A token of the right form: Hugging Face's client refuses others.
_KEY = "hf_benchmark0123456789"


@dataclass
class Heard:
    """What a client gave before it ended, and how it ended: the finish in its own words."""

    texts: list[object] = field(default_factory=list)
    finish: str | None = None
    error: BaseException | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, text: object) -> None:
        self.texts.append(text)
        self.begun.set()

    @property
    def text(self) -> str:
        """Some clients pass on whatever a server sent as text."""
        return "".join(map(str, self.texts))


Ask = Callable[[str, Heard], Awaitable[None]]
Opens = Callable[[str], AbstractAsyncContextManager[Ask]]


@dataclass(frozen=True)
class Client:
    """A client: `opens` gives what puts a case to the server at a root address.

    `errors` are the packages of its own classes; `expects` are outcomes that are its dialect's own.
    """

    name: str
    opens: Opens
    errors: tuple[str, ...]
    chats: bool = True
    ours: bool = False
    expects: Mapping[str, type[ProviderError]] = field(default_factory=dict)


@asynccontextmanager
async def _openai(root: str) -> AsyncIterator[Ask]:
    async with AsyncOpenAI(
        base_url=f"{root}/v1", api_key=_KEY, timeout=TIMEOUT_S, max_retries=0
    ) as client:

        async def asks(case: str, heard: Heard) -> None:
            chosen = client.with_options(max_retries=2) if "then well" in case else client
            stream = await chosen.chat.completions.create(
                model="fake", messages=[{"role": "user", "content": case}], stream=True
            )
            async with stream:
                async for chunk in stream:
                    _take(chunk, heard)

        yield asks


@asynccontextmanager
async def _hugging_face(root: str) -> AsyncIterator[Ask]:
    async with AsyncInferenceClient(
        base_url=f"{root}/v1", api_key=_KEY, timeout=TIMEOUT_S
    ) as client:

        async def asks(case: str, heard: Heard) -> None:
            stream = await client.chat_completion(
                [{"role": "user", "content": case}], model="fake", stream=True
            )
            async for chunk in stream:
                _take(chunk, heard)

        yield asks


def _take(chunk: Any, heard: Heard) -> None:
    if not chunk.choices:
        return
    choice = chunk.choices[0]
    if content := choice.delta.content:
        heard.take(content)
    heard.finish = choice.finish_reason or heard.finish


@asynccontextmanager
async def _text_generation(root: str) -> AsyncIterator[Ask]:
    client = AsyncClient(f"{root}/generate_stream", timeout=TIMEOUT_S)

    async def asks(case: str, heard: Heard) -> None:
        async for event in client.generate_stream(case, max_new_tokens=50):
            if not event.token.special:
                heard.take(event.token.text)
            if event.details is not None:
                heard.finish = event.details.finish_reason.value

    yield asks


@asynccontextmanager
async def _google(root: str) -> AsyncIterator[Ask]:
    options = gemini.HttpOptions(base_url=root, timeout=int(TIMEOUT_S * 1000))
    async with genai.Client(api_key=_KEY, http_options=options).aio as client:

        async def asks(case: str, heard: Heard) -> None:
            stream = await client.models.generate_content_stream(model="fake", contents=case)
            async for response in stream:
                _take_response(response, heard)

        yield asks


def _take_response(response: gemini.GenerateContentResponse, heard: Heard) -> None:
    for candidate in response.candidates or []:
        parts = candidate.content.parts if candidate.content else None
        for part in parts or []:
            heard.take(part.text or "")
        if candidate.finish_reason is not None:
            heard.finish = candidate.finish_reason.value


def _parley(dialect: str, path: str = "") -> Opens:
    @asynccontextmanager
    async def opens(root: str) -> AsyncIterator[Ask]:
        open_with = partial(
            connect, dialect, base_url=root + path, api_key=_KEY, model="fake", deadlines=_OURS
        )
        async with open_with(retry=RetryConfig(retries=0)) as once, open_with() as again:
            yield lambda case, heard: _listen(again if "then well" in case else once, case, heard)

    return opens


@asynccontextmanager
async def _native(root: str) -> AsyncIterator[Ask]:
    """TGI's own wire, which `connect` only takes where there is no chat."""
    connection = Connection("tgi", root, _KEY, deadlines=_OURS, options={"api": "generate"})
    async with aclosing(TGI(connection)) as once:
        again = Retrying(once)
        yield lambda case, heard: _listen(again if "then well" in case else once, case, heard)


async def _listen(provider: Provider, case: str, heard: Heard) -> None:
    asked = replace(ask(case), sampling=Sampling(max_tokens=50))
    async with provider.stream(asked) as deltas:
        async for delta in deltas:
            if isinstance(delta, Text):
                heard.take(delta.text)
            elif isinstance(delta, Finish):
                heard.finish = delta.reason.value


CLIENTS = (
    Client(f"openai {version('openai')}", _openai, ("openai",)),
    Client(f"huggingface_hub {version('huggingface_hub')}", _hugging_face, ("huggingface_hub",)),
    Client(
        f"text-generation {version('text-generation')}",
        _text_generation,
        ("text_generation",),
        chats=False,
    ),
    Client(f"google-genai {version('google-genai')}", _google, ("google.genai",), chats=False),
    Client("Parley, openai", _parley("openai", "/v1"), ("parley",), ours=True),
    Client("Parley, huggingface", _parley("huggingface", "/v1"), ("parley",), ours=True),
    Client("Parley, tgi", _parley("tgi"), ("parley",), ours=True),
    Client("Parley, tgi native", _native, ("parley",), chats=False, ours=True),
    Client(
        "Parley, gemini",
        _parley("gemini"),
        ("parley",),
        chats=False,
        ours=True,
        # It says 503 in the event: Google's word for no capacity.
        expects={"error in the stream": Overloaded},
    ),
)
