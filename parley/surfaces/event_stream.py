"""Event stream: frames as an HTTP response, for as long as the client stays and takes them.

Where nothing was sent for a while a stream of the conversations API sends a comment, so that no
proxy takes it for dead.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import ClassVar

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


class _Refused(Exception):
    """There is no stream; this is what there is."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


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
        try:
            async with timeout:
                past = scope.get(_PAST, send)
                await self._watched(receive, send, past, _Watch(timeout, self.PATIENCE_S))
        except TimeoutError:
            if not timeout.expired():
                raise
            logger.warning("Reader dropped: it took nothing", seconds=self.PATIENCE_S)
        except _Refused as refused:
            await refused.response(scope, receive, send)

    async def _watched(self, receive: Receive, send: Send, past: Send, watch: "_Watch") -> None:
        try:
            if self._refuse is None:
                await watch.send(send, self._start())
            await self._stream(receive, send, past, watch)
        finally:
            watch.close()

    def _start(self, first: bytes = b"") -> Message:
        """Make the start of the response; `first` is the frame that it begins with, if it waited."""
        start: Message = {"type": "http.response.start", "status": self.status_code}
        start["headers"] = self.raw_headers
        return start

    async def _stream(self, receive: Receive, send: Send, past: Send, watch: "_Watch") -> None:
        is_left, error = False, None
        try:
            async with asyncio.TaskGroup() as tasks, aclosing(self._frames) as frames:
                beside = [tasks.create_task(_left(receive))]
                if self._keepalive_s is not None:
                    beside.append(tasks.create_task(watch.keep_alive(past, self._keepalive_s)))
                # A task of its own: woken for each event, it resumes what is below it, and not the
                # thirty frames of middleware and routing above.
                await tasks.create_task(self._send_all(frames, send, past, watch))
                for task in beside:
                    task.cancel()
        except* _ClientLeft:
            is_left = True
        except* ParleyError as group:
            error = group.exceptions[0]
        if isinstance(error, ParleyError) and not is_left:
            raise self._refusal(error)
        if not is_left:
            await watch.send(past, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(
        self, frames: AsyncGenerator[bytes], send: Send, past: Send, watch: "_Watch"
    ) -> None:
        waits = self._refuse is not None
        async for frame in frames:
            watch.waits_since = watch.sent_at = watch.now()
            if waits:
                await send(self._start(frame))
                waits = False
            await past({"type": "http.response.body", "body": frame, "more_body": True})
            watch.waits_since = None

    def _refusal(self, error: ParleyError) -> Exception:
        return _Refused(self._refuse(error)) if self._refuse else error


class WholeAnswer(EventStream):
    """One JSON document that is long in coming: its client may leave meanwhile."""

    media_type = "application/json"

    @override
    def _start(self, first: bytes = b"") -> Message:
        self.headers["content-length"] = str(len(first))
        return super()._start(first)


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
