"""What a client makes of the streams of the conversations API: events with their ids."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec

from tests.patience import PATIENCE_S


@dataclass(frozen=True)
class Received:
    """An event, and the id to go on from."""

    id: str
    event: dict[str, Any]


async def received(response: httpx2.Response) -> AsyncIterator[Received]:
    """Read a stream as it comes; comments and `retry:` are what a browser makes of them: nothing."""
    id, data = "", ""
    async for line in response.aiter_lines():
        if not line and data:
            yield Received(id, msgspec.json.decode(data))
            data = ""
        elif line.startswith("id: "):
            id = line[4:]
        elif line.startswith("data: "):
            data += line[6:]
        else:
            assert not line or line.startswith((":", "retry: ")), line


async def say(
    client: httpx2.AsyncClient, conversation_id: str, message: str, **headers: str
) -> list[dict[str, Any]]:
    """Send a message to a conversation and give the events of the answer."""
    path = f"/api/v1/conversations/{conversation_id}/messages"
    async with (
        asyncio.timeout(PATIENCE_S),
        client.stream("POST", path, json={"message": message}, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        return [each.event async for each in received(response)]


async def new_conversation(client: httpx2.AsyncClient, **body: object) -> str:
    response = await client.post("/api/v1/conversations", json=body)
    assert response.status_code == 201, response.text
    return str(response.json()["conversation_id"])
