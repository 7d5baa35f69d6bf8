"""An event stream reads its frames for as long as its client takes them, and no longer."""

import asyncio
from collections.abc import AsyncGenerator
from typing import ClassVar

import pytest
from starlette.types import Message

from parley.surfaces.http.event_stream import EventStream
from tests.patience import PATIENCE_S

SHORT_S = 0.05


class Impatient(EventStream):
    """A stream that gives a client less time."""

    PATIENCE_S: ClassVar[float] = SHORT_S


class Patient(EventStream):
    """A stream that gives a client more time than one that is slow needs for a frame, and less than for all."""

    PATIENCE_S: ClassVar[float] = 1


class Client:
    """Takes `takes` messages, and then no more."""

    def __init__(self, takes: int, pause_s: float = 0) -> None:
        self.takes = takes
        self.pause_s = pause_s
        self.got: list[Message] = []

    async def receive(self) -> Message:
        await asyncio.Event().wait()
        raise AssertionError("it never leaves by itself")

    async def send(self, message: Message) -> None:
        if len(self.got) == self.takes:
            await asyncio.Event().wait()
        await asyncio.sleep(self.pause_s)
        self.got.append(message)


class Frames:
    """Gives frames with a pause between them, and knows whether it was closed."""

    def __init__(self, count: int, pause_s: float = 0) -> None:
        self.count = count
        self.pause_s = pause_s
        self.is_closed = False

    async def read(self) -> AsyncGenerator[bytes]:
        try:
            for _ in range(self.count):
                await asyncio.sleep(self.pause_s)
                yield b"x"
        finally:
            self.is_closed = True


async def stream(frames: Frames, client: Client, kind: type[EventStream] = Impatient) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await kind(frames.read(), {})({"type": "http"}, client.receive, client.send)


def body(client: Client) -> bytes:
    return b"".join(message.get("body", b"") for message in client.got)


async def test_all_frames_are_sent() -> None:
    frames, client = Frames(3), Client(takes=9)
    await stream(frames, client)
    assert body(client) == b"xxx"
    assert client.got[-1]["more_body"] is False
    assert frames.is_closed


@pytest.mark.parametrize("takes", [0, 1, 3])
async def test_a_client_that_takes_nothing_is_dropped(takes: int) -> None:
    frames, client = Frames(1000), Client(takes)
    await stream(frames, client)
    assert len(client.got) == takes
    assert frames.is_closed == (takes > 0), "what was never begun has nothing to close"


async def test_a_slow_client_is_not() -> None:
    frames, client = Frames(12), Client(takes=99, pause_s=0.1)
    await stream(frames, client, Patient)
    assert body(client) == b"x" * 12


async def test_a_slow_model_is_nobodys_fault() -> None:
    frames, client = Frames(3, pause_s=SHORT_S * 3), Client(takes=99)
    await stream(frames, client)
    assert body(client) == b"xxx"


async def test_cancelling_from_outside_stays_that() -> None:
    running = asyncio.ensure_future(stream(Frames(1000), Client(takes=1)))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
