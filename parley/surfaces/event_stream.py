"""Event stream: frames as an HTTP response, for as long as the client stays and takes them.

Where nothing was sent for a while a stream of the conversations API sends a comment, so that no
proxy takes it for dead.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import ClassVar

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from parley.observability.logs import get_logger

logger = get_logger(__name__)

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
_KEEPALIVE = b": keepalive\n\n"
KEEPALIVE_S = 15.0


class _ClientLeft(Exception):
    """Nobody reads any more."""


class EventStream(Response):
    """Server-sent events; the client's leaving ends the reading of `frames`, at once.

    So does a client that is there and takes nothing for `PATIENCE_S`, while it holds what it was
    to get. The turn goes on either way.

    Starlette's own streaming response costs a third of a short answer's CPU time: two task groups
    of anyio, and a check of every chunk.
    """

    media_type = "text/event-stream"
    PATIENCE_S: ClassVar[float] = 30.0

    def __init__(
        self,
        frames: AsyncGenerator[bytes],
        headers: dict[str, str],
        status_code: int = 200,
        keepalive_s: float | None = None,
    ) -> None:
        """Stream `frames`, and close them at the end; FastAPI reads the status off this line.

        With `keepalive_s` a comment is sent where nothing else was for so long.
        """
        super().__init__(status_code=status_code, headers=_HEADERS | headers)
        del self.headers["content-length"]
        self._frames = frames
        self._keepalive_s = keepalive_s

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames."""
        start: Message = {"type": "http.response.start", "status": self.status_code}
        start["headers"] = self.raw_headers
        timeout = asyncio.timeout(None)
        try:
            async with timeout:
                watch = _Watch(timeout, self.PATIENCE_S)
                try:
                    await watch.send(send, start)
                    await self._stream(receive, send, watch)
                finally:
                    watch.close()
        except TimeoutError:
            if not timeout.expired():
                raise
            logger.warning("Reader dropped: it took nothing", seconds=self.PATIENCE_S)

    async def _stream(self, receive: Receive, send: Send, watch: "_Watch") -> None:
        is_left = False
        try:
            async with asyncio.TaskGroup() as tasks, aclosing(self._frames) as frames:
                beside = [tasks.create_task(_left(receive))]
                if self._keepalive_s is not None:
                    beside.append(tasks.create_task(watch.keep_alive(send, self._keepalive_s)))
                async for frame in frames:
                    watch.waits_since = watch.sent_at = watch.now()
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
                    watch.waits_since = None
                for task in beside:
                    task.cancel()
        except* _ClientLeft:
            is_left = True
        if not is_left:
            await watch.send(send, {"type": "http.response.body", "body": b"", "more_body": False})


class _Watch:
    """Lets a send that does not return run into its timeout.

    One timer for many sends, moved when it rings: what a send costs more is a look at the clock.
    """

    def __init__(self, timeout: asyncio.Timeout, patience_s: float) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time
        self.waits_since: float | None = None
        self.sent_at = loop.time()
        self._call_at = loop.call_at
        self._timeout = timeout
        self._patience_s = patience_s
        self._timer = loop.call_later(patience_s, self._ring)

    async def send(self, send: Send, message: Message) -> None:
        self.waits_since = self.now()
        await send(message)
        self.waits_since = None

    async def keep_alive(self, send: Send, every_s: float) -> None:
        """Send a comment where nothing else was sent, and nothing is being sent."""
        while True:
            await asyncio.sleep(self.sent_at + every_s - self.now())
            if self.waits_since is None and self.now() - self.sent_at >= every_s:
                self.sent_at = self.now()
                await self.send(
                    send, {"type": "http.response.body", "body": _KEEPALIVE, "more_body": True}
                )
            elif self.waits_since is not None:
                self.sent_at = self.now()

    def close(self) -> None:
        self._timer.cancel()

    def _ring(self) -> None:
        now = self.now()
        since = now if self.waits_since is None else self.waits_since
        if now - since >= self._patience_s:
            self._timeout.reschedule(now)
        else:
            self._timer = self._call_at(since + self._patience_s, self._ring)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    raise _ClientLeft
