"""A socket whose client takes nothing is not listened to, holds little, and is let go."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketState

from parley.auth.callers import Callers
from parley.auth.guests import Guests
from parley.auth.keys import Secret
from parley.auth.principal import Kind, Principal
from parley.chat.deltas import Text
from parley.surfaces.websocket import Line
from tests.patience import PATIENCE_S
from tests.unit.chat.support import ANNA, Bench, bench

SECRET = Secret("s" * 32)


class Impatient(Line):
    """A socket that gives its client less time."""

    PATIENCE_S: ClassVar[float] = 0.1


class Client:
    """Sends all its frames at once, and takes so many of ours."""

    def __init__(self, frames: list[str], takes: int) -> None:
        self.frames = frames
        self.takes = takes
        self.got: list[str] = []
        self.hung_up = asyncio.Event()

    async def receive(self) -> Message:
        if self.frames:
            return {"type": "websocket.receive", "text": self.frames.pop(0)}
        await self.hung_up.wait()
        return {"type": "websocket.disconnect", "code": 1000}

    async def send(self, message: Message) -> None:
        if len(self.got) == self.takes:
            await asyncio.Event().wait()
        self.got.append(message["text"])
        if len(self.got) == self.takes:
            self.hung_up.set()


async def serve(bench: Bench, client: Client, kind: type[Line]) -> None:
    scope = {"type": "websocket", "path": "/ws", "query_string": b"", "headers": []}
    websocket = WebSocket(scope, client.receive, client.send)
    websocket.client_state = websocket.application_state = WebSocketState.CONNECTED
    callers = Callers(SECRET, Guests(SECRET, secure=False), allow_guests=True)
    async with asyncio.timeout(PATIENCE_S):
        await kind(websocket, bench.engine, callers, Principal(ANNA, Kind.USER)).serve()


@asynccontextmanager
async def answered() -> AsyncIterator[tuple[Bench, str]]:
    """An engine, and the id of a turn that is over."""
    async with bench() as made:
        turn = await made.submit()
        (await made.provider.call()).finish("Hello.")
        assert (await made.folded(turn)).text == "Hello."
        yield made, turn.id


async def test_a_client_that_takes_nothing_is_not_heard_and_is_let_go() -> None:
    async with answered() as (made, turn_id):
        follow = json.dumps({"type": "follow", "turn_id": turn_id})
        client = Client([follow] * 500, takes=2)
        await serve(made, client, Impatient)
        assert len(client.frames) > 390, "no more than it may read at once"


async def test_a_client_that_takes_everything_gets_everything() -> None:
    async with answered() as (made, turn_id):
        follow = json.dumps({"type": "follow", "turn_id": turn_id})
        events = len(await made.events(await made.engine.turn(ANNA.id, turn_id)))
        client = Client([follow] * 50, takes=50 * events)
        await serve(made, client, Line)
        assert sum('"type":"done"' in frame for frame in client.got) == 50


async def test_one_that_lags_gets_the_rest_in_one_piece() -> None:
    async with bench() as made:
        turn = await made.submit()
        call = await made.provider.call()
        client = Client([json.dumps({"type": "follow", "turn_id": turn.id})], takes=6)
        held = asyncio.Event()
        send = client.send

        async def slowly(message: Message) -> None:
            await send(message)
            if '"text"' in message["text"]:
                held.set()
                await turn_is_over.wait()

        turn_is_over = asyncio.Event()
        client.send = slowly  # type: ignore[method-assign]  # this client's own
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(made, client, Line))
            call.send(Text("a"))
            await asyncio.wait_for(held.wait(), PATIENCE_S)
            call.finish(*"bcdefgh")
            await made.folded(turn)
            turn_is_over.set()
        texts = [json.loads(frame) for frame in client.got]
        assert [e["content"] for e in texts if e["type"] == "text"] == ["a", "bcdefgh"]
