"""The smallest apps and clients that a middleware can be seen with."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx2
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


def connection(
    headers: Mapping[str, str] | None = None, method: str = "GET", peer: str | None = None
) -> HTTPConnection:
    raw = [(k.lower().encode(), v.encode("latin-1")) for k, v in (headers or {}).items()]
    client = (peer, 50000) if peer else None
    scope = {"type": "http", "method": method, "path": "/", "headers": raw, "client": client}
    return HTTPConnection(scope)


@asynccontextmanager
async def client_of(app: ASGIApp) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the app; what the app raises becomes a broken response, as behind a server."""
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://chat.example") as client:
        yield client


async def open_socket(app: ASGIApp, headers: Mapping[str, str]) -> list[Message]:
    """What an app sends when a browser opens a WebSocket."""
    scope = dict(connection({"host": "chat.example", **headers}).scope, type="websocket")
    del scope["method"]
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent
