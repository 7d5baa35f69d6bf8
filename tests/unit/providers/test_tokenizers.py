"""Tokens are counted as the model counts them, or not at all."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import jsonschema
import pytest

from parley.chat.models import Tokenizer
from parley.fake_server.exchange import Request
from providers import server_tokenizer
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
    wait,
)
from tests.patience import eventually
from tests.unit.providers.support import connection, served

KEY = "sk-secret-0123456789"
ROUTE = "POST /tokenize"
SCHEMA = Path(__file__).parents[2] / "fixtures" / "tgi-tokenize.schema.json"


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


def tokenized(server: ModelServer) -> list[Request]:
    return [request for request in server.requests if request.path == "/tokenize"]


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
        assert tokenizer.name.startswith("openai:m@")
        probe, sent = tokenized(server)
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
    assert len(tokenized(server)) == 3


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
        assert await counted_at_last(tokenizer, "one") == [1]


async def counted_at_last(tokenizer: Tokenizer, text: str) -> Sequence[int]:
    """Count until it is counted: a server that failed is tried in the background."""
    counts = await eventually(lambda: tokenizer.count([text]))
    assert counts is not None
    return counts


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
    assert len(tokenized(server)) == 2


async def test_server_that_is_gone_is_no_error(free_port: int) -> None:
    provider = OpenAICompatible(connection(f"http://127.0.0.1:{free_port}/v1"))
    tokenizer = provider.tokenizer("m")
    assert tokenizer is not None
    assert await tokenizer.count(["one"]) is None
    await provider.aclose()
    assert await tokenizer.count(["one"]) is None


MODELS = "GET /v1/models"


def models(**fields: object) -> Reply:
    return json_reply({"object": "list", "data": [{"id": "m", "created": 1, **fields}]})


IDENTITIES = {
    "vllm": (MODELS, vllm_tokens(3), models(root="org/a"), models(root="org/b")),
    "llama.cpp": (
        MODELS,
        llama_tokens(3),
        models(meta={"n_vocab": 32_000, "size": 1}),
        models(meta={"n_vocab": 128_000, "size": 1}),
    ),
    "tgi": (
        "GET /info",
        tgi_tokens("a", "b", "c"),
        json_reply({"model_id": "a", "model_sha": "1"}),
        json_reply({"model_id": "a", "model_sha": "2"}),
    ),
}


@pytest.mark.parametrize("kind", IDENTITIES)
async def test_counts_do_not_outlive_their_model(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_tokenizer, "_SURE_S", 0.0)
    monkeypatch.setattr(server_tokenizer, "_SURE_TIMES", 0)
    route, answer, first, second = IDENTITIES[kind]
    async with asked(document(answer)) as (tokenizer, server):
        server.routes[route] = first
        assert await tokenizer.count(["one"]) == [3]
        before = tokenizer.name
        assert await tokenizer.count(["one", "two"]) == [3, 3]
        assert tokenizer.name == before
        server.routes[route] = second
        assert await tokenizer.count(["one", "three"]) is None, "of two models"
        assert tokenizer.name != before
        asked_before = len(tokenized(server))
        assert await tokenizer.count(["one"]) == [3]
        assert len(tokenized(server)) == asked_before + 1


async def test_name_is_the_same_after_a_restart() -> None:
    async with served() as (provider, server):
        server.routes |= {ROUTE: document(vllm_tokens(1)), MODELS: models(root="a", created=2)}
        names = []
        for _ in range(2):
            again = OpenAICompatible(provider.connection)
            tokenizer = again.tokenizer("m")
            assert tokenizer is not None
            assert await tokenizer.count(["one"]) == [1]
            names.append(tokenizer.name)
            await again.aclose()
    assert names[0] == names[1]
    assert "?" not in names[0]


async def test_same_name_at_two_servers_is_two() -> None:
    async with served() as (one, _), served() as (other, _):
        first, second = one.tokenizer("m"), other.tokenizer("m")
        assert first is not None
        assert second is not None
        assert first.name != second.name


async def test_counts_are_forgotten_when_the_server_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_tokenizer, "_FAILED_S", 0.0)
    async with asked(document(llama_tokens(3))) as (tokenizer, server):
        assert await tokenizer.count(["one"]) == [3]
        server.routes[ROUTE] = json_reply({}, 500)
        assert await tokenizer.count(["two"]) is None
        server.routes[ROUTE] = document(llama_tokens(5))
        assert await counted_at_last(tokenizer, "one") == [5]


@pytest.mark.parametrize("reply", [json_reply({}, 500), Reply((hang,))])
async def test_nothing_is_counted_for_an_unknown_model(
    reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_tokenizer, "_DEADLINE_S", 0.1)
    async with asked(document(llama_tokens(3))) as (tokenizer, server):
        server.routes[MODELS] = reply
        assert await tokenizer.count(["one"]) is None
        before = len(tokenized(server))
        assert await tokenizer.count(["one"]) is None
        assert len(tokenized(server)) == before, "it is not asked again at once"


async def test_turn_waits_once_for_a_slow_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_tokenizer, "_SLOW_S", 0.0)
    async with asked(document(llama_tokens(3))) as (tokenizer, server):
        assert await tokenizer.count(["one"]) == [3]
        before = len(server.requests)
        assert await tokenizer.count(["two"]) is None
        assert len(server.requests) == before


async def test_slow_server_is_tried_behind_the_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_tokenizer, "_SLOW_S", 0.0)
    monkeypatch.setattr(server_tokenizer, "_SLOW_PAUSE_S", 0.0)
    gate = asyncio.Event()
    async with asked(document(llama_tokens(3))) as (tokenizer, server):
        assert await tokenizer.count(["one"]) == [3]
        server.routes[ROUTE] = Reply((wait(gate), llama_tokens(3)))
        before = len(server.requests)
        assert await tokenizer.count(["two"]) is None
        assert len(server.requests) == before, "nothing was waited for"
        monkeypatch.setattr(server_tokenizer, "_SLOW_S", 60.0)
        gate.set()
        assert await counted_at_last(tokenizer, "two") == [3]
