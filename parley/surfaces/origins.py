"""Origins: no other site may write here, or open a socket, with a visitor's cookies."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from parley.chat.errors import Forbidden
from parley.observability.audit import audit
from parley.surfaces.account.visitors import refuse

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_SHOWN_CHARS = 200
_ANOTHER_SITE = "Another site may not do this. Open Parley itself"


class OriginGuard:
    """ASGI middleware: checks the ``Origin`` of every write and of every WebSocket.

    A request without one comes from no browser. `allowed` are origins such as
    ``https://chat.example``. The address that the request itself was sent to is allowed too; where
    `public_url` is known, only as ``localhost`` or an IP address: any other name could be one that
    another site owns and has pointed at this machine (DNS rebinding).
    """

    def __init__(
        self, app: ASGIApp, *, allowed: frozenset[str], public_url: str | None = None
    ) -> None:
        """Guard `app`."""
        self._app = app
        self._allowed = allowed
        self._any_name = public_url is None
        where = f", at {public_url} (PUBLIC_URL)" if public_url else ""
        self._refusal = f"{_ANOTHER_SITE}{where}."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with 403 `forbidden`."""
        if scope["type"] not in {"http", "websocket"} or self._may_pass(HTTPConnection(scope)):
            await self._app(scope, receive, send)
            return
        origin = HTTPConnection(scope).headers.get("origin", "")
        audit("origin_refused", origin=origin[:_SHOWN_CHARS], path=scope["path"][:_SHOWN_CHARS])
        await refuse(Forbidden(self._refusal), scope, receive, send)

    def _may_pass(self, connection: HTTPConnection) -> bool:
        origin = connection.headers.get("origin")
        if origin is None or connection.scope.get("method") in _SAFE_METHODS:
            return True
        if origin in self._allowed:
            return True
        # "null", the origin of a sandboxed frame or a file, has no host to compare.
        sent_from, name = _host(origin)
        sent_here = bool(sent_from) and sent_from == connection.headers.get("host", "").lower()
        return sent_here and (self._any_name or _is_nobodys(name))


def _host(origin: str) -> tuple[str, str]:
    """Give host and port as the ``Host`` header has them, and the host alone."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return "", ""
    return parts.netloc.lower(), parts.hostname or ""


def _is_nobodys(name: str) -> bool:
    """Whether no DNS server says where this name leads."""
    try:
        ip_address(name)
    except ValueError:
        return name == "localhost"
    return True
