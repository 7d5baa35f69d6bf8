"""Visitors: every request knows its owner, and a new browser becomes a guest."""

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parley.auth.callers import Callers
from parley.chat.owner import current_owner


class Visitors:
    """ASGI middleware: sets `current_owner` from the browser's cookie.

    Opening the page without one makes a guest. Nothing else does: a script that fetches a URL
    a thousand times is not a thousand guests.
    """

    def __init__(self, app: ASGIApp, *, callers: Callers) -> None:
        """Recognise the visitors of `app`."""
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, its owner known where there is one."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        owner = self._callers.of_browser(connection)
        if owner is None and _opens_page(connection) and (welcome := self._callers.welcome()):
            owner, cookie = welcome
            send = _with_cookie(send, cookie)
        token = current_owner.set(owner)
        try:
            await self._app(scope, receive, send)
        finally:
            current_owner.reset(token)


def _opens_page(connection: HTTPConnection) -> bool:
    return connection.scope.get("method") == "GET" and "text/html" in connection.headers.get(
        "accept", ""
    )


def _with_cookie(send: Send, cookie: str) -> Send:
    async def send_with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.append("set-cookie", cookie)
            # What a cache between us kept would make everyone behind it the same guest.
            headers["cache-control"] = "no-store"
        await send(message)

    return send_with_cookie
