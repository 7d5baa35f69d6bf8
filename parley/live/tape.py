"""Tape: the events of one turn in memory, for any number of readers."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import replace

from parley.chat.events import Done, Event, ReasoningEvent, Snapshot, TextEvent, first_seq
from parley.chat.fold import fold


class Tape:
    """Takes events in order; what is not newer than the newest, or of a lower fence, it drops."""

    def __init__(self) -> None:
        """Nothing is on it yet."""
        self.events: list[Event] = []
        self.readers = 0
        self._top = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._round = 0
        self._is_closed = False

    def add(self, events: Iterable[Event]) -> bool:
        """Add what is new of these events, and wake who waits for it; says whether any was."""
        before = len(self.events)
        for event in events:
            if event.seq > self._top:
                self._top = event.seq
                self.events.append(event)
        if len(self.events) == before:
            return False
        self._wake()
        return True

    def claim(self, fence: int) -> None:
        """Take nothing any more of an owner with a lower fence."""
        self._top = max(self._top, first_seq(fence) - 1)

    def release(self) -> None:
        """Let who waits for more go: it may follow again, or look elsewhere."""
        self._round += 1
        self._wake()

    def close(self) -> None:
        """Let everybody go, also who comes only now: nothing more is put on it."""
        self._is_closed = True
        self.release()

    async def follow(
        self, after: int, *, merge: bool, is_all: bool = True
    ) -> AsyncGenerator[Event]:
        """Do what the port promises of `follow`; ends after `Done`, or when it is released.

        With `is_all` a cursor beyond the last event is one of nowhere. Without, the tape may be
        behind its writer.
        """
        at = 0
        loop = asyncio.get_running_loop()
        self.readers += 1
        try:
            while True:
                arrived = self.events[at:]
                if after and arrived and not at:
                    is_all = is_all or isinstance(arrived[-1], Done)
                    pending = _above(arrived, after, is_all=is_all)
                else:
                    pending = [e for e in arrived if e.seq > after] if not is_all else arrived
                at += len(arrived)
                for event in merged(pending) if merge and len(pending) > 1 else pending:
                    yield event
                if arrived and isinstance(arrived[-1], Done):
                    return
                if len(self.events) > at:
                    continue
                before = None if self._is_closed else self._round
                if before is not None:
                    await self._more(loop)
                if self._round != before and len(self.events) == at:
                    return
        finally:
            self.readers -= 1

    def _more(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Give what is done when there is more, or when readers are let go."""
        more = loop.create_future()
        self._waiting.append(more)
        return more

    def _wake(self) -> None:
        for reader in self._waiting:
            if not reader.done():  # it may have been cancelled
                reader.set_result(None)
        self._waiting.clear()


def _above(events: Sequence[Event], after: int, *, is_all: bool) -> Sequence[Event]:
    """Give what a reader with this cursor does not have; a cursor of nowhere gets all of it."""
    last = events[-1]
    if after > last.seq and is_all:
        folded = fold(events)
        snapshot = Snapshot(last.turn_id, last.seq, folded.text, folded.reasoning)
        return [snapshot, last] if isinstance(last, Done) else [snapshot]
    return [event for event in events if event.seq > after]


def merged(events: Sequence[Event]) -> Iterator[Event]:
    """Make one event of neighbouring pieces of text that continue each other."""
    held: TextEvent | ReasoningEvent | None = None
    parts: list[str] = []
    end = 0
    for event in events:
        if held and type(event) is type(held) and event.offset == end and event.seq > held.seq:
            parts.append(event.text)
            end += len(event.text)
            held = replace(held, seq=event.seq)
            continue
        if held:
            yield replace(held, text="".join(parts))
            held = None
        if isinstance(event, TextEvent | ReasoningEvent):
            held, parts, end = event, [event.text], event.offset + len(event.text)
        else:
            yield event
    if held:
        yield replace(held, text="".join(parts))
