"""The turn log of one process, in memory: the default implementation of the `TurnLog` port."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from parley.chat.events import Done, Event, ReasoningEvent, TextEvent


@dataclass(slots=True)
class _Log:
    """Events of one turn, and the readers that wait for more of them."""

    events: list[Event] = field(default_factory=list)
    waiting: list[asyncio.Future[None]] = field(default_factory=list)


class MemoryTurnLog:
    """Events of the turns that this process runs; see the port for the promises.

    Forgetting a log only takes it off the list: readers that follow it keep it until they end.
    """

    def __init__(self) -> None:
        """Make an empty log."""
        self._logs: dict[str, _Log] = {}

    def append(self, turn_id: str, events: Sequence[Event]) -> None:  # noqa: D102 - see the port
        log = self._logs.get(turn_id)
        if log is None:
            log = self._logs[turn_id] = _Log()
        log.events.extend(events)
        for reader in log.waiting:
            if not reader.done():  # it may have been cancelled
                reader.set_result(None)
        log.waiting.clear()

    def holds(self, turn_id: str) -> bool:  # noqa: D102
        return turn_id in self._logs

    def follow(  # noqa: D102
        self, turn_id: str, after: int, *, merge: bool = True
    ) -> AsyncGenerator[Event]:
        return _follow(self._logs[turn_id], after, merge=merge)

    def forget(self, turn_id: str) -> None:  # noqa: D102
        self._logs.pop(turn_id, None)


async def _follow(log: _Log, after: int, *, merge: bool) -> AsyncGenerator[Event]:
    at = 0
    while True:
        arrived = log.events[at:]
        at += len(arrived)
        pending = [event for event in arrived if event.seq > after] if after else arrived
        for event in merged(pending) if merge and len(pending) > 1 else pending:
            yield event
        if arrived and isinstance(arrived[-1], Done):
            return
        if len(log.events) == at:
            more = asyncio.get_running_loop().create_future()
            log.waiting.append(more)
            await more


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
