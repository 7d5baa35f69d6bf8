"""Figures of the providers: CPU for each chunk and connections, beside the official SDKs."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from time import process_time
from typing import Any
from urllib.request import urlopen

import uvloop
from google import genai
from google.genai import types as gemini
from huggingface_hub import AsyncInferenceClient
from openai import AsyncOpenAI
from text_generation import AsyncClient  # type: ignore[import-untyped]  # it has none

from benchmarks import servers
from benchmarks.table import Row, progress
from parley.chat.deltas import Text
from parley.chat.models import Sampling
from parley.chat.ports import Provider
from providers import Connection, ask, connect
from providers.tgi import TGI

_CHUNKS = 10_000
_RUNS = 3
_STREAMS = 250
_TARGET_US = 8.0
_KEY = "hf_benchmark0123456789"
_QUESTION = replace(ask("go"), sampling=Sampling(max_tokens=99))

Stream = Callable[[], Awaitable[int]]


@dataclass(frozen=True)
class _Rival:
    """A dialect of ours, where it is, and the SDK that speaks it."""

    dialect: str
    path: str
    sdk: str
    model: str = "bench"


_RIVALS = (
    _Rival("openai", "/v1", "openai"),
    _Rival("huggingface", "/v1", "huggingface_hub"),
    _Rival("tgi", "", "text-generation", "tgi"),
    _Rival("tgi native", "", "text-generation", "tgi"),
    _Rival("gemini", "", "google-genai"),
)


def provider_rows() -> list[Row]:
    """Measure; a row for each dialect and figure."""
    servers.pin(0, servers.CLIENT_CORE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [*_cpu_rows(), *_connection_rows()]


def _cpu_rows() -> list[Row]:
    rows = []
    with ExitStack() as stack:
        server = stack.enter_context(servers.child("benchmarks.dialect_upstream", str(_CHUNKS)))
        root = f"http://127.0.0.1:{server.port}"
        for rival in _RIVALS:
            progress(f"CPU of a chunk, {rival.dialect}")
            ours = uvloop.run(_cpu_us(_ours(rival, root)))
            theirs = uvloop.run(_cpu_us(_SDKS[rival.sdk](root)))
            rows.append(
                Row(
                    f"CPU for a chunk, {rival.dialect}",
                    f"{ours:.1f} μs",
                    f"≤ {_TARGET_US:.0f} μs",
                    f"{rival.sdk} {theirs:.1f} μs",
                    ours <= _TARGET_US,
                )
            )
    return rows


def _connection_rows() -> list[Row]:
    rows = []
    for rival in _RIVALS:
        progress(f"{_STREAMS} streams, {rival.dialect}")
        ours = uvloop.run(_connections(partial(_ours, rival)))
        theirs = uvloop.run(_connections(_SDKS[rival.sdk]))
        rows.append(
            Row(
                f"connections for {_STREAMS} streams, {rival.dialect}",
                f"{ours}",
                "1",
                f"{rival.sdk} {theirs}",
                ours == 1,
            )
        )
    return rows


Opened = Callable[[str], Any]


async def _cpu_us(opened: Any) -> float:
    """CPU time of this process for each chunk, the best of some runs."""
    best = float("inf")
    async with opened as stream:
        for _ in range(_RUNS):
            began = process_time()
            count = await stream()
            assert count >= _CHUNKS - 1, count
            best = min(best, (process_time() - began) / count * 1e6)
    return best


async def _connections(opened: Opened) -> int:
    with servers.child("benchmarks.dialect_upstream", "3") as server:
        root = f"http://127.0.0.1:{server.port}"
        async with opened(root) as stream:
            for _ in range(_STREAMS):
                await stream()
        said = await asyncio.to_thread(lambda: urlopen(f"{root}/connections").read())
        return int(said)


@asynccontextmanager
async def _ours(rival: _Rival, root: str) -> AsyncIterator[Stream]:
    if rival.dialect == "tgi native":
        connection = Connection("tgi", root, _KEY, options={"api": "generate"})
        async with aclosing(TGI(connection)) as native:
            yield lambda: _count(native, rival.model)
        return
    async with connect(
        rival.dialect, base_url=root + rival.path, api_key=_KEY, model=rival.model
    ) as provider:
        yield lambda: _count(provider, rival.model)


async def _count(provider: Provider, model: str) -> int:
    count = 0
    async with provider.stream(replace(_QUESTION, model=model)) as deltas:
        async for delta in deltas:
            count += isinstance(delta, Text)
    return count


@asynccontextmanager
async def _openai(root: str) -> AsyncIterator[Stream]:
    async with AsyncOpenAI(base_url=f"{root}/v1", api_key=_KEY) as client:

        async def stream() -> int:
            count = 0
            chunks = await client.chat.completions.create(
                model="bench", messages=[{"role": "user", "content": "go"}], stream=True
            )
            async with chunks:
                async for chunk in chunks:
                    count += bool(chunk.choices and chunk.choices[0].delta.content)
            return count

        yield stream


@asynccontextmanager
async def _hugging_face(root: str) -> AsyncIterator[Stream]:
    async with AsyncInferenceClient(base_url=f"{root}/v1", api_key=_KEY) as client:

        async def stream() -> int:
            count = 0
            chunks = await client.chat_completion(
                [{"role": "user", "content": "go"}], model="bench", stream=True
            )
            async for chunk in chunks:
                count += bool(chunk.choices and chunk.choices[0].delta.content)
            return count

        yield stream


@asynccontextmanager
async def _text_generation(root: str) -> AsyncIterator[Stream]:
    client = AsyncClient(f"{root}/generate_stream", timeout=60)

    async def stream() -> int:
        count = 0
        async for event in client.generate_stream("go", max_new_tokens=99):
            count += bool(event.token.text)
        return count

    yield stream


@asynccontextmanager
async def _google(root: str) -> AsyncIterator[Stream]:
    client = genai.Client(api_key=_KEY, http_options=gemini.HttpOptions(base_url=root))

    async def stream() -> int:
        count = 0
        responses = await client.aio.models.generate_content_stream(model="bench", contents="go")
        async for response in responses:
            count += bool(response.text)
        return count

    yield stream
    await client.aio.aclose()


_SDKS: dict[str, Opened] = {
    "openai": _openai,
    "huggingface_hub": _hugging_face,
    "text-generation": _text_generation,
    "google-genai": _google,
}
