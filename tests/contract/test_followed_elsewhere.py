"""A turn that runs in one engine and is read through another, with a real Redis between them."""

import asyncio
from typing import Any

import msgspec
import pytest
from starlette.types import Message

from parley.surfaces.following import resumable_frames
from parley.surfaces.http.event_stream import EventStream
from tests.contract.live_support import live_at
from tests.patience import PATIENCE_S
from tests.unit.chat.support import TroubledStore, bench
from tests.unit.chat.test_inheriting import OTHER, SHARED

pytestmark = pytest.mark.needs_redis
_KEEPALIVE = b": keepalive\n\n"


class Reader:
    """A client that takes what it gets."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self._came = asyncio.Event()

    async def receive(self) -> Message:
        await asyncio.Event().wait()
        raise AssertionError("it never leaves by itself")

    async def send(self, message: Message) -> None:
        self.frames.append(message.get("body", b""))
        self._came.set()

    async def until_it_has(self, frame: bytes, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.frames.count(frame) < count:
                self._came.clear()
                await self._came.wait()

    def events(self) -> list[Any]:
        lines = b"".join(self.frames).splitlines()
        return [msgspec.json.decode(line[6:]) for line in lines if line.startswith(b"data: ")]


async def test_a_quiet_turn_is_kept_alive_for_who_reads_it_elsewhere(redis_url: str) -> None:
    """For longer than the log is silent before the rows are asked."""
    store = TroubledStore()
    async with (
        live_at(redis_url) as here,
        live_at(redis_url) as there,
        bench(SHARED, store, live=here) as one,
        bench(OTHER, store, live=there) as two,
    ):
        turn = await one.submit()
        call = await one.provider.call()
        call.say("Good ")
        reader = Reader()
        stream = EventStream(resumable_frames(two.engine, turn), {}, keepalive_s=0.05)
        reading = asyncio.ensure_future(stream({"type": "http"}, reader.receive, reader.send))
        await reader.until_it_has(_KEEPALIVE, 30)
        call.finish("day")
        async with asyncio.timeout(PATIENCE_S):
            await reading
    events = reader.events()
    assert "".join(e["content"] for e in events if e["type"] == "text") == "Good day"
    assert [e["type"] for e in events].count("done") == 1
