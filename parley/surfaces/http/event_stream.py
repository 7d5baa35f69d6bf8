"""Event stream: frames as an HTTP response, for as long as the client stays and takes them.

Where nothing was sent for a while a stream of the conversations API sends a comment, so that no
proxy takes it for dead.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import ClassVar, cast

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from parley.chat.errors import ParleyError
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
_KEEPALIVE = b": keepalive\n\n"


_PAST = "parley.send"


class FramesPast:
    """ASGI middleware, the outermost: the frames of a stream go past the others.

    Those look at how a response begins; passing on each frame of it costs as much as making it.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Serve `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        scope[_PAST] = send
        await self._app(scope, receive, send)


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
        refuse: Callable[[ParleyError], Response] | None = None,
    ) -> None:
        """Stream `frames`, and close them at the end; FastAPI reads the status off this line.

        With `keepalive_s` a comment is sent where nothing else was for so long. With `refuse` the
        response begins with its first frame, and a `ParleyError` before that makes another one.
        """
        super().__init__(status_code=status_code, headers=_HEADERS | headers)
        del self.headers["content-length"]
        self._frames = frames
        self._keepalive_s = keepalive_s
        self._refuse = refuse

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames."""
        timeout = asyncio.timeout(None)
        client = _Client(receive, send, scope.get(_PAST, send), timeout, self.PATIENCE_S)
        try:
            async with timeout:
                await self._stream(client)
        except TimeoutError:
            if not timeout.expired():
                raise
            logger.warning("Reader dropped: it took nothing", seconds=self.PATIENCE_S)
        except ParleyError as error:
            if self._refuse is None:
                raise
            await self._refuse(error)(scope, receive, send)
        finally:
            client.close()

    def _start(self, first: bytes = b"") -> Message:
        """Make the start of the response; `first` is the frame that it begins with, if it waited."""
        start: Message = {"type": "http.response.start", "status": self.status_code}
        start["headers"] = self.raw_headers
        return start

    async def _stream(self, client: "_Client") -> None:
        if self._refuse is None:
            await client.start(self._start())
        is_left, refusal = False, None
        try:
            async with asyncio.TaskGroup() as tasks, aclosing(self._frames) as frames:
                beside = [tasks.create_task(client.left())]
                if self._keepalive_s is not None:
                    beside.append(tasks.create_task(client.keep_alive(self._keepalive_s)))
                # A task of its own: woken for each event, it resumes what is below it, and not the
                # thirty frames of middleware and routing above.
                await tasks.create_task(self._send_all(frames, client))
                for task in beside:
                    task.cancel()
        except* _ClientLeft:
            is_left = True
        except* ParleyError as group:
            refusal = cast(ParleyError, group.exceptions[0])
        if is_left:
            return
        if refusal:
            raise refusal
        await client.end()

    async def _send_all(self, frames: AsyncGenerator[bytes], client: "_Client") -> None:
        waits, send = self._refuse is not None, client.frame
        async for frame in frames:
            if waits:
                await client.start(self._start(frame))
                waits = False
            await send(frame)


class WholeAnswer(EventStream):
    """One JSON document that is long in coming: its client may leave meanwhile."""

    media_type = "application/json"

    @override
    def _start(self, first: bytes = b"") -> Message:
        self.headers["content-length"] = str(len(first))
        return super()._start(first)


class _Client:
    """Who takes the response: a send to it that does not return runs into its timeout.

    One timer for many sends, moved when it rings: what a send costs more is a look at the clock.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        past: Send,
        timeout: asyncio.Timeout,
        patience_s: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._receive = receive
        self._send = send
        self._past = past
        self._now = loop.time
        self._call_at = loop.call_at
        self._timeout = timeout
        self._patience_s = patience_s
        self._waits_since: float | None = None
        self._sent_at = loop.time()
        self._timer = loop.call_later(patience_s, self._ring)

    async def start(self, start: Message) -> None:
        """Begin the response, by way of the middleware."""
        await self._hand(self._send, start)

    async def frame(self, frame: bytes) -> None:
        """Send a frame, past the middleware."""
        self._waits_since = self._sent_at = self._now()
        await self._past({"type": "http.response.body", "body": frame, "more_body": True})
        self._waits_since = None

    async def end(self) -> None:
        """End the response."""
        await self._hand(
            self._past, {"type": "http.response.body", "body": b"", "more_body": False}
        )

    async def _hand(self, send: Send, message: Message) -> None:
        self._waits_since = self._now()
        await send(message)
        self._waits_since = None

    async def left(self) -> None:
        """Wait until the client leaves; raises that it did."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise _ClientLeft

    async def keep_alive(self, every_s: float) -> None:
        """Send a comment where nothing else was sent, and nothing is being sent."""
        while True:
            await asyncio.sleep(self._sent_at + every_s - self._now())
            if self._waits_since is not None:
                self._sent_at = self._now()
            elif self._now() - self._sent_at >= every_s:
                await self.frame(_KEEPALIVE)

    def close(self) -> None:
        """Forget the timer."""
        self._timer.cancel()

    def _ring(self) -> None:
        now = self._now()
        since = now if self._waits_since is None else self._waits_since
        if now - since >= self._patience_s:
            self._timeout.reschedule(now)
        else:
            self._timer = self._call_at(since + self._patience_s, self._ring)
