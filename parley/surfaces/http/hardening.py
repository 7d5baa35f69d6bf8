"""Hardening: what every response tells a browser, whichever route made it."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_YEAR_S = 365 * 24 * 3600
_FRAMES = "frame-ancestors "
# Nobody's pages here use any of them.
_PERMISSIONS = "camera=(), geolocation=(), payment=(), usb=()"


class Hardening:
    """ASGI middleware: headers that no route has to think of."""

    def __init__(
        self, app: ASGIApp, *, frame_ancestors: tuple[str, ...], public_url: str | None
    ) -> None:
        """Let the pages of `app` be framed by `frame_ancestors`, as CSP writes them.

        Behind HTTPS, which `public_url` says, browsers are told to stay there.
        """
        self._app = app
        self._ancestors = " ".join(frame_ancestors)
        self._is_https = (public_url or "").startswith("https:")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, its response with more headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._harden(MutableHeaders(scope=message))
            await send(message)

        await self._app(scope, receive, send_hardened)

    def _harden(self, headers: MutableHeaders) -> None:
        headers.setdefault("x-content-type-options", "nosniff")
        headers.setdefault("referrer-policy", "no-referrer")
        if self._is_https:
            headers["strict-transport-security"] = f"max-age={_YEAR_S}"
        if not headers.get("content-type", "").startswith("text/html"):
            return
        headers.setdefault("permissions-policy", _PERMISSIONS)
        policy = headers.get("content-security-policy", "")
        if _FRAMES.strip() not in policy:
            policy = f"{policy}; {_FRAMES}" if policy else _FRAMES
        if policy.endswith(_FRAMES):
            headers["content-security-policy"] = policy + self._ancestors
