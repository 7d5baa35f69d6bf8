"""Importing: how many conversations are brought back at once, of everybody together."""

import asyncio
from typing import Any, cast

from fastapi import FastAPI

from parley.auth.callers import Callers
from parley.auth.guests import Guests
from parley.auth.keys import Secret
from parley.chat.conversations import Conversation, Conversations
from parley.surfaces.export import export_routes
from parley.surfaces.http.failures import add_failure_handlers
from tests.patience import until
from tests.unit.surfaces.asgi import client_of

SECRET = Secret("s" * 32)
EXPORT = {"version": 1, "exported_at": "2026-01-01T00:00:00Z", "title": "t", "metadata": {}}
EXPORT |= {"created_at": "2026-01-01T00:00:00Z", "turns": []}


class Slow:
    """Conversations of which each is written for as long as it is told to be."""

    def __init__(self) -> None:
        self.writing = 0
        self.most = 0
        self.go_on = asyncio.Event()

    async def bring(self, *_: Any) -> Conversation:
        self.writing += 1
        self.most = max(self.most, self.writing)
        await self.go_on.wait()
        self.writing -= 1
        raise RuntimeError("written")


def app_of(conversations: Slow) -> FastAPI:
    app = FastAPI()
    add_failure_handlers(app)
    callers = Callers(SECRET, Guests(SECRET, secure=False), allow_guests=True)
    limits = {"limit_bytes": 9999, "message_limit_bytes": 9999, "image_limit_bytes": 9999}
    kept = cast(Conversations, conversations)
    app.include_router(export_routes(kept, callers, "/api/v1", **limits))
    return app


async def test_two_are_read_into_memory_at_once_and_the_others_wait() -> None:
    slow = Slow()
    async with client_of(app_of(slow)) as client:
        asking = [
            asyncio.ensure_future(client.post("/api/v1/conversations/import", json=EXPORT))
            for _ in range(5)
        ]
        await until(lambda: slow.writing == 2)
        for _ in range(100):
            await asyncio.sleep(0)
        assert slow.writing == 2
        slow.go_on.set()
        assert {response.status_code for response in await asyncio.gather(*asking)} == {500}
    assert slow.most == 2
