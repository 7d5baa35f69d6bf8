"""Gate: what does not reach Chainlit's routes: closed doors, and bodies over their limit."""

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parley.chat.errors import NotFound, ParleyError
from parley.surfaces.bodies import read_body
from parley.surfaces.failures import refused
from parley.surfaces.page.doors import is_closed

_WITHOUT_BODY = {"GET", "HEAD", "OPTIONS"}


class Gate:
    """ASGI middleware before Chainlit's own; sockets pass, socket.py guards them."""

    def __init__(self, app: ASGIApp, *, body_limit_bytes: int) -> None:
        """Guard `app`: Chainlit reads a body whole before it looks at its size."""
        self._app = app
        self._body_limit_bytes = body_limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body read, or refuse it."""
        if scope["type"] == "http":
            try:
                receive = await self._checked(scope, receive)
            except ParleyError as error:
                await refused(scope["path"], error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        if is_closed(scope["path"]):
            raise NotFound(f"There is nothing at {scope['path']}.")
        if scope["method"] in _WITHOUT_BODY:
            return receive
        body = await read_body(Request(scope, receive), self._body_limit_bytes)
        return _replayed(body, receive)


def _replayed(body: bytes, receive: Receive) -> Receive:
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return unread.pop() if unread else await receive()

    return replay
