"""A model server whose answer to a message is known beforehand, and that keeps count of its calls.

A message is ``NAME COUNT``: the answer is NAME, then the numbers up to COUNT, a word at a time. Each
message has a name of its own, so that no answer is taken for another one's.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import monotonic

from typing_extensions import override

from parley.fake_server.exchange import (
    Exchange,
    FakeServer,
    Reply,
    Request,
    Step,
    json_reply,
    listening,
)
from tests.fakes.model_server import DONE, chunk, finish, usage


def story(message: str) -> str:
    """The whole answer to a message."""
    return "".join(_words(message))


def _words(message: str) -> list[str]:
    name, count = message.split()
    return [f"{name}:", *(f" {number}" for number in range(int(count)))]


class Storyteller(FakeServer):
    """Tells stories at a pace; `goes_on` is when each word but the first may be told."""

    def __init__(self, pace_s: float) -> None:
        super().__init__()
        self.pace_s = pace_s
        self.calls: Counter[str] = Counter()
        # The conversation that each call brought along.
        self.heard: dict[str, list[dict[str, str]]] = {}
        # When a client left before its story was told.
        self.left_at: dict[str, float] = {}
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    @override
    def reply_to(self, request: Request) -> Reply:
        if request.method != "POST" or request.path == "/tokenize":
            return json_reply({"detail": "Not Found"}, 404)
        messages = request.json["messages"]
        asked = next(m["content"] for m in reversed(messages) if m["role"] == "user")
        self.calls[asked] += 1
        self.heard[asked] = messages
        first, *others = _words(asked)
        told = [step for word in others for step in (self._pause, chunk(word))]
        steps: tuple[bytes | Step, ...] = (chunk(first), *told, finish(), usage(), DONE)
        return Reply(steps)

    @override
    def over(self, request: Request, reply: Reply, *, complete: bool) -> None:
        if not complete and request.method == "POST" and b"messages" in request.body:
            messages = json.loads(request.body)["messages"]
            asked = next(m["content"] for m in reversed(messages) if m["role"] == "user")
            self.left_at[asked] = monotonic()

    async def _pause(self, exchange: Exchange) -> None:
        await exchange.either(self.goes_on.wait())
        await exchange.either(asyncio.Event().wait(), self.pace_s)


@asynccontextmanager
async def storyteller(pace_s: float = 0.02) -> AsyncGenerator[Storyteller]:
    server = Storyteller(pace_s)
    async with listening(server):
        yield server
