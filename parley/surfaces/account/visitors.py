"""Visitors: every request and every socket knows who calls, and a new browser becomes a guest."""

from urllib.parse import urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parley.auth.callers import Callers, hand_cookie, handed_cookies, opens_page
from parley.auth.principal import Principal
from parley.auth.principal import Scope as PrincipalScope
from parley.chat.errors import ParleyError
from parley.chat.owner import current_address, current_owner
from parley.observability.logs import get_logger
from parley.surfaces.account.revocation import Revocations
from parley.surfaces.http.failures import refused

logger = get_logger(__name__)

SIGN_IN = "/login"
# Whoever has this cookie signs out at their provider with the next page (leaving.py).
LEAVING, LEAVING_PATH = "parley_leaving", "/logout/provider"

# Who asks these is nobody's business, and must not depend on the database.
_PROBES = {"/health", "/livez", "/readyz", "/metrics"}
# What can be seen before one has signed in, so that one can.
_BEFORE_SIGN_IN = (
    SIGN_IN,
    LEAVING_PATH,
    "/auth/oauth/",
    "/public/",
    "/assets/",
    "/logo",
    "/favicon",
)
# Dozens of these are one page.
_FILES = ("/public/", "/assets/", "/logo", "/favicon", "/avatars/")
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class Visitors:
    """ASGI middleware: finds out who calls, for `Callers.known`, `current_owner` and limits.

    Opening the page without an identity makes a guest, or leads to the sign-in where there are no
    guests. Nothing else does here: a script that fetches a URL a thousand times is not a thousand
    guests. Whoever is revoked while a connection is open loses it.
    """

    def __init__(self, app: ASGIApp, *, callers: Callers, revocations: Revocations) -> None:
        """Recognise the visitors of `app`."""
        self._app = app
        self._callers = callers
        self._revocations = revocations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, its caller known where there is one."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        if scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        if _leaves(connection):
            await RedirectResponse(LEAVING_PATH, 303)(scope, receive, send)
            return
        try:
            principal = await self._recognised(connection)
        except ParleyError as error:
            await refuse(await self._counted(error, connection), scope, receive, send)
            return
        if cookies := handed_cookies(connection):
            send = with_cookies(send, *cookies)
        if principal is None and _opens_chat(connection):
            where = f"{SIGN_IN}?{urlencode({'back_to': scope['path']})}"
            await RedirectResponse(where, 303)(scope, receive, send)
            return
        owner = current_owner.set(principal.owner if principal else None)
        address = current_address.set(self._callers.address(connection))
        try:
            if self._callers.limits and not scope["path"].startswith(_FILES):
                await self._callers.limits.check_request(principal.owner if principal else None)
        except ParleyError as error:
            await refuse(error, scope, receive, send)
            return
        else:
            await self._revocations.run(self._app, scope, receive, send, principal)
        finally:
            current_address.reset(address)
            current_owner.reset(owner)

    async def _counted(self, error: ParleyError, connection: HTTPConnection) -> ParleyError:
        """Count a request whose credentials do not hold as nobody's; give what it is refused with."""
        address = current_address.set(self._callers.address(connection))
        try:
            if self._callers.limits:
                await self._callers.limits.check_request(None)
        except ParleyError as too_many:
            return too_many
        finally:
            current_address.reset(address)
        return error

    async def _recognised(self, connection: HTTPConnection) -> Principal | None:
        principal = await self._callers.identify(connection)
        if principal and principal.key_id:
            is_reading = connection.scope.get("method") in _SAFE_METHODS
            principal.require(PrincipalScope.READ if is_reading else PrincipalScope.CHAT)
        if principal is not None or not _opens_chat(connection):
            return principal
        if welcome := self._callers.welcome(connection):
            principal, cookie = welcome
            hand_cookie(connection, cookie)
        return principal


def _leaves(connection: HTTPConnection) -> bool:
    """Whether a browser that has signed out here opens a page next, and not its provider's."""
    if LEAVING not in connection.cookies or not opens_page(connection):
        return False
    is_on_its_way = connection.scope["path"].startswith((LEAVING_PATH, *_FILES))
    # It was at the provider, and is sent back by it.
    is_back = connection.headers.get("sec-fetch-site") in {"cross-site", "same-site"}
    return not is_on_its_way and not is_back


def _opens_chat(connection: HTTPConnection) -> bool:
    """Whether a browser opens a page that somebody has to be known for."""
    is_free = connection.scope["path"].startswith(_BEFORE_SIGN_IN)
    return opens_page(connection) and not is_free


async def refuse(error: ParleyError, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a request with its error, a WebSocket before it is accepted."""
    if scope["type"] == "http":
        await refused(scope["path"], error)(scope, receive, send)
        return
    logger.warning("Refused", path=scope["path"], code=error.code, status=403)
    # Closing before accepting is what refuses a handshake with 403.
    await receive()
    await send({"type": "websocket.close", "code": 1008})


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
