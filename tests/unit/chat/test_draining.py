"""The end of a process: what runs may finish, the rest is interrupted, every reader is told."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from parley.chat.deltas import FinishReason
from parley.chat.errors import ShuttingDown
from parley.chat.events import TextEvent
from parley.chat.fold import fold
from parley.chat.replay import replay
from parley.chat.turns import TurnState
from tests.patience import PATIENCE_S
from tests.unit.chat.support import ANNA, CONFIG, Bench, TroubledStore, bench

PATIENT = replace(CONFIG, grace_s=PATIENCE_S)


async def drain_begun(b: Bench) -> asyncio.Task[None]:
    drained = asyncio.ensure_future(b.engine.drain())
    await asyncio.sleep(0)
    return drained


async def test_running_turn_finishes_within_the_grace_time() -> None:
    async with bench(PATIENT) as b:
        turn = await b.submit()
        call = await b.provider.call()
        drained = await drain_begun(b)
        call.finish("Good day")
        await drained
        assert (await b.row(turn)).state is TurnState.COMPLETED
        assert (await b.folded(turn)).text == "Good day"


async def test_rest_is_interrupted_and_its_text_kept() -> None:
    async with bench() as b:
        turn = await b.submit()
        call = await b.provider.call()
        call.say("Good ")
        await b.first(turn, TextEvent)
        await b.engine.drain()
        folded = await b.folded(turn)
        assert (folded.text, folded.finish_reason) == ("Good ", FinishReason.INTERRUPTED)
        row = await b.row(turn)
        assert (row.state, row.answer.text) == (TurnState.INTERRUPTED, "Good ")
        assert call.closed.is_set()


@pytest.mark.parametrize("saved", [True, False])
async def test_interrupted_turns_say_so_live_and_in_their_rows(*, saved: bool) -> None:
    async with bench() as b:
        turns = [await b.submit(text) for text in ("one", "two")]
        await b.provider.call()
        if not saved:
            b.store.down.add("finish")
        await b.engine.drain()
        codes = [(await b.folded(turn)).error_code for turn in turns]
        told = "shutting_down" if saved else "storage_unavailable"
        assert codes == [told, "shutting_down"]
        for turn in turns if saved else ():
            row = await b.row(turn)
            live, kept = await b.error(turn), fold(replay(row))
            assert (row.state, kept.error_code) == (TurnState.INTERRUPTED, live.code)
            assert kept.error_message == live.message


async def test_nothing_new_begins() -> None:
    async with bench() as b:
        await b.engine.drain()
        with pytest.raises(ShuttingDown):
            await b.submit()


async def test_queue_is_interrupted_in_rows_and_for_readers() -> None:
    async with bench(PATIENT) as b:
        turns = [await b.submit(text) for text in ("one", "two", "three")]
        readers = [asyncio.ensure_future(b.folded(turn)) for turn in turns]
        call = await b.provider.call()
        drained = await drain_begun(b)
        call.finish("1")
        await drained
        reasons = [(await reader).finish_reason for reader in readers]
        assert reasons == [FinishReason.STOP, *[FinishReason.INTERRUPTED] * 2]
        states = [(await b.row(turn)).state for turn in turns]
        assert states == [TurnState.COMPLETED, *[TurnState.INTERRUPTED] * 2]
        assert len(b.provider.calls) == 1


async def test_queue_is_told_without_a_database() -> None:
    async with bench() as b:
        turns = [await b.submit(text) for text in ("one", "two")]
        await b.provider.call()
        b.store.down.add("finish")
        await b.engine.drain()
        first, second = [await b.folded(turn) for turn in turns]
        assert first.error_code == "storage_unavailable"
        assert second.finish_reason is FinishReason.INTERRUPTED


async def test_turn_whose_begin_is_under_way_is_interrupted() -> None:
    store = TroubledStore()
    store.held["begin"] = asyncio.Event()
    async with bench(store=store) as b:
        submitted = asyncio.ensure_future(b.submit())
        await store.until(lambda: "begin" in store.entered)
        drained = await drain_begun(b)
        store.held["begin"].set()
        await drained
        turn = await submitted
        assert (await b.folded(turn)).finish_reason is FinishReason.INTERRUPTED
        assert b.provider.calls == []


async def test_end_that_is_being_saved_is_saved() -> None:
    async with bench() as b:
        b.store.held["finish"] = asyncio.Event()
        turn = await b.submit()
        (await b.provider.call()).finish("Good day")
        await b.store.until(lambda: "finish" in b.store.entered)
        drained = await drain_begun(b)
        b.store.held["finish"].set()
        await drained
        assert (await b.folded(turn)).finish_reason is FinishReason.STOP
        assert (await b.row(turn)).state is TurnState.COMPLETED


async def test_drain_does_not_wait_for_a_database_that_is_gone() -> None:
    slow = replace(CONFIG.run, save_retry_s=3600, first_pause_s=3600)
    async with bench(replace(CONFIG, run=slow)) as b:
        b.store.down.add("finish")
        turn = await b.submit()
        (await b.provider.call()).finish("Good day")
        await b.store.until(lambda: "finish" in b.store.entered)
        async with asyncio.timeout(PATIENCE_S):
            await b.engine.drain()
        assert (await b.folded(turn)).error_code == "storage_unavailable"


async def test_stop_wins_over_the_end_of_the_process() -> None:
    async with bench() as b:
        turn = await b.submit()
        await b.provider.call()
        await b.engine.stop(ANNA.id, turn.id)
        await b.engine.drain()
        assert (await b.row(turn)).state is TurnState.STOPPED


async def test_turn_that_is_not_kept_is_interrupted() -> None:
    async with bench() as b:
        turn = await b.submit(keep=False)
        await b.provider.call()
        await b.engine.drain()
        assert (await b.folded(turn)).finish_reason is FinishReason.INTERRUPTED


async def test_error_of_the_application_ends_turns_in_order() -> None:
    opened = bench()
    b = await opened.__aenter__()
    turn = await b.submit()
    await b.provider.call()
    with pytest.raises(ExceptionGroup):
        await opened.__aexit__(ValueError, ValueError(), None)
    assert (await b.row(turn)).state is TurnState.INTERRUPTED
    assert (await b.folded(turn)).finish_reason is FinishReason.INTERRUPTED


async def test_next_start_ends_what_was_left() -> None:
    store = TroubledStore()
    async with bench(store=store) as b:
        store.down.add("finish")
        turn = await b.submit(thread_id=str(uuid4()))
        await b.provider.call()
    store.down.clear()
    async with bench(replace(CONFIG, replica_id="next"), store) as b:
        assert (await b.row(turn)).state is TurnState.INTERRUPTED
        assert (await b.folded(turn)).finish_reason is FinishReason.INTERRUPTED


async def test_cancelled_task_ends_its_turn() -> None:
    """Whatever cancels the engine's tasks: the row and the readers hear of it."""
    async with bench() as b:
        turn = await b.submit()
        await b.provider.call()
        (task,) = [t for t in asyncio.all_tasks() if t.get_name() == f"turn {turn.id}"]
        task.cancel()
        assert (await b.folded(turn)).finish_reason is FinishReason.INTERRUPTED
        assert (await b.row(turn)).state is TurnState.INTERRUPTED
