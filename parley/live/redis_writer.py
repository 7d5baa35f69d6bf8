"""Redis writer: what turns say goes into Redis, all of it that is there in one round trip.

One task writes, so that no turn's cancellation ever lands in a command. A reader here gets an event
once Redis has it, or has failed to take it: what was shown can be read elsewhere. A round trip
begins a window after the one before is done; what is not the middle of a text does not wait for
that.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from parley.chat.events import Event, ReasoningEvent, TextEvent
from parley.live.event_bytes import encode_events
from parley.live.redis_commands import (
    EVENTS,
    LOG_TTL_S,
    NEWS,
    NEWS_KEPT,
    NEWS_KEY,
    Commands,
    in_one,
    log_key,
)
from parley.live.tape import Tape
from parley.observability.metrics import LOG_WRITES

_FROZEN_PAUSE_S = 0.05
_REPAIR_S = 0.5


@dataclass(slots=True)
class _Batch:
    """What goes out together: events by turn, news, and logs that nobody needs any more."""

    events: dict[str, list[Event]] = field(default_factory=dict)
    news: list[bytes] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.events or self.news or self.gone)


class RedisWriter:
    """Writes what is given to it, in order, for each turn."""

    def __init__(
        self, commands: Commands, window_s: float, is_fresh: Callable[[], bool], news_lost: bytes
    ) -> None:
        """Write while `is_fresh`; `news_lost` is what others are told when some were."""
        self._commands = commands
        self._window_s = window_s
        self._is_fresh = is_fresh
        self._news_lost = news_lost
        self._tapes: dict[str, Tape] = {}
        # Turns whose log is not known to be there, from its first event on.
        self._incomplete: set[str] = set()
        self._next = _Batch()
        self._arrived = asyncio.Event()
        self._urgent = asyncio.Event()
        self._written = asyncio.Event()
        self._is_writing = False
        self._has_lost_news = False
        self._failed = asyncio.Event()

    def begin(self, turn_id: str, tape: Tape, *, is_there: bool = False) -> None:
        """Write this turn from now on; `is_there` says that Redis has what is on the tape."""
        self._tapes[turn_id] = tape
        if not is_there:
            self._incomplete.add(turn_id)

    def has(self, turn_id: str) -> bool:
        """Whether the turn is written here."""
        return turn_id in self._tapes

    def write(self, turn_id: str, events: Sequence[Event]) -> None:
        """Write these soon, then put them on the tape."""
        self._next.events.setdefault(turn_id, []).extend(events)
        self._wake(urgent=not all(map(_continues, events)))

    def tell(self, news: bytes) -> None:
        """Tell the other replicas."""
        self._next.news.append(news)
        self._wake(urgent=True)

    def end(self, turn_id: str) -> None:
        """Write this turn no more, also not what waits to be."""
        self._next.events.pop(turn_id, None)
        self._tapes.pop(turn_id, None)
        self._incomplete.discard(turn_id)

    def remove(self, turn_id: str) -> None:
        """Take a log away that nobody needs any more."""
        if tape := self._tapes.get(turn_id):
            tape.add(self._next.events.get(turn_id, ()))
        self.end(turn_id)
        self._next.gone.append(turn_id)
        self._wake(urgent=False)

    async def written(self) -> None:
        """Wait until what was given so far is written, or cannot be."""
        self._wake(urgent=True)
        while self._next or self._is_writing:
            self._written.clear()
            await self._written.wait()

    async def failed(self) -> None:
        """Wait until Redis did not take events, or has lost some that it took."""
        await self._failed.wait()
        self._failed.clear()

    async def write_forever(self) -> None:
        """Write, round trip by round trip."""
        while True:
            await self._something()
            await self._until_fresh()
            self._arrived.clear()
            self._urgent.clear()
            batch, self._next, self._is_writing = self._next, _Batch(), True
            try:
                await self._write(batch)
            finally:
                self._is_writing = False
                self._written.set()
            # After the round trip: so there are fewer than windows, what is urgent and all.
            await _within(self._window_s, self._urgent)

    def _wake(self, *, urgent: bool) -> None:
        self._arrived.set()
        if urgent:
            self._urgent.set()

    async def _something(self) -> None:
        """Wait for something to write; where a log is incomplete, try again after a while."""
        if self._incomplete:
            await _within(_REPAIR_S, self._arrived)
        else:
            await self._arrived.wait()

    async def _until_fresh(self) -> None:
        """Let nothing out of a process that was frozen: its turns may be another's now."""
        while not self._is_fresh():  # noqa: ASYNC110 - a thread's clock says it
            await asyncio.sleep(_FROZEN_PAUSE_S)

    async def _write(self, batch: _Batch) -> None:
        parts = {t: events for t, events in batch.events.items() if t not in self._incomplete}
        tapes = {t: self._tapes[t] for t in self._incomplete}
        whole = {t: tape for t, tape in tapes.items() if tape.events or t in batch.events}
        if self._has_lost_news:
            batch.news.append(self._news_lost)
        if not (whole or parts or batch.news or batch.gone):
            return
        replies = await self._sent(whole, parts, batch)
        LOG_WRITES.labels("failed" if replies is None else "written").inc()
        if replies is None:
            self._has_lost_news = self._has_lost_news or bool(batch.news)
            lost = set(self._tapes)
        else:
            self._has_lost_news = False
            self._incomplete -= whole.keys()
            gone = {t for t, reply in zip(parts, replies, strict=False) if reply is None}
            lost = gone & self._tapes.keys()
        if lost:
            self._incomplete |= lost
            self._failed.set()
        for turn_id, events in batch.events.items():
            if tape := self._tapes.get(turn_id):
                tape.add(events)

    async def _sent(
        self, whole: dict[str, Tape], parts: dict[str, list[Event]], batch: _Batch
    ) -> list[object] | None:
        """Send all of it; gives a reply for each of `parts`, and more; None where it failed.

        While Redis is away nothing is made ready for it: whole logs may be long.
        """
        return await self._commands.tried(
            "log", lambda redis: in_one(redis, *_commands(whole, parts, batch))
        )


def _commands(
    whole: dict[str, Tape], parts: dict[str, list[Event]], batch: _Batch
) -> Iterator[tuple[Any, ...]]:
    for turn_id, events in parts.items():
        # Nothing is made anew that went missing: it would lack its beginning.
        yield ("XADD", log_key(turn_id), "NOMKSTREAM", "*", EVENTS, encode_events(events))
    for turn_id, tape in whole.items():
        events = [*tape.events, *batch.events.get(turn_id, ())]
        yield ("XADD", log_key(turn_id), "*", EVENTS, encode_events(events))
        yield ("EXPIRE", log_key(turn_id), LOG_TTL_S)
    for news in batch.news:
        yield ("XADD", NEWS_KEY, "MAXLEN", "~", NEWS_KEPT, "*", NEWS, news)
    if batch.gone:
        yield ("UNLINK", *map(log_key, batch.gone))


def _continues(event: Event) -> bool:
    """Whether it is the middle of a text, for which nobody waits."""
    return isinstance(event, TextEvent | ReasoningEvent) and event.offset > 0


async def _within(pause_s: float, happened: asyncio.Event) -> None:
    """Wait for it, and no longer than that."""
    if pause_s <= 0 or happened.is_set():
        return
    timer = asyncio.get_running_loop().call_later(pause_s, happened.set)
    await happened.wait()
    timer.cancel()
