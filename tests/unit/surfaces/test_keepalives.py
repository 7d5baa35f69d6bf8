"""Streams of the conversations and turns API say that they live while nothing is said; others not."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import fields
from typing import Any, cast

import pytest
from fastapi import FastAPI
from starlette.requests import HTTPConnection
from starlette.types import Message, Scope

from parley.auth.callers import Callers
from parley.auth.guests import Guests
from parley.auth.keys import Secret
from parley.auth.principal import Kind, Principal
from parley.surfaces.api import Api
from parley.surfaces.http.event_stream import EventStream
from parley.surfaces.seal import Seals
from tests.patience import PATIENCE_S
from tests.unit.chat.support import ANNA, Bench, bench

SHORT_S = 0.02
SECRET = Secret("s" * 32)
KEEPALIVE = b": keepalive\n\n"


class Anna:
    """Everybody is Anna."""

    async def identify(self, _: HTTPConnection) -> Principal:
        return Principal(ANNA, Kind.USER)


class NoModels:
    """Nothing is asked of them here but their names."""

    def models(self) -> list[Any]:
        return []


class Client:
    """Sends one body, and knows when it has heard so much."""

    def __init__(self, body: object) -> None:
        self.unsent: list[Message] = [
            {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}
        ]
        self.got = b""
        self.heard = asyncio.Condition()

    async def receive(self) -> Message:
        if self.unsent:
            return self.unsent.pop()
        await asyncio.Event().wait()
        raise AssertionError("it never leaves by itself")

    async def send(self, message: Message) -> None:
        async with self.heard:
            self.got += message.get("body", b"")
            self.heard.notify_all()

    async def until(self, count: int, what: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S), self.heard:
            await self.heard.wait_for(lambda: self.got.count(what) >= count)


def app_of(made: Bench, callers: Callers, keepalive_s: float) -> FastAPI:
    conversations, seals = cast("Any", None), Seals(SECRET, 60)
    limits: Any = {name.name: 65536 for name in fields(Api) if name.name.endswith("_bytes")}
    asked = (made.engine, cast("Any", NoModels()), conversations, callers, seals, "/api/v1")
    app = FastAPI()
    for router in Api(*asked, **limits, keepalive_s=keepalive_s).routers():
        app.include_router(router)
    return app


async def scope_of(callers: Callers, method: str, path: str) -> Scope:
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    await callers.identify(HTTPConnection(scope))
    return scope


async def silent(until: asyncio.Event) -> AsyncGenerator[bytes]:
    yield b"data: a\n\n"
    await until.wait()
    yield b"data: b\n\n"


async def keepalives_sent(client: Client) -> None:
    """Let a stream of this kind, beside the one that is looked at, say three times that it lives."""
    over = asyncio.Event()
    stream = EventStream(silent(over), {}, keepalive_s=SHORT_S)
    running = asyncio.ensure_future(stream({"type": "http"}, client.receive, client.send))
    await client.until(3, KEEPALIVE)
    over.set()
    await running


async def test_a_silent_stream_says_that_it_lives() -> None:
    client = Client({})
    await keepalives_sent(client)
    first, *comments, last = client.got.split(b"\n\n")[:-1]
    assert (first, last) == (b"data: a", b"data: b")
    assert set(comments) == {b": keepalive"}


CONVERSATION = "/api/v1/conversations/{thread}/messages"
USER = [{"role": "user", "content": "hi"}]
STREAMS: dict[str, tuple[bool, str, str, object]] = {
    "conversation": (True, "POST", CONVERSATION, {"message": "hi"}),
    "turn": (True, "GET", "/api/v1/turns/{turn}/events", None),
    "chat": (False, "POST", "/chat", {"session_id": "a", "message": "hi"}),
    "stateless": (False, "POST", "/api/v1/chat", {"message": "hi"}),
    "older stateless": (False, "POST", "/api/chat", {"message": "hi"}),
    "openai": (
        False,
        "POST",
        "/v1/chat/completions",
        {"model": "scripted:one", "messages": USER, "stream": True},
    ),
}


@pytest.mark.parametrize("door", STREAMS)
async def test_only_the_conversations_and_turns_api_has_them(door: str) -> None:
    is_kept_alive, method, path, body = STREAMS[door]
    callers = Callers(SECRET, Guests(SECRET, secure=False), allow_guests=True)
    callers.use([Anna()])
    client = Client(body)
    async with bench() as made:
        turn = await made.submit("hi")
        before = await made.provider.call()
        if door != "turn":
            before.finish("Before.")
            await made.folded(turn)
        where = path.format(thread=made.thread_id, turn=turn.id)
        scope = await scope_of(callers, method, where)
        app = app_of(made, callers, SHORT_S)
        asking = asyncio.ensure_future(app(scope, client.receive, client.send))
        call = before if door == "turn" else await made.provider.call(1)
        call.say("Hm")
        await client.until(1, b"Hm")
        if is_kept_alive:
            await client.until(3, KEEPALIVE)
        else:
            await keepalives_sent(Client({}))
        call.finish(" yes.")
        await asyncio.wait_for(asking, PATIENCE_S)
    assert (KEEPALIVE in client.got) == is_kept_alive
    lines = set(client.got.splitlines()) - {b"", b": keepalive"}
    kinds = {line.split(b":")[0] for line in lines}
    assert kinds == ({b"retry", b"id", b"data"} if is_kept_alive else {b"data"})


def test_they_come_every_fifteen_seconds() -> None:
    (every,) = [field for field in fields(Api) if field.name == "keepalive_s"]
    assert every.default == 15
