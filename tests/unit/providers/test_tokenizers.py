"""Tokens are counted as the model counts them, or not at all."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import jsonschema
import pytest

from parley.chat.models import Tokenizer
from providers import encodings, server_tokenizer
from providers.config import LoopbackPorts, ProvidersConfig
from providers.encodings import EncodingTokenizer, encoding_of, load_encoding
from providers.ladder import open_registry
from providers.openai_compatible import FIRST_LISTED, OPENAI_BASE_URL, OpenAICompatible
from tests.fakes.model_server import (
    ModelServer,
    Reply,
    body,
    hang,
    json_reply,
    llama_tokens,
    tgi_tokens,
    vllm_tokens,
)
from tests.samples import REFERENCE, SAMPLES
from tests.unit.providers.support import connection, served

KEY = "sk-secret-0123456789"
ROUTE = "POST /tokenize"
SCHEMA = Path(__file__).parents[2] / "fixtures" / "tgi-tokenize.schema.json"

O200K = [
    "gpt-4o",
    "gpt-4o-mini-2024-07-18",
    "gpt-4.1-nano",
    "gpt-5",
    "gpt-5-mini",
    "gpt-5.2-pro",
    "o1",
    "o1-mini",
    "o3-pro",
    "o4-mini",
    "chatgpt-4o-latest",
    "ft:gpt-4o-mini-2024-07-18:org::id",
    "openai/gpt-4o",
    "openai/gpt-5.2",
    "azure/openai/GPT-4o",
    "openai/gpt-4o:extended",
    "gpt-oss-20b",
    "gpt-oss:20b",
]
CL100K = [
    "gpt-4",
    "gpt-4-turbo",
    "gpt-4-32k-0613",
    "gpt-3.5-turbo",
    "gpt-35-turbo",
    "ft:gpt-3.5-turbo:org",
]
UNKNOWN = [
    "gpt-6",
    "gpt-4all",
    "o10",
    "o2",
    "gpt",
    "gpt-4.2",
    "llama-3.1-8b",
    "tgi",
    "tiny",
    "qwen/qwen3-8b",
    "openai/",
    "gpt2",
]


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """As at the start: loading may take longer than one count may."""
    for model in ("gpt-4o", "gpt-4"):
        asyncio.run(load_encoding(model))


@pytest.mark.parametrize("model", O200K)
def test_newer_models_have_the_newer_encoding(model: str) -> None:
    assert encoding_of(model) == "o200k_base"


@pytest.mark.parametrize("model", CL100K)
def test_older_models_have_the_older_encoding(model: str) -> None:
    assert encoding_of(model) == "cl100k_base"


@pytest.mark.parametrize("model", ["", *UNKNOWN])
def test_other_models_have_no_encoding(model: str) -> None:
    assert encoding_of(model) is None


@pytest.mark.parametrize("encoding", REFERENCE)
async def test_encodings_count_as_the_reference_does(encoding: str) -> None:
    counts = await EncodingTokenizer(encoding).count(list(SAMPLES.values()))
    assert counts == REFERENCE[encoding]


async def test_control_tokens_in_a_text_are_text() -> None:
    assert await EncodingTokenizer("o200k_base").count(["<|endoftext|>", ""]) == [7, 0]


async def test_text_that_is_not_unicode_is_counted() -> None:
    assert await EncodingTokenizer("o200k_base").count(["a\ud800b"]) == [3]


@pytest.mark.parametrize(("text", "tokens"), [("a", 125_000), (" ", 7_813), ("\n", 62_500)])
async def test_long_runs_are_counted(text: str, tokens: int) -> None:
    counts = await EncodingTokenizer("o200k_base").count([text * 1_000_000])
    assert counts == [tokens]


async def test_huge_texts_are_not_counted() -> None:
    assert await EncodingTokenizer("o200k_base").count(["a" * (4 * 2**20 + 1)]) is None


@pytest.mark.parametrize(("words", "turns"), [(10, False), (100_000, True)])
async def test_loop_turns_while_long_texts_are_counted(words: int, turns: bool) -> None:
    tokenizer = EncodingTokenizer("o200k_base")
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    await tokenizer.count(["word " * words])
    assert turned.is_set() is turns


async def test_encoding_of_the_configured_model_is_loaded_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encodings, "_loaded", set())
    registry = await open_registry(ProvidersConfig(openai_api_key=KEY), LoopbackPorts())
    await registry.aclose()
    assert encodings._loaded == {"o200k_base"}


async def test_openai_is_never_asked_for_tokens() -> None:
    provider = OpenAICompatible(connection(OPENAI_BASE_URL, KEY))
    assert provider.tokenizer("gpt-4o").name == "o200k_base"  # type: ignore[union-attr]
    assert provider.tokenizer("gpt-99") is None
    await provider.aclose()


async def test_model_without_a_name_has_no_tokenizer() -> None:
    async with served() as (provider, _):
        assert provider.tokenizer(FIRST_LISTED) is None


@asynccontextmanager
async def asked(
    reply: Reply, api_key: str | None = None
) -> AsyncGenerator[tuple[Tokenizer, ModelServer]]:
    """A tokenizer, and the server that answers `/tokenize` so."""
    async with served(api_key=api_key) as (provider, server):
        server.routes[ROUTE] = reply
        tokenizer = provider.tokenizer("m")
        assert tokenizer is not None
        yield tokenizer, server


def document(data: bytes) -> Reply:
    return body(data, "application/json")


SERVERS = {
    "vllm": (vllm_tokens(3), {"model": "m", "prompt": "Hi", "add_special_tokens": False}),
    "llama.cpp": (llama_tokens(3), {"model": "m", "content": "Hi"}),
    "tgi": (tgi_tokens("<s>", "H", "i"), {"inputs": "Hi"}),
}


@pytest.mark.parametrize("kind", SERVERS)
async def test_server_counts_for_its_model(kind: str) -> None:
    answer, request = SERVERS[kind]
    async with asked(document(answer), KEY) as (tokenizer, server):
        assert await tokenizer.count(["Hi", "", "Hi"]) == [3, 0, 3]
        assert tokenizer.name == "openai:m"
        probe, sent = server.requests
    assert probe.json.keys() >= {"content", "inputs", "prompt"}
    assert (sent.path, sent.json) == ("/tokenize", request)
    assert sent.headers["authorization"] == f"Bearer {KEY}"


def test_tokens_of_tgi_are_as_published() -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(json.loads(tgi_tokens("<s>", "H", "é")), schema)


async def test_texts_are_asked_for_once() -> None:
    async with asked(document(llama_tokens(2))) as (tokenizer, server):
        await tokenizer.count(["one", "two"])
        assert await tokenizer.count(["two", "one"]) == [2, 2]
    assert len(server.requests) == 3


async def test_models_of_a_server_are_told_apart() -> None:
    async with served() as (provider, _):
        first, second = provider.tokenizer("a"), provider.tokenizer("b")
        assert first is not None
        assert second is not None
        assert first.name != second.name
        assert provider.tokenizer("a") is first


NONE = {
    "not found": json_reply({"detail": "Not Found"}, 404),
    "wrong method": json_reply({}, 405),
    "not implemented": json_reply({}, 501),
    "refused": json_reply({"error": "bad key"}, 401),
    "web page": body(b"<html>", "text/html"),
    "error as success": json_reply({"error": "Unexpected endpoint or method. (POST /tokenize)"}),
    "no number": json_reply({"count": "three"}),
    "less than nothing": json_reply({"count": -1}),
    "no tokens": json_reply({"tokens": []}),
    "not text": body(b'{"tokens": "\xff"}', "application/json"),
}


@pytest.mark.parametrize("reply", NONE.values(), ids=NONE)
async def test_server_without_the_route_is_asked_once(
    reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_tokenizer, "_FAILED_S", 0.0)
    async with asked(reply) as (tokenizer, server):
        for _ in range(3):
            assert await tokenizer.count(["one", "two"]) is None
    assert len(server.requests) == 1


async def test_server_that_failed_is_left_in_peace() -> None:
    async with asked(json_reply({}, 500)) as (tokenizer, server):
        for _ in range(3):
            assert await tokenizer.count(["one", "two"]) is None
    assert len(server.requests) == 1


async def test_server_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_tokenizer, "_FAILED_S", 0.0)
    monkeypatch.setattr(server_tokenizer, "_NONE_S", 0.0)
    async with asked(json_reply({}, 404)) as (tokenizer, server):
        assert await tokenizer.count(["one"]) is None
        server.routes[ROUTE] = json_reply({}, 500)
        assert await tokenizer.count(["one"]) is None
        server.routes[ROUTE] = document(vllm_tokens(1))
        assert await tokenizer.count(["one"]) == [1]


async def test_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_tokenizer, "_DEADLINE_S", 0.01)
    async with asked(Reply((hang,))) as (tokenizer, server):
        assert await tokenizer.count(["one"]) is None
        assert await tokenizer.count(["one"]) is None
    assert len(server.requests) <= 1


async def test_what_came_in_time_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_tokenizer, "_SIDE_BY_SIDE", 1)
    async with asked(document(llama_tokens(1))) as (tokenizer, server):
        await tokenizer.count(["zero"])

        async def then_silence(_: object) -> None:
            server.routes[ROUTE] = Reply((hang,))

        server.routes[ROUTE] = Reply((llama_tokens(4), then_silence))
        assert await tokenizer.count(["one", "two"]) is None
        server.routes[ROUTE] = document(llama_tokens(2))
        assert await tokenizer.count(["one", "two"]) == [4, 2]


async def test_large_texts_are_not_sent() -> None:
    async with asked(document(vllm_tokens(1))) as (tokenizer, server):
        assert await tokenizer.count(["é" * (128 * 1024 + 1)]) is None
        assert await tokenizer.count(["é" * 128 * 1024]) == [1]
    assert len(server.requests) == 2


async def test_server_that_is_gone_is_no_error(free_port: int) -> None:
    provider = OpenAICompatible(connection(f"http://127.0.0.1:{free_port}/v1"))
    tokenizer = provider.tokenizer("m")
    assert tokenizer is not None
    assert await tokenizer.count(["one"]) is None
    await provider.aclose()
    assert await tokenizer.count(["one"]) is None
