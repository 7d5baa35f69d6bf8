"""Origins: no other site may write here, or open a socket, with a visitor's cookies."""

from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from parley.chat.errors import Forbidden
from parley.observability.logs import get_logger
from parley.surfaces.failures import refused

logger = get_logger(__name__)

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class OriginGuard:
    """ASGI middleware: checks the ``Origin`` of every write and of every WebSocket.

    A request without one comes from no browser. `allowed` are origins such as
    ``https://chat.example``; the address that the request itself was sent to always is.
    """

    def __init__(self, app: ASGIApp, *, allowed: frozenset[str]) -> None:
        """Guard `app`."""
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with 403 `forbidden`."""
        if scope["type"] not in {"http", "websocket"} or self._may_pass(HTTPConnection(scope)):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            logger.warning("Refused", path=scope["path"], code=Forbidden.code, status=403)
            # Closing before accepting is what refuses a handshake with 403.
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        error = Forbidden("Another site may not do this. Open Parley itself.")
        await refused(scope["path"], error)(scope, receive, send)

    def _may_pass(self, connection: HTTPConnection) -> bool:
        origin = connection.headers.get("origin")
        if origin is None or connection.scope.get("method") in _SAFE_METHODS:
            return True
        if origin in self._allowed:
            return True
        # "null", the origin of a sandboxed frame or a file, has no host to compare.
        sent_from = _host(origin)
        return bool(sent_from) and sent_from == connection.headers.get("host", "").lower()


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
