"""A WebSocket client as people write one, and what it makes of the events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.patience import PATIENCE_S
from tests.server import ParleyProcess


@asynccontextmanager
async def socket_of(
    parley: ParleyProcess, path: str = "/ws", **headers: str
) -> AsyncIterator[ClientConnection]:
    url = parley.url.replace("http", "ws", 1) + path
    connecting = connect(url, additional_headers=headers, open_timeout=PATIENCE_S)
    async with asyncio.timeout(4 * PATIENCE_S), connecting as socket:
        yield socket


async def next_event(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        event: dict[str, Any] = json.loads(await socket.recv())
        return event


async def events_until(socket: ClientConnection, dones: int = 1) -> list[dict[str, Any]]:
    """Read until so many turns are done."""
    events: list[dict[str, Any]] = []
    while sum(event["type"] == "done" for event in events) < dones:
        events.append(await next_event(socket))
    return events


async def say(socket: ClientConnection, message: str, **fields: object) -> None:
    await socket.send(json.dumps({"type": "message", "message": message, **fields}))
