"""The fake model server is proved: it speaks the schema that OpenAI publishes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from jsonschema import Draft202012Validator

from parley.chat.deltas import Text
from tests.fakes import model_server as fake
from tests.unit.providers.support import REQUEST, outcome_of, served

SCHEMA = Path(__file__).parents[2] / "fixtures" / "openai-chat-stream.schema.json"
KIND = "#/components/schemas/CreateChatCompletionStreamResponse"


def payload(frame: bytes) -> Any:
    return json.loads(frame.removeprefix(b"data: "))


@pytest.mark.parametrize(
    "frame",
    [
        fake.chunk("Hé\u2028llo"),
        fake.delta({"role": "assistant", "content": ""}),
        fake.finish("length"),
        fake.usage(),
    ],
)
def test_chunks_are_openais(frame: bytes) -> None:
    document = with_nulls(json.loads(SCHEMA.read_text()))
    Draft202012Validator({"$ref": KIND, **document}).validate(payload(frame))


def with_nulls(node: Any) -> Any:
    """Say `nullable` of OpenAPI 3.0, which OpenAI still writes, in JSON Schema's words."""
    if isinstance(node, list):
        return [with_nulls(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: with_nulls(value) for key, value in node.items()}
    return {"anyOf": [node, {"type": "null"}]} if node.pop("nullable", False) else node


async def test_requests_and_connections_are_recorded() -> None:
    async with served(fake.sse(*fake.answer("a")), fake.sse(*fake.answer("b"))) as (
        provider,
        server,
    ):
        texts = [(await outcome_of(provider)).text for _ in range(3)]
    assert texts == ["a", "b", "b"], "one reply for each request, the last one repeats"
    assert [request.path for request in server.requests] == ["/v1/chat/completions"] * 3
    assert (server.connections, server.left.is_set()) == (1, False)


async def test_gate_holds_what_follows() -> None:
    gate = asyncio.Event()
    reply = fake.sse(fake.chunk("a"), fake.wait(gate), *fake.answer("b"))
    async with served(reply) as (provider, _), provider.stream(REQUEST) as stream:
        assert await anext(stream) == Text("a")
        gate.set()
        assert await anext(stream) == Text("b")


async def test_unknown_path_is_not_found() -> None:
    async with fake.model_server() as server, aiohttp.ClientSession() as session:
        server.routes["GET /api/version"] = fake.json_reply({"version": "1"})
        async with session.get(f"{server.root}/api/version") as known:
            assert await known.json() == {"version": "1"}
        async with session.get(f"{server.root}/api/tags") as unknown:
            assert unknown.status == 404
