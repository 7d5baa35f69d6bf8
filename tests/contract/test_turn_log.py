"""The `TurnLog` port."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from uuid import uuid4

import pytest

from parley.chat.deltas import FinishReason
from parley.chat.events import Done, Event, TextEvent, TurnStart, first_seq
from parley.chat.fold import fold
from parley.chat.ports import TurnLog
from parley.live.memory_log import MemoryTurnLog

LOGS: dict[str, Callable[[], TurnLog]] = {"memory": MemoryTurnLog}


@dataclass(frozen=True)
class Said:
    """Events of one turn, made in order."""

    turn_id: str

    def text(self, number: int, text: str, offset: int) -> TextEvent:
        return TextEvent(self.turn_id, first_seq(1) + number, text, offset)

    def done(self, number: int) -> Done:
        return Done(self.turn_id, first_seq(1) + number, FinishReason.STOP, None, 0)

    def words(self, count: int) -> list[Event]:
        return [self.text(number, "x", number) for number in range(count)]


@pytest.fixture(params=LOGS)
def log(request: pytest.FixtureRequest) -> TurnLog:
    return LOGS[request.param]()


@pytest.fixture
def said() -> Said:
    return Said(str(uuid4()))


async def read(log: TurnLog, said: Said, after: int = 0, *, merge: bool = True) -> list[Event]:
    async with asyncio.timeout(10):
        return [event async for event in log.follow(said.turn_id, after, merge=merge)]


async def test_holds_a_turn_from_its_first_append(log: TurnLog, said: Said) -> None:
    assert not log.holds(said.turn_id)
    log.append(said.turn_id, ())
    assert log.holds(said.turn_id)


async def test_replays_and_ends_after_done(log: TurnLog, said: Said) -> None:
    events = [*said.words(3), said.done(3)]
    log.append(said.turn_id, events)
    assert await read(log, said, merge=False) == events


async def test_goes_on_live(log: TurnLog, said: Said) -> None:
    log.append(said.turn_id, ())
    reader = asyncio.ensure_future(read(log, said))
    for event in [*said.words(3), said.done(3)]:
        log.append(said.turn_id, [event])
        await asyncio.sleep(0)
    assert fold(await reader).text == "xxx"


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("seen", range(5))
async def test_gives_what_is_above_the_cursor(
    log: TurnLog, said: Said, seen: int, *, merge: bool
) -> None:
    events = [*said.words(3), said.done(3)]
    log.append(said.turn_id, events)
    after = events[seen - 1].seq if seen else 0
    rest = await read(log, said, after, merge=merge)
    assert all(event.seq > after for event in rest)
    assert fold(rest, fold(events[:seen])) == fold(events)


async def test_merges_for_a_reader_that_is_behind(log: TurnLog, said: Said) -> None:
    log.append(said.turn_id, [*said.words(1000), said.done(1000)])
    assert len(await read(log, said)) == 2


async def test_does_not_merge_across_other_events(log: TurnLog, said: Said) -> None:
    start = TurnStart(said.turn_id, first_seq(1) + 1, "thread", "message", "model")
    events: list[Event] = [said.text(0, "a", 0), start, said.text(2, "b", 1), said.done(3)]
    log.append(said.turn_id, events)
    assert await read(log, said) == events


async def test_reader_that_waits_is_woken_by_what_it_waits_for(log: TurnLog, said: Said) -> None:
    log.append(said.turn_id, said.words(1))
    async with aclosing(log.follow(said.turn_id, 0)) as events:
        assert await anext(events) == said.text(0, "x", 0)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        log.append(said.turn_id, ())
        await asyncio.sleep(0)
        assert not waiting.done()
        log.append(said.turn_id, [said.done(1)])
        assert await waiting == said.done(1)


async def test_forgotten_log_is_read_to_its_end(log: TurnLog, said: Said) -> None:
    events = [*said.words(1), said.done(1)]
    log.append(said.turn_id, events)
    async with aclosing(log.follow(said.turn_id, 0)) as reader:
        first = await anext(reader)
        log.forget(said.turn_id)
        assert not log.holds(said.turn_id)
        assert [first, *[event async for event in reader]] == events


async def test_log_is_bound_when_it_is_followed(log: TurnLog, said: Said) -> None:
    """It may be forgotten between the call and the first event."""
    log.append(said.turn_id, [said.done(0)])
    events = log.follow(said.turn_id, 0)
    log.forget(said.turn_id)
    assert [event async for event in events] == [said.done(0)]


async def test_nothing_below_the_cursor_comes_whatever_the_order(log: TurnLog, said: Said) -> None:
    log.append(said.turn_id, [said.text(5, "b", 1), said.text(1, "a", 0), said.done(6)])
    seqs = [event.seq for event in await read(log, said, first_seq(1) + 1)]
    assert seqs == [first_seq(1) + 5, first_seq(1) + 6]
    log.append(said.turn_id, ())
    assert await read(log, said, first_seq(1) + 6) == []


async def test_forgetting_twice_is_no_error(log: TurnLog, said: Said) -> None:
    log.forget(said.turn_id)
    log.append(said.turn_id, [said.done(0)])
    log.forget(said.turn_id)
    log.forget(said.turn_id)
