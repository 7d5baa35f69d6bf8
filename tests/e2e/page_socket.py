"""A Socket.IO client in the page's place, that can also do what the page never would."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol
from uuid import uuid4

import httpx2
import socketio  # type: ignore[import-untyped]  # it ships no types

from tests.patience import PATIENCE_S
from tests.server import ParleyProcess


async def new_guest(parley: ParleyProcess) -> str:
    """Open the page as a new browser does; gives its Cookie header."""
    async with httpx2.AsyncClient(base_url=parley.url, timeout=PATIENCE_S) as client:
        await client.get("/", headers={"accept": "text/html"})
        return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


class Served(Protocol):
    """A process that serves Chainlit's page: Parley, or another app."""

    url: str


class PageSocket:
    """One socket, and all that came over it, in order."""

    def __init__(self, client: socketio.AsyncClient) -> None:
        self._client = client
        self._changed = asyncio.Condition()
        self.received: list[tuple[str, Any]] = []
        self.closed = False
        client.on("*", self._take)
        client.on("disconnect", self._close)

    async def _take(self, event: str, data: Any = None) -> None:
        async with self._changed:
            self.received.append((event, data))
            self._changed.notify_all()

    async def _close(self, *_: object) -> None:
        async with self._changed:
            self.closed = True
            self._changed.notify_all()

    async def emit(self, event: str, *data: object) -> None:
        await self._client.emit(event, data or None)

    async def say(self, text: str, **fields: object) -> str:
        """Send a message as the page does; gives its id."""
        files = fields.pop("fileReferences", [])
        step = {"id": str(uuid4()), "type": "user_message", "output": text, "name": "me", **fields}
        await self.emit("client_message", {"message": step, "fileReferences": files})
        return str(step["id"])

    def all(self, event: str) -> list[Any]:
        return [data for name, data in self.received if name == event]

    async def next(self, event: str, count: int = 1) -> Any:
        """Wait for the `count`-th event of this name, and give its data."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: len(self.all(event)) >= count or self.closed)
        return self.all(event)[count - 1]

    async def next_error(self, count: int = 1) -> str:
        """Wait for the `count`-th error that is shown, and give its text."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: len(self.errors()) >= count or self.closed)
        return self.errors()[count - 1]

    def errors(self) -> list[str]:
        return [step["output"] for step in self.all("new_message") if step["isError"]]

    async def until_closed(self) -> None:
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: self.closed)


@asynccontextmanager
async def page_socket(
    parley: Served,
    cookie: str,
    auth: object = None,
    headers: dict[str, str] | None = None,
) -> AsyncIterator[PageSocket]:
    """Connect as the page does; raises `ConnectionError` where that is refused."""
    client = socketio.AsyncClient(reconnection=False)
    socket = PageSocket(client)
    try:
        await client.connect(
            parley.url,
            headers={"cookie": cookie, **(headers or {})},
            auth={"sessionId": str(uuid4()), "clientType": "webapp"} if auth is None else auth,
            transports=["websocket"],
            socketio_path="/ws/socket.io",
            wait_timeout=int(PATIENCE_S),
        )
        yield socket
    except socketio.exceptions.ConnectionError as error:
        raise ConnectionError(str(error)) from None
    finally:
        await client.disconnect()
