"""The `TurnLog` port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from uuid import uuid4

import pytest

from parley.chat.deltas import FinishReason
from parley.chat.events import Done, Event, Snapshot, TextEvent, TurnStart, first_seq
from parley.chat.fold import fold
from parley.chat.ports import TurnLog
from parley.live.memory_log import MemoryTurnLog
from tests.contract.live_support import live_at
from tests.patience import PATIENCE_S


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


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.needs_redis)])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[TurnLog]:
    if request.param == "memory":
        yield MemoryTurnLog()
        return
    async with live_at(request.getfixturevalue("redis_url")) as live:
        yield live.log


@pytest.fixture
def said() -> Said:
    return Said(str(uuid4()))


async def read(log: TurnLog, said: Said, after: int = 0, *, merge: bool = True) -> list[Event]:
    async with asyncio.timeout(PATIENCE_S):
        return [event async for event in log.follow(said.turn_id, after, merge=merge)]


async def test_holds_a_turn_that_is_begun(log: TurnLog, said: Said) -> None:
    assert not log.holds(said.turn_id)
    log.begin(said.turn_id)
    assert log.holds(said.turn_id)


async def test_replays_and_ends_after_done(log: TurnLog, said: Said) -> None:
    events = [*said.words(3), said.done(3)]
    log.append(said.turn_id, events)
    assert await read(log, said, merge=False) == events


async def test_goes_on_live(log: TurnLog, said: Said) -> None:
    log.begin(said.turn_id)
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


@pytest.mark.parametrize("beyond", [1, 2**40])
async def test_cursor_from_the_future_is_answered_by_a_snapshot(
    log: TurnLog, said: Said, beyond: int
) -> None:
    log.append(said.turn_id, said.words(3))
    await until_read(log, said, 3)
    cursor = said.text(2, "x", 2).seq + beyond
    async with aclosing(log.follow(said.turn_id, cursor)) as reader:
        assert await anext(reader) == Snapshot(said.turn_id, first_seq(1) + 2, "xxx", "")
        log.append(said.turn_id, [said.done(3)])
        assert [event async for event in reader] == [said.done(3)]
    assert await read(log, said, cursor + 9) == [
        Snapshot(said.turn_id, first_seq(1) + 3, "xxx", ""),
        said.done(3),
    ]


async def until_read(log: TurnLog, said: Said, count: int) -> None:
    """Wait until readers have this many events."""
    async with aclosing(log.follow(said.turn_id, 0, merge=False)) as reader:
        for _ in range(count):
            await anext(reader)


async def test_who_follows_a_turn_before_it_begins_gets_it(log: TurnLog, said: Said) -> None:
    reader = asyncio.ensure_future(followed_again(log, said))
    await asyncio.sleep(0)
    log.append(said.turn_id, [*said.words(2), said.done(2)])
    assert fold(await reader).text == "xx"


async def followed_again(log: TurnLog, said: Said) -> list[Event]:
    """Follow a turn as the engine does: again, where nothing was heard for a while."""
    seen: list[Event] = []
    async with asyncio.timeout(PATIENCE_S):
        while not (seen and isinstance(seen[-1], Done)):
            after = seen[-1].seq if seen else 0
            seen += [event async for event in log.follow(said.turn_id, after)]
    return seen


async def test_follower_of_a_turn_that_is_nowhere_is_let_go(log: TurnLog, said: Said) -> None:
    assert await read(log, said) == []
    assert not log.holds(said.turn_id)


async def test_turn_that_is_not_shared_is_read_here(log: TurnLog, said: Said) -> None:
    log.begin(said.turn_id, shared=False)
    log.append(said.turn_id, [*said.words(1), said.done(1)])
    assert fold(await read(log, said)).text == "x"


async def test_who_claims_a_log_gets_what_is_there_and_shuts_others_out(
    log: TurnLog, said: Said
) -> None:
    log.append(said.turn_id, said.words(2))
    await until_read(log, said, 2)
    seen = (await log.claim(said.turn_id, 2)).events
    assert fold(seen).text == "xx"
    log.append(said.turn_id, [said.text(2, "stale", 2)])
    mine = TextEvent(said.turn_id, first_seq(2), "y", 2)
    done = Done(said.turn_id, first_seq(2) + 1, FinishReason.STOP, None, 0)
    log.append(said.turn_id, [mine, done])
    assert fold(await read(log, said)).text == "xxy"


async def test_a_log_that_is_left_lets_its_readers_go(log: TurnLog, said: Said) -> None:
    log.append(said.turn_id, said.words(2))
    reader = asyncio.ensure_future(read(log, said))
    await asyncio.sleep(0)
    await until_read(log, said, 2)
    await log.leave(said.turn_id)
    assert fold(await reader).text == "xx"
    assert not log.holds(said.turn_id)


async def test_what_is_withdrawn_still_ends_for_its_readers(log: TurnLog, said: Said) -> None:
    log.append(said.turn_id, said.words(1))
    await until_read(log, said, 1)
    log.withdraw(said.turn_id)
    log.append(said.turn_id, [said.done(1)])
    assert fold(await read(log, said)).text == "x"
    log.forget(said.turn_id)


async def test_a_thousand_readers_get_the_same(log: TurnLog, said: Said) -> None:
    log.begin(said.turn_id)
    readers = [asyncio.ensure_future(read(log, said)) for _ in range(1000)]
    for event in [*said.words(20), said.done(20)]:
        log.append(said.turn_id, [event])
        await asyncio.sleep(0)
    assert {fold(events).text for events in await asyncio.gather(*readers)} == {"x" * 20}
