"""Gate, sockets: what one must do to stay.

Engine.IO waits for ever for a socket to say who it is, answers whatever it sends, also one that
reads nothing, and has a traceback for what makes no sense: they would fill memory and disk.
"""

import asyncio
import re
from contextlib import suppress

from starlette.types import Message, Receive, Send

from parley.observability.logs import get_logger

logger = get_logger(__name__)

# A page does it at once.
_CONNECT_S = 15.0
# Socket.IO's CONNECT inside of Engine.IO's MESSAGE, as the server confirms it.
_CONNECTED = "40{"
# What a client says in Engine.IO: a message that holds a packet of Socket.IO, or one of these.
_MESSAGE = re.compile("4[0-9]")
_OTHERS = {"1", "2", "2probe", "3", "3probe", "5", "6"}


class Wire:
    """ASGI's two ends of a socket, which is not listened to while it does not listen itself."""

    def __init__(self, receive: Receive, send: Send, connect_s: float = _CONNECT_S) -> None:
        """Wrap both ends; from now on the socket has its time to connect."""
        self._receive = receive
        self._send = send
        self._connect_by = asyncio.get_running_loop().time() + connect_s
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
                    return _understood(await self._receive())
            if not self._is_connected:
                logger.warning("Socket closed that did not connect")
                return {"type": "websocket.disconnect", "code": 1008}
        return _understood(await self._receive())

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


def _understood(message: Message) -> Message:
    """Give the message, or say that a socket is gone which says what no page does."""
    text = message.get("text")
    if text is None or text in _OTHERS or _MESSAGE.match(text):
        return message
    logger.warning("Socket closed that makes no sense")
    return {"type": "websocket.disconnect", "code": 1007}
