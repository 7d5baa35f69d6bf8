"""Gate: what does not reach Chainlit's routes, and what its pages may do in a browser.

Closed doors, paths that no file can have, and bodies over their limit stay outside. A page loads
nothing from other hosts: an image that a model made up would tell them what was said.
"""

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parley.chat.errors import NotFound, ParleyError
from parley.surfaces.bodies import read_body
from parley.surfaces.failures import refused
from parley.surfaces.page.doors import is_closed

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:;"
    " connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self';"
    " frame-ancestors "
)
_WITHOUT_BODY = {"GET", "HEAD", "OPTIONS"}


class Gate:
    """ASGI middleware before Chainlit's own; sockets pass, socket.py guards them."""

    def __init__(self, app: ASGIApp, *, body_limit_bytes: int, frame_ancestors: str) -> None:
        """Guard `app`: Chainlit reads a body whole before it looks at its size.

        `frame_ancestors` are the sites that may show the page in a frame, as CSP writes them.
        """
        self._app = app
        self._body_limit_bytes = body_limit_bytes
        self._policy = _POLICY + frame_ancestors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body read, or refuse it."""
        if scope["type"] == "http":
            try:
                receive = await self._checked(scope, receive)
            except ParleyError as error:
                await refused(scope["path"], error)(scope, receive, send)
                return
            send = self._with_headers(send)
        await self._app(scope, receive, send)

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        if is_closed(scope["path"]) or "\0" in scope["path"]:
            raise NotFound(f"There is nothing at {scope['path']}.")
        if scope["method"] in _WITHOUT_BODY:
            return receive
        body = await read_body(Request(scope, receive), self._body_limit_bytes)
        return _replayed(body, receive)

    def _with_headers(self, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                if headers.get("content-type", "").startswith("text/html"):
                    headers["content-security-policy"] = self._policy
            await send(message)

        return send_with_headers


def _replayed(body: bytes, receive: Receive) -> Receive:
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return unread.pop() if unread else await receive()

    return replay
