"""Two replicas on one store: what one leaves, the other one carries on with."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from parley.chat.deltas import FinishReason
from parley.chat.errors import HandedOver
from parley.chat.events import (
    Attempt,
    Done,
    ErrorEvent,
    Snapshot,
    TextEvent,
    TurnStart,
    first_seq,
)
from parley.chat.fold import fold
from parley.chat.inherited import inherited
from parley.chat.ports import Claimed
from parley.chat.turns import Answer, Turn, TurnState
from tests.patience import PATIENCE_S
from tests.unit.chat.support import ANNA, CONFIG, TroubledStore, WatchedLog, bench
from tests.unit.chat.test_recorder import TURN

SHARED = replace(CONFIG, carries_on=True)
OTHER = replace(SHARED, replica_id="other")


async def test_a_dead_replicas_turn_begins_again_visibly() -> None:
    store = TroubledStore()
    async with bench(SHARED, store) as one, bench(OTHER, store) as two:
        turn = await one.submit()
        (await one.provider.call()).say("Good ")
        await store.until(lambda: any(answer.text == "Good " for answer in store.saved))
        store.living.discard("this")
        (await two.provider.call()).finish("Good day")
        events = await two.events(turn)
        assert [type(e) for e in events[:3]] == [TurnStart, Snapshot, Attempt]
        assert isinstance(events[1], Snapshot)
        assert events[1].text == "Good "
        assert isinstance(events[2], Attempt)
        assert (events[2].keep, events[2].reason) == (False, "another server carries on")
        assert all(event.seq >= first_seq(2) for event in events)
        assert fold(events).text == "Good day"
        row = await two.row(turn)
        assert (row.state, row.fence, row.answer.text) == (TurnState.COMPLETED, 2, "Good day")


async def test_its_owner_if_it_lives_after_all_writes_nothing_more() -> None:
    store = TroubledStore()
    async with bench(SHARED, store) as one, bench(OTHER, store) as two:
        turn = await one.submit()
        call = await one.provider.call()
        call.say("Good ")
        reader = asyncio.ensure_future(one.events(turn))
        await store.until(lambda: any(answer.text == "Good " for answer in store.saved))
        store.living.discard("this")
        other = await two.provider.call()
        async with asyncio.timeout(PATIENCE_S):
            await call.closed.wait()
        assert not any(isinstance(event, Done) for event in one.log.events)
        other.finish("Good day")
        await two.folded(turn)
        folded = fold(await reader)
        assert (folded.text, folded.finish_reason) == ("Good day", FinishReason.STOP), (
            "its reader reads on, from the rows"
        )
        assert (await one.row(turn)).answer.text == "Good day"


async def test_a_model_that_can_go_on_does() -> None:
    store = TroubledStore()
    async with bench(SHARED, store) as one, bench(OTHER, store, prefill=True) as two:
        turn = await one.submit()
        (await one.provider.call()).say("Good ")
        await store.until(lambda: any(answer.text == "Good " for answer in store.saved))
        store.living.discard("this")
        call = await two.provider.call()
        assert call.prompt == ["Hello?", "Good "]
        call.finish("day")
        events = await two.events(turn)
        assert [e.keep for e in events if isinstance(e, Attempt)] == [True]
        assert [(e.text, e.offset) for e in events if isinstance(e, TextEvent)] == [("day", 5)]
        assert fold(events).text == "Good day"


async def test_a_turn_that_was_to_be_stopped_is_not_carried_on() -> None:
    store = TroubledStore()
    async with bench(SHARED, store) as one:
        turn = await one.submit()
        (await one.provider.call()).say("Good ")
        await store.until(lambda: any(answer.text == "Good " for answer in store.saved))
        await store.request_stop(ANNA.id, turn.id)
        store.living.discard("this")
        async with bench(OTHER, store) as two:
            folded = await two.folded(turn)
            row = await two.row(turn)
            assert two.provider.calls == []
    assert (folded.text, folded.finish_reason) == ("Good ", FinishReason.STOPPED)
    assert (row.state, row.answer.text) == (TurnState.STOPPED, "Good ")


@pytest.mark.parametrize(("said", "kept"), [("", "Good "), ("Fine", "Fine")])
async def test_a_stop_while_it_begins_again_keeps_what_there_is(said: str, kept: str) -> None:
    store = TroubledStore()
    async with bench(SHARED, store) as one, bench(OTHER, store) as two:
        turn = await one.submit()
        (await one.provider.call()).say("Good ")
        await store.until(lambda: any(answer.text == "Good " for answer in store.saved))
        store.living.discard("this")
        call = await two.provider.call()
        if said:
            call.say(said)
            await two.log.until(TextEvent)
        await two.engine.stop(ANNA.id, turn.id)
        folded = await two.folded(turn)
        row = await two.row(turn)
    assert (folded.text, folded.finish_reason) == (kept, FinishReason.STOPPED)
    assert row.answer.text == kept


async def test_the_queue_is_inherited_with_the_turn() -> None:
    store = TroubledStore()
    async with bench(SHARED, store) as one, bench(OTHER, store) as two:
        first, second = await one.submit("one"), await one.submit("two")
        waiting = asyncio.ensure_future(one.folded(second))
        await one.provider.call()
        store.living.discard("this")
        (await two.provider.call()).finish("1")
        (await two.provider.call(1)).finish("2")
        assert await two.texts([first, second]) == ["1", "2"]
        assert (await waiting).text == "2", "also for who waits where it was asked"
        assert two.provider.calls[1].prompt == ["one", "1", "two"]


async def test_of_a_turn_that_is_given_up_the_log_is_kept() -> None:
    """The last checkpoint is not all that was shown."""
    store, log = TroubledStore(), WatchedLog()
    store.down = {"checkpoint"}
    async with bench(SHARED, store, log=log) as one:
        turn = await one.submit()
        (await one.provider.call()).say("Good ")
        await log.until(TextEvent)
        store.living.discard("this")
        async with bench(replace(OTHER, most_owners=1), store, log=log) as two:
            await store.until(lambda: bool(store.saved))
            row = await two.row(turn)
    assert (row.state, row.answer.text) == (TurnState.INTERRUPTED, "Good ")


async def test_who_cannot_read_the_log_leaves_it_to_others_first() -> None:
    store = TroubledStore()
    config = replace(OTHER, deaf_patience_s=3600)
    async with bench(SHARED, store) as one, bench(config, store) as two:
        await one.submit()
        await one.provider.call()
        two.log.is_shared = False
        store.living.discard("this")
        looks = store.looks
        await store.until(lambda: store.looks > looks + 20)
        async with bench(replace(SHARED, replica_id="third"), store) as three:
            (await three.provider.call()).finish("Good day")
        assert two.provider.calls == []


async def test_who_cannot_read_the_log_takes_what_nobody_takes() -> None:
    store = TroubledStore()
    config = replace(OTHER, deaf_patience_s=0.01)
    async with bench(SHARED, store) as one, bench(config, store) as two:
        turn = await one.submit()
        await one.provider.call()
        two.log.is_shared = False
        store.living.discard("this")
        (await two.provider.call()).finish("Good day")
        assert (await two.folded(turn)).text == "Good day"


def taken_over(text: str, seq: int) -> Turn:
    """A turn as its last checkpoint has it."""
    return replace(TURN, fence=2, answer=Answer(text=text, seq=first_seq(1) + seq))


def test_a_log_that_its_owner_was_cut_off_from_is_behind_the_checkpoint() -> None:
    start = TurnStart(TURN.id, first_seq(1), TURN.thread_id, TURN.answer_step_id, TURN.model)
    log = (start, TextEvent(TURN.id, first_seq(1) + 1, "Good ", 0))
    behind = inherited(taken_over("Good day", 3), Claimed(log, is_whole=True))
    assert (behind.text, behind.is_whole) == ("Good day", False)
    ahead = inherited(taken_over("Go", 0), Claimed(log, is_whole=True))
    assert (ahead.text, ahead.is_whole) == ("Good ", True)
    read_here = inherited(taken_over("Go", 0), Claimed(log))
    assert (read_here.text, read_here.is_whole) == ("Good ", False)


@pytest.mark.parametrize("owners", [1, 9])
async def test_a_turn_that_ends_every_owner_is_given_up(owners: int) -> None:
    store = TroubledStore()
    config = replace(OTHER, most_owners=owners)
    async with bench(SHARED, store) as one:
        first, second = await one.submit("one"), await one.submit("two")
        await one.provider.call()
        store.living.discard("this")
        async with bench(config, store) as two:
            if owners > 1:
                (await two.provider.call()).finish("1")
            (await two.provider.call(int(owners > 1))).finish("2")
            assert (await two.folded(second)).text == "2"
            given_up = (await two.row(first)).state is TurnState.INTERRUPTED
            assert given_up is (owners == 1)


async def test_without_sharing_the_rest_is_interrupted() -> None:
    store = TroubledStore()
    async with bench(store=store) as one:
        turns = [await one.submit("one"), await one.submit("two")]
        (await one.provider.call()).say("Good ")
        await store.until(lambda: any(answer.text == "Good " for answer in store.saved))
        store.living.discard("this")
        async with bench(replace(CONFIG, replica_id="next"), store) as two:
            rows = [await two.row(turn) for turn in turns]
            assert [row.state for row in rows] == [TurnState.INTERRUPTED] * 2
            assert rows[0].answer.text == "Good "
            (error,) = [e for e in await two.events(rows[0]) if isinstance(e, ErrorEvent)]
            assert error.code == "shutting_down"
            assert two.provider.calls == []


async def test_what_a_process_leaves_in_order_is_carried_on() -> None:
    store = TroubledStore()
    async with bench(OTHER, store) as two:
        turns = await left_in_order(store)
        (await two.provider.call()).finish("1")
        (await two.provider.call(1)).finish("2")
        assert await two.texts(turns) == ["1", "2"]


async def left_in_order(store: TroubledStore) -> list[Turn]:
    """Begin two turns in a process that ends in order, and give them as it left them."""
    async with bench(SHARED, store) as one:
        turns = [await one.submit("one"), await one.submit("two")]
        call = await one.provider.call()
        call.say("Good ")
        await one.first(turns[0], TextEvent)
        reader = asyncio.ensure_future(one.events(turns[0]))
        await asyncio.sleep(0)
        await one.engine.drain()
        with pytest.raises(HandedOver):
            await reader
        assert call.closed.is_set()
        row = await one.row(turns[0])
        assert (row.state, row.answer.text) == (TurnState.RUNNING, "Good ")
    return turns


async def test_what_is_handed_over_is_saved_once_the_database_is_back() -> None:
    store = TroubledStore()
    run = replace(SHARED.run, save_retry_s=3600)
    config = replace(SHARED, checkpoint_s=3600, checkpoint_soon_s=3600, run=run)
    async with bench(config, store) as one:
        store.living.add("other")
        turn = await one.submit()
        (await one.provider.call()).say("Good ")
        await one.first(turn, TextEvent)
        store.down.add("checkpoint")
        drained = asyncio.ensure_future(one.engine.drain())
        await store.until(lambda: store.entered.count("checkpoint") > 2)
        store.down.clear()
        await drained
        row = await one.row(turn)
    assert (row.state, row.answer.text) == (TurnState.RUNNING, "Good ")


async def test_an_answer_that_is_done_is_not_handed_over() -> None:
    store = TroubledStore()
    patient = replace(SHARED, grace_s=PATIENCE_S)
    async with bench(OTHER, store), bench(patient, store) as one:
        turn = await one.submit()
        call = await one.provider.call()
        drained = asyncio.ensure_future(one.engine.drain())
        await asyncio.sleep(0)
        call.finish("Good day")
        await drained
        assert (await one.row(turn)).state is TurnState.COMPLETED


async def test_a_turn_elsewhere_is_read_from_its_checkpoints() -> None:
    """Where no log is shared, or it is away."""
    store = TroubledStore()
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(bench(SHARED, store))
        two = await stack.enter_async_context(bench(OTHER, store))
        turn = await one.submit()
        call = await one.provider.call()
        reader = asyncio.ensure_future(two.events(turn))
        call.say("Good ")
        await store.until(lambda: any(answer.text == "Good " for answer in store.saved))
        async with asyncio.timeout(PATIENCE_S):
            await two.first(turn, Snapshot)
        call.finish("day")
        events = await reader
        seqs = [event.seq for event in events]
        assert seqs == sorted(set(seqs))
        assert isinstance(events[0], TurnStart)
        snapshots = [event.text for event in events if isinstance(event, Snapshot)]
        assert snapshots[0] == "Good "
        assert (fold(events).text, fold(events).finish_reason) == ("Good day", FinishReason.STOP)
        again = [event async for event in two.engine.follow(turn, seqs[1])]
        assert fold(again, fold(events[:2])).text == "Good day"


async def test_a_stop_is_seen_in_the_row() -> None:
    store = TroubledStore()
    async with bench(SHARED, store) as one, bench(OTHER, store) as two:
        turn = await one.submit()
        call = await one.provider.call()
        await two.engine.stop(ANNA.id, turn.id)
        async with asyncio.timeout(PATIENCE_S):
            await call.closed.wait()
        assert (await one.folded(turn)).finish_reason is FinishReason.STOPPED


async def test_a_queued_turn_is_stopped_from_elsewhere() -> None:
    store = TroubledStore()
    async with bench(SHARED, store) as one, bench(OTHER, store) as two:
        first, second = await one.submit("one"), await one.submit("two")
        stopped = await two.engine.stop(ANNA.id, second.id)
        assert stopped.state is TurnState.STOPPED
        one.announcements.missed()
        assert (await one.folded(second)).finish_reason is FinishReason.STOPPED
        (await one.provider.call()).finish("1")
        assert (await one.folded(first)).text == "1"
        assert len(one.provider.calls) == 1


@pytest.mark.parametrize("is_over", [True, False])
async def test_a_cursor_of_nowhere_takes_all_back(*, is_over: bool) -> None:
    async with bench() as b:
        turn = await b.submit()
        call = await b.provider.call()
        call.say("Good ")
        await b.first(turn, TextEvent)
        if is_over:
            call.finish("day")
            await b.folded(turn)
        reader = asyncio.ensure_future(b.events(await b.row(turn), after=2**62))
        await asyncio.sleep(0)
        if not is_over:
            call.finish("day")
        events = await reader
        assert isinstance(events[0], Snapshot)
        assert fold(events).text == "Good day"
        assert isinstance(events[-1], Done)
