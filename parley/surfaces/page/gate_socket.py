"""Gate, sockets: how many sockets there may be, and what one must do to stay.

Engine.IO waits for ever for a socket to say who it is, and answers whatever it sends, also one
that reads nothing: the answers would fill the memory.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from starlette.types import Message, Receive, Send

from parley.observability.logs import get_logger

logger = get_logger(__name__)

# A page does it at once.
_CONNECT_S = 15.0
# Socket.IO's CONNECT inside of Engine.IO's MESSAGE, as the server confirms it.
_CONNECTED = "40{"


class Places:
    """Counts sockets: all of them, and those of each owner."""

    def __init__(self, total: int, per_owner: int) -> None:
        """Let there be so many at once."""
        self._total = total
        self._per_owner = per_owner
        self._taken: Counter[str] = Counter()

    def are_full(self, owner_id: str) -> bool:
        """Whether there is no place for one more of this owner."""
        # A Counter does not keep what it is only asked for.
        return self._taken.total() >= self._total or self._taken[owner_id] >= self._per_owner

    @contextmanager
    def one(self, owner_id: str) -> Iterator[None]:
        """Hold a place; ask `are_full` first."""
        self._taken[owner_id] += 1
        try:
            yield
        finally:
            self._taken[owner_id] -= 1
            if not self._taken[owner_id]:
                del self._taken[owner_id]


class Wire:
    """ASGI's two ends of a socket, which is not listened to while it does not listen itself."""

    def __init__(self, receive: Receive, send: Send) -> None:
        """Wrap both ends; from now on the socket has its time to connect."""
        self._receive = receive
        self._send = send
        self._connect_by = asyncio.get_running_loop().time() + _CONNECT_S
        self._is_connected = False
        self._sending = 0
        self._sent = asyncio.Event()
        self._sent.set()

    async def receive(self) -> Message:
        """Take what the socket says when it has taken what it was sent; or say that it is gone."""
        await self._sent.wait()
        if not self._is_connected:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._connect_by):
                    return await self._receive()
            if not self._is_connected:
                logger.warning("Socket closed that did not connect")
                return {"type": "websocket.disconnect", "code": 1008}
        return await self._receive()

    async def send(self, message: Message) -> None:
        """Send, however long the socket takes for it."""
        self._is_connected |= str(message.get("text")).startswith(_CONNECTED)
        self._sending += 1
        self._sent.clear()
        try:
            await self._send(message)
        finally:
            self._sending -= 1
            if not self._sending:
                self._sent.set()
