"""The event source: the body of one answer, read under deadlines."""

import asyncio
from contextlib import suppress

import aiohttp

from parley.chat.errors import ProtocolViolation
from providers.config import Connection
from providers.faults import fault, network_fault, timed_out
from providers.frames import Frame, FrameReader, OversizedEvent, WholeBody

_DRAIN_S = 0.05
_DRAIN_BYTES = 64 * 2**10


def _says(frames: list[Frame]) -> bool:
    """Whether an event is there that is more than a keepalive, which may have data that is empty."""
    if frames and frames[0].data:  # nearly always
        return True
    return any(frame.data or frame.event == "error" for frame in frames)


class EventSource:
    """Gives the events of one answer in batches.

    `whole` says that the body is one JSON document instead of a stream, `at_end` that the body has
    ended. Whoever reads sets `complete` when the answer is, and nothing more is wanted.
    """

    def __init__(
        self, connection: Connection, response: aiohttp.ClientResponse, begun_at: float
    ) -> None:
        self.whole = response.content_type == "application/json"
        self.at_end = False
        self.complete = False
        self._connection = connection
        self._content = response.content
        self._reader = (WholeBody if self.whole else FrameReader)(connection.max_event_bytes)
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._waits_until: float | None = None
        self._first_at: float | None = begun_at + connection.deadlines.first_event_s
        self._total_at = begun_at + connection.deadlines.total_s

    async def batch(self) -> list[Frame]:
        """Wait for the next events, at least one; none are left when the list is empty.

        Raises `TimedOut`, `BrokenStream` and `ProtocolViolation`.
        """
        # Counted from here, not from the last event: a consumer that takes its time is not idleness.
        deadline, phase = self._deadline()
        try:
            while not _says(frames := self._frames(await self._read(deadline))) and not self.at_end:
                # Without this check a flood of keepalives, always there to read, would never time out.
                if self._time() >= deadline:
                    raise timed_out(self._connection, phase)
        except OversizedEvent as exc:
            said = f"{exc}, which {self._connection.event_setting} allows"
            raise fault(ProtocolViolation, self._connection, said) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise network_fault(self._connection, exc, phase) from exc
        self._first_at = None
        return frames

    def end_within(self, seconds: float) -> None:
        """Bring the total deadline forward."""
        self._total_at = min(self._total_at, self._time() + seconds)

    def close(self) -> None:
        """Forget the timer; call it when nothing is read any more."""
        if self._timer:
            self._timer.cancel()

    async def drain(self) -> None:
        """Read a little of what follows the answer, so that the connection can be used again."""
        left, deadline = _DRAIN_BYTES, self._time() + _DRAIN_S
        with suppress(aiohttp.ClientError, OSError):
            while left > 0 and not self._content.at_eof():
                left -= len(await self._read(deadline))

    def _frames(self, data: bytes) -> list[Frame]:
        if data:
            return self._reader.feed(data)
        self.at_end = self._content.at_eof()
        return self._reader.close() if self.at_end else []

    async def _read(self, deadline: float) -> bytes:
        """Give what has arrived, or wait for it; nothing at the end."""
        content = self._content
        # Not the public read_nowait, which raises a cut before it gives what came ahead of it: a
        # whole answer, with servers that close without the last HTTP chunk.
        if content.exception() is not None:
            data = content._read_nowait(-1)
            if data or content.at_eof():
                return data
        self._waits_until = deadline
        if self._timer is None or self._timer_at > deadline:
            self._set_timer(deadline)
        try:
            return await content.readany()
        finally:
            self._waits_until = None

    def _set_timer(self, deadline: float) -> None:
        """See to it that the wait ends at its deadline.

        One timer for many waits, moved when it rings: `asyncio.timeout` for each of them was a
        fifth of a paced token's CPU time.
        """
        if self._timer:
            self._timer.cancel()
        # Kept beside the handle: uvloop's, for a time that is past, does not know it.
        self._timer, self._timer_at = self._loop.call_at(deadline, self._ring), deadline

    def _ring(self) -> None:
        self._timer = None
        if self._waits_until is None:
            return  # nobody waits now; the next wait sets a timer
        if self._loop.time() < self._waits_until:
            self._set_timer(self._waits_until)
        else:
            self._content.set_exception(TimeoutError())

    def _deadline(self) -> tuple[float, str]:
        if self._first_at is not None:
            at, phase = self._first_at, "first_event"
        else:
            at, phase = self._time() + self._connection.deadlines.idle_s, "idle"
        return (self._total_at, "total") if self._total_at < at else (at, phase)
