"""What the tests of the fake server share: a server with a script, requests, events, schemas."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from jsonschema import Draft202012Validator

from parley.fake_server.exchange import listening
from parley.fake_server.script import parse_script
from parley.fake_server.server import ScriptedServer
from tests.unit.providers.test_model_server import with_nulls

FIXTURES = Path(__file__).parents[2] / "fixtures"
MESSAGES = [{"role": "user", "content": "What is it?"}]
CHAT = {
    "model": "m",
    "messages": MESSAGES,
    "stream": True,
    "stream_options": {"include_usage": True},
}


@asynccontextmanager
async def scripted(script: str = "") -> AsyncIterator[ScriptedServer]:
    """Run the fake with a script, given as TOML."""
    server = ScriptedServer(parse_script(script))
    async with listening(server):
        yield server


async def post(
    server: ScriptedServer, path: str, body: object, **headers: str
) -> tuple[int, str, str]:
    """Post JSON; gives the status, the content type and the body."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.root}{path}", json=body, headers=headers) as response,
    ):
        return response.status, response.content_type, (await response.read()).decode()


async def get(server: ScriptedServer, path: str, **headers: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{server.root}{path}", headers=headers) as response,
    ):
        text = await response.text()
        return response.status, json.loads(text) if text else None


async def events(server: ScriptedServer, path: str, body: object) -> list[Any]:
    """Post JSON and read the events of the answer; `[DONE]` stays a word."""
    status, kind, text = await post(server, path, body)
    assert (status, kind) == (200, "text/event-stream")
    data = (
        line.removeprefix("data: ") for line in text.replace("\r\n", "\n").split("\n\n") if line
    )
    return [line if line == "[DONE]" else json.loads(line) for line in data]


def check(payload: object, schema: str, kind: str) -> None:
    """Validate against a published schema."""
    document = with_nulls(json.loads((FIXTURES / f"{schema}.schema.json").read_text()))
    reference = {"$ref": f"#/components/schemas/{kind}", **document}
    Draft202012Validator(reference).validate(payload)
