"""Revocation: what is over for a caller is over for their sockets and streams too.

An open connection is recognised once, when it begins. From then on this looks once a second
whether the sign-in or the key that it began with still holds; what is ended in this process is
noticed at once.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parley.auth.principal import Principal
from parley.chat.errors import StorageUnavailable
from parley.chat.identities import SignIns
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_EVERY_S = 1.0
# Of the range that is free for applications: "sign in again".
CLOSE_CODE = 4401


class Revocations:
    """Knows the open connections of those who can be revoked, and ends them."""

    def __init__(self) -> None:
        """Know none yet."""
        self._open: dict[str, set[_Line]] = {}

    async def run(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, principal: Principal | None
    ) -> None:
        """Serve a request or socket of this caller, until it ends or they are revoked."""
        credential = (principal.sign_in_id or principal.key_id) if principal else None
        if principal is None or credential is None:
            await app(scope, receive, send)
            return
        line = _Line(scope["type"], receive, send, is_key=principal.sign_in_id is None)
        self._open.setdefault(credential, set()).add(line)
        try:
            await app(scope, line.receive, line.send)
        finally:
            lines = self._open[credential]
            lines.discard(line)
            if not lines:
                del self._open[credential]

    def end(self, credentials: Iterable[str]) -> None:
        """End the connections that began with these sign-ins or keys."""
        for credential in credentials:
            for line in tuple(self._open.get(credential, ())):
                line.end()

    async def watch(self, store: SignIns) -> None:
        """Look again and again which sign-ins and keys are over, also by another replica."""
        while True:
            await asyncio.sleep(_EVERY_S)
            if not self._open:
                continue
            keys = {c for c, lines in self._open.items() if any(x.is_key for x in lines)}
            try:
                self.end(await store.over(self._open.keys() - keys, keys, datetime.now(UTC)))
            except StorageUnavailable as error:
                logger.warning("Cannot see who was signed out", code=error.code)


@asynccontextmanager
async def watching(revocations: Revocations, store: SignIns) -> AsyncIterator[None]:
    """Watch beside the block."""
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(revocations.watch(store))
        try:
            yield
        finally:
            watch.cancel()


class _Line:
    """ASGI's two ends of one connection, which can be cut."""

    def __init__(self, kind: str, receive: Receive, send: Send, *, is_key: bool) -> None:
        self.is_key = is_key
        self._kind = kind
        self._receive = receive
        self._send = send
        self._ended = False
        self._waits: set[asyncio.Timeout] = set()

    async def receive(self) -> Message:
        """Take what the client says, or that it is gone once the line is cut."""
        if not self._ended:
            wait = asyncio.timeout(None)
            try:
                async with wait:
                    self._waits.add(wait)
                    return await self._receive()
            except TimeoutError:
                if not wait.expired():
                    raise
            finally:
                self._waits.discard(wait)
            if self._kind == "websocket":
                await self._send({"type": "websocket.close", "code": CLOSE_CODE})
        return {"type": f"{self._kind}.disconnect", "code": CLOSE_CODE}

    async def send(self, message: Message) -> None:
        """Send, unless the line is cut."""
        if not (self._ended and self._kind == "websocket"):
            await self._send(message)

    def end(self) -> None:
        """Cut the line: whoever listens on it hears that the client is gone."""
        self._ended = True
        now = asyncio.get_running_loop().time()
        for wait in self._waits:
            wait.reschedule(now)
