"""Gate: what does not reach Chainlit's routes, and what its pages may do in a browser.

Closed doors, paths that no file can have, bodies and sockets over their limits stay outside. A page loads
nothing from other hosts: an image that a model made up would tell them what was said.
"""

from dataclasses import dataclass, field

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parley.chat.errors import NotFound, ParleyError
from parley.chat.owner import current_owner
from parley.observability.logs import get_logger
from parley.surfaces.account.revocation import leave_with
from parley.surfaces.http.bodies import read_body
from parley.surfaces.http.places import Places
from parley.surfaces.page.doors import is_closed, is_upload
from parley.surfaces.page.gate_socket import Wire
from parley.surfaces.page.html import allowed_scripts
from parley.surfaces.page.refusals import refusal

logger = get_logger(__name__)

_POLICY = (
    "default-src 'self'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob: {images}; media-src 'self' blob:; font-src 'self' data:;"
    " connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self';"
    " frame-ancestors "
)
_WITHOUT_BODY = {"GET", "HEAD", "OPTIONS"}
# Socket.IO's event by which the page loads itself anew: as nobody it is led to the sign-in, and
# shows nothing more of who was signed out.
_RELOAD = '42["reload"]'


@dataclass(frozen=True, slots=True)
class GateConfig:
    """Limits of the page; from `image_hosts` it may show pictures.

    Who may frame it is the same for every page: surfaces/http/hardening.py.
    """

    body_limit_bytes: int = 1024 * 1024
    places: Places = field(default_factory=Places)
    image_hosts: tuple[str, ...] = ()
    # Whether another site shows the page in a frame, as a Space's is.
    in_frame: bool = False
    # Whether the page has a link to the sign-in and the account.
    account_link: bool = False


class Gate:
    """ASGI middleware before Chainlit's own."""

    def __init__(self, app: ASGIApp, *, config: GateConfig, uploads: ASGIApp | None = None) -> None:
        """Guard `app`: Chainlit reads a body whole before it looks at its size.

        `uploads` is asked in its place where the files of a session are concerned.
        """
        self._app = app
        self._config = config
        self._uploads = uploads
        self._places = config.places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body read, or refuse it."""
        if scope["type"] == "http" and self._uploads and is_upload(scope["path"]):
            await self._uploads(scope, receive, self._with_headers(send))
        elif scope["type"] == "http":
            try:
                receive = await self._checked(scope, receive)
            except ParleyError as error:
                await refusal(scope, error)(scope, receive, send)
                return
            await self._app(scope, receive, self._with_headers(send))
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept a socket of somebody who is known; what it says is for socket.py to check."""
        owner = current_owner.get()
        if owner is None or self._places.are_full(owner):
            logger.warning("Refused", path=scope["path"], full=owner is not None)
            await receive()
            await send({"type": "websocket.close", "code": 1013 if owner else 1008})
            return
        leave_with(scope, _RELOAD)
        with self._places.one(owner):
            wire = Wire(receive, send)
            await self._app(scope, wire.receive, wire.send)

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        if is_closed(scope["path"]) or "\0" in scope["path"]:
            raise NotFound(f"There is nothing at {scope['path']}.")
        if scope["method"] in _WITHOUT_BODY:
            return receive
        body = await read_body(Request(scope, receive), self._config.body_limit_bytes)
        return _replayed(body, receive)

    def _with_headers(self, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                kind = headers.get("content-type", "")
                if kind.startswith("text/javascript"):
                    # Whose name has no digest: after an update old and new would be mixed.
                    headers.setdefault("cache-control", "no-cache")
                if kind.startswith("text/html"):
                    # A file that waits has a stricter one.
                    images = " ".join(self._config.image_hosts)
                    policy = _POLICY.format(scripts=allowed_scripts(), images=images)
                    headers.setdefault("content-security-policy", policy)
            await send(message)

        return send_with_headers


def _replayed(body: bytes, receive: Receive) -> Receive:
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return unread.pop() if unread else await receive()

    return replay
