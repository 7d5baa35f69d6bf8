"""Revocation: what is over for a caller is over for their sockets and streams too.

An open connection is recognised once, when it begins. From then on this looks once a second
whether the sign-in or the key that it began with still holds; what is ended in this process is
noticed at once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import TypeVar

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parley.auth.principal import Principal
from parley.chat.errors import StorageUnavailable
from parley.chat.identities import SignIns
from parley.observability.logs import get_logger

logger = get_logger(__name__)

T = TypeVar("T")

_EVERY_S = 1.0
_RENEWED_EVERY_S = 60.0
# What Engine.IO says by itself, and what ASGI does.
_NO_USE = {"2", "3", None}
# A client that takes nothing is not waited for.
_GOODBYE_S = 2.0
# Of the range that is free for applications: "sign in again".
CLOSE_CODE = 4401
_LAST_WORDS = "parley.last_words"


def leave_with(scope: Scope, text: str) -> None:
    """Have a socket send this text before it is closed because its caller was revoked."""
    scope[_LAST_WORDS] = text


class Revocations:
    """Knows the open connections of those who can be revoked, and ends them."""

    def __init__(self, renewed_every_s: float = _RENEWED_EVERY_S) -> None:
        """Know none yet."""
        self._renewed_every_s = renewed_every_s
        self._open: dict[str, set[_Line]] = {}
        # Has a sign-in last longer: what is said on a socket is a use of it, as a request is.
        # app.py sets it before anybody is let in.
        self.renew: Callable[[HTTPConnection], Awaitable[object]] | None = None

    async def run(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, principal: Principal | None
    ) -> None:
        """Serve a request or socket of this caller, until it ends or they are revoked."""
        credential = (principal.sign_in_id or principal.key_id) if principal else None
        if principal is None or credential is None:
            await app(scope, receive, send)
            return
        line = _Line(scope, receive, send, is_key=principal.sign_in_id is None)
        self._open.setdefault(credential, set()).add(line)
        try:
            await app(scope, line.receive, line.send)
        finally:
            await line.leave()
            lines = self._open[credential]
            lines.discard(line)
            if not lines:
                del self._open[credential]

    @property
    def credentials(self) -> Collection[str]:
        """The sign-ins and keys that open connections began with."""
        return self._open.keys()

    def end(self, credentials: Iterable[str]) -> None:
        """End the connections that began with these sign-ins or keys."""
        for credential in credentials:
            for line in tuple(self._open.get(credential, ())):
                line.end()

    async def watch(self, store: SignIns, every_s: float = _EVERY_S) -> None:
        """Look again and again which sign-ins and keys are over, also by another replica."""
        while True:
            await asyncio.sleep(every_s)
            if not self._open:
                continue
            keys = {c for c, lines in self._open.items() if any(x.is_key for x in lines)}
            try:
                self.end(await store.over(self._open.keys() - keys, keys, datetime.now(UTC)))
                await self._renew_used()
            except StorageUnavailable as error:
                logger.warning("Cannot see who was signed out", code=error.code)

    async def _renew_used(self) -> None:
        every_s = self._renewed_every_s
        lines = [line for lines in self._open.values() for line in lines if line.is_due(every_s)]
        for line in lines:
            if self.renew:
                await self.renew(line.connection)


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

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, is_key: bool) -> None:
        self.is_key = is_key
        self._scope = scope
        self._is_socket = scope["type"] == "websocket"
        self.connection = HTTPConnection(scope)
        self._is_used = False
        self._renewed_at = monotonic()
        self._receive = receive
        self._send = send
        self._is_cut = False
        self._is_accepted = False
        self._is_closed = False
        self._waits: set[asyncio.Timeout] = set()

    async def receive(self) -> Message:
        """Take what the client says, or that it is gone once the line is cut."""
        message = None if self._is_cut else await self._until_cut(self._receive())
        if message is not None:
            self._is_used |= message.get("text") not in _NO_USE
            return message
        await self.leave()
        return {"type": f"{self._scope['type']}.disconnect", "code": CLOSE_CODE}

    def is_due(self, every_s: float) -> bool:
        """Whether something was said since the sign-in was renewed, which is a while ago."""
        now = monotonic()
        is_due = self._is_used and self._is_socket and now - self._renewed_at >= every_s
        if is_due:
            self._is_used, self._renewed_at = False, now
        return is_due

    async def send(self, message: Message) -> None:
        """Send, unless the line is cut: a response that is whole goes out all the same."""
        if not self._is_socket:
            if not (self._is_cut and message.get("more_body")):
                await self._send(message)
        elif not self._is_cut:
            self._is_accepted |= message["type"] == "websocket.accept"
            self._is_closed |= message["type"] == "websocket.close"
            await self._until_cut(self._send(message))

    def end(self) -> None:
        """Cut the line: whoever listens on it hears that the client is gone."""
        if self._is_cut:
            return
        self._is_cut = True
        now = asyncio.get_running_loop().time()
        for wait in self._waits:
            wait.reschedule(now)

    async def leave(self) -> None:
        """Close a socket whose line was cut, whether or not its app listens on it."""
        if not (self._is_cut and self._is_socket) or self._is_closed:
            return
        self._is_closed = True
        try:
            async with asyncio.timeout(_GOODBYE_S):
                if self._is_accepted and (text := self._scope.get(_LAST_WORDS)):
                    await self._send({"type": "websocket.send", "text": text})
                await self._send({"type": "websocket.close", "code": CLOSE_CODE})
        except OSError:  # a timeout is one too
            logger.info("Socket was gone before it was closed")

    async def _until_cut(self, doing: Awaitable[T]) -> T | None:
        """Wait for something, but no longer than the line holds; None where it was cut."""
        wait = asyncio.timeout(None)
        try:
            async with wait:
                self._waits.add(wait)
                return await doing
        except TimeoutError:
            if not wait.expired():
                raise
            return None
        finally:
            self._waits.discard(wait)
