"""Visitors: every request and every socket knows who calls, and a new browser becomes a guest."""

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parley.auth.callers import Callers
from parley.chat.errors import ParleyError
from parley.chat.owner import current_address, current_owner
from parley.observability.logs import get_logger
from parley.surfaces.failures import refused

logger = get_logger(__name__)


class Visitors:
    """ASGI middleware: finds out who calls, for `Callers.known`, `current_owner` and limits.

    Opening the page without an identity makes a guest. Nothing else does here: a script that
    fetches a URL a thousand times is not a thousand guests.
    """

    def __init__(self, app: ASGIApp, *, callers: Callers) -> None:
        """Recognise the visitors of `app`."""
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, its caller known where there is one."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        try:
            principal = await self._callers.identify(connection)
        except ParleyError as error:
            await refuse(error, scope, receive, send)
            return
        opens = principal is None and _opens_page(connection)
        if opens and (welcome := self._callers.welcome(connection)):
            principal, cookie = welcome
            send = with_cookies(send, cookie)
        owner = current_owner.set(principal.owner if principal else None)
        address = current_address.set(self._callers.address(connection))
        try:
            await self._app(scope, receive, send)
        finally:
            current_address.reset(address)
            current_owner.reset(owner)


async def refuse(error: ParleyError, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a request with its error, a WebSocket before it is accepted."""
    if scope["type"] == "http":
        await refused(scope["path"], error)(scope, receive, send)
        return
    logger.warning("Refused", path=scope["path"], code=error.code, status=403)
    # Closing before accepting is what refuses a handshake with 403.
    await receive()
    await send({"type": "websocket.close", "code": 1008})


def _opens_page(connection: HTTPConnection) -> bool:
    return connection.scope.get("method") == "GET" and "text/html" in connection.headers.get(
        "accept", ""
    )


def with_cookies(send: Send, *cookies: str) -> Send:
    """Add ``Set-Cookie`` headers to the response."""

    async def send_with_cookies(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for cookie in cookies:
                headers.append("set-cookie", cookie)
            # What a cache between us kept would make everyone behind it the same guest.
            headers["cache-control"] = "no-store"
        await send(message)

    return send_with_cookies
