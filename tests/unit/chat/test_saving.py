"""Checkpoints and ends, also while the database is away."""

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs
from typing_extensions import override

from parley.chat.deltas import FinishReason
from parley.chat.errors import StorageUnavailable
from parley.chat.events import TextEvent
from parley.chat.ports import ContextBuilder
from parley.chat.running import RunningTurn
from parley.chat.turns import Answer, Context, Turn, TurnState
from parley.context.builder import ContextConfig, WindowedContext
from parley.context.memory_store import MemoryContextStore
from tests.fakes.scripted_provider import OneModel, ScriptedProvider
from tests.patience import PATIENCE_S
from tests.unit.chat.support import CONFIG, TroubledStore, WatchedLog, bench
from tests.unit.chat.test_recorder import NEW, TURN

PATIENT = replace(CONFIG, run=replace(CONFIG.run, save_retry_s=3600))


async def test_partial_answer_is_saved_while_it_streams() -> None:
    async with bench() as b:
        turn = await b.submit()
        call = await b.provider.call()
        call.say("Good ")
        await b.store.until(lambda: bool(b.store.saved))
        row = await b.row(turn)
        assert (row.state, row.answer.text) == (TurnState.RUNNING, "Good ")
        call.finish("day")
        assert (await b.folded(turn)).text == "Good day"


@pytest.mark.parametrize("trouble", [None, ValueError("a bug")])
async def test_failed_checkpoint_does_not_end_the_turn(trouble: Exception | None) -> None:
    async with bench() as b:
        if trouble:
            b.store.errors["checkpoint"] = trouble
        b.store.down.add("checkpoint")
        turn = await b.submit()
        call = await b.provider.call()
        call.say("Good ")
        await b.store.until(lambda: b.store.entered.count("checkpoint") > 1)
        b.store.down.clear()
        b.store.errors.clear()
        # The same text is saved as soon as it can be: no new one is needed for it.
        await b.store.until(lambda: bool(b.store.saved))
        call.finish("day")
        assert (await b.folded(turn)).text == "Good day"


async def test_what_nobody_else_can_read_is_saved_at_once() -> None:
    rarely = replace(CONFIG, checkpoint_s=3600, checkpoint_soon_s=0.001)
    async with bench(rarely) as b:
        await b.submit()
        (await b.provider.call()).say("Good ")
        await b.log.until(TextEvent)
        assert not b.store.saved
        b.log.has_failed.set()
        await b.store.until(lambda: bool(b.store.saved))
        assert b.store.saved[-1].text == "Good "


async def test_a_checkpoint_that_failed_is_tried_again_soon() -> None:
    rarely = replace(CONFIG, checkpoint_s=3600, checkpoint_soon_s=0.001)
    async with bench(rarely) as b:
        b.store.down.add("checkpoint")
        await b.submit()
        (await b.provider.call()).say("Good ")
        await b.log.until(TextEvent)
        b.log.has_failed.set()
        await b.store.until(lambda: "checkpoint" in b.store.entered)
        b.store.down.clear()
        await b.store.until(lambda: bool(b.store.saved))
        assert b.store.saved[-1].text == "Good "


async def test_end_is_tried_again() -> None:
    async with bench(PATIENT) as b:
        b.store.down.add("finish")
        turn = await b.submit()
        (await b.provider.call()).finish("Good day")
        await b.store.until(lambda: b.store.entered.count("finish") > 3)
        b.store.down.clear()
        folded = await b.folded(turn)
        assert (folded.finish_reason, folded.error_code) == (FinishReason.STOP, None)
        assert (await b.row(turn)).state is TurnState.COMPLETED


@pytest.mark.parametrize("queued", [True, False])
async def test_end_that_was_not_heard_of_runs_the_next_turn_once(*, queued: bool) -> None:
    """The end is committed, and tried again while the next turn is waiting or runs already."""
    slow = replace(PATIENT.run, first_pause_s=0.05)
    async with bench(replace(PATIENT, run=slow)) as b:
        b.store.unheard.add("finish")
        first = await b.submit("one")
        second = await b.submit("two") if queued else None
        (await b.provider.call()).finish("1")
        await b.store.until(lambda: not b.store.unheard)
        second = second or await b.submit("two")
        call = await b.provider.call(1)
        await b.store.until(lambda: b.store.entered.count("finish") == 2)
        assert (await b.folded(first)).text == "1"
        call.finish("2")
        assert (await b.folded(second)).text == "2"
        third = await b.submit("three")
        (await b.provider.call(2)).finish("3")
        assert (await b.folded(third)).text == "3"
        assert len(b.provider.calls) == 3


async def test_turn_that_runs_already_is_not_started_by_a_late_end() -> None:
    slow = replace(PATIENT.run, first_pause_s=0.05)
    async with bench(replace(PATIENT, run=slow)) as b:
        b.store.unheard.add("finish")
        await b.submit("one")
        (await b.provider.call()).finish("1")
        await b.store.until(lambda: not b.store.unheard)
        await b.submit("two")
        third = await b.submit("three")
        (await b.provider.call(1)).finish("2")
        call = await b.provider.call(2)
        await b.store.until(lambda: b.store.entered.count("finish") == 3)
        call.finish("3")
        assert (await b.folded(third)).text == "3"
        assert len(b.provider.calls) == 3


async def test_end_that_is_not_saved_is_told_and_the_text_is_there() -> None:
    async with bench() as b:
        b.store.down.add("finish")
        turn = await b.submit()
        (await b.provider.call()).finish("Good day")
        folded = await b.folded(turn)
        assert (folded.text, folded.error_code) == ("Good day", "storage_unavailable")
        assert folded.finish_reason is FinishReason.ERROR


async def test_database_that_comes_back_gets_the_end_and_the_queue_goes_on() -> None:
    async with bench() as b:
        b.store.down.add("finish")
        first, second = await b.submit("one"), await b.submit("two")
        (await b.provider.call()).finish("1")
        await b.folded(first)
        b.store.down.clear()
        (await b.provider.call(1)).finish("2")
        assert (await b.folded(second)).text == "2"
        row = await b.row(first)
        assert (row.state, row.answer.text) == (TurnState.COMPLETED, "1")
        assert b.provider.calls[1].prompt == ["one", "1", "two"]


async def test_bug_while_saving_hurts_only_its_turn() -> None:
    async with bench() as b:
        b.store.errors["finish"] = ValueError("a bug")
        first = await b.submit("one")
        (await b.provider.call()).finish("1")
        folded = await b.folded(first)
        assert (folded.text, folded.error_code) == ("1", "internal")
        b.store.errors.clear()
        other = await b.submit(thread_id="00000000-0000-4000-8000-000000000001")
        (await b.provider.call(1)).finish("2")
        assert (await b.folded(other)).text == "2"


async def test_end_that_cannot_be_saved_whole_is_saved_as_a_failure_with_its_text() -> None:
    class Picky(TroubledStore):
        @override
        async def finish(self, turn: Turn, answer: Answer) -> Turn | None:
            if answer.receipt is not None:
                raise ValueError("a bug")
            return await super().finish(turn, answer)

    async with bench(store=Picky()) as b:
        first, second = await b.submit("one"), await b.submit("two")
        (await b.provider.call()).finish("1")
        told = await b.folded(first)
        row = await b.row(first)
        assert (row.state, row.answer.text) == (TurnState.FAILED, "1")
        assert row.answer.error_code == told.error_code == "internal"
        (await b.provider.call(1)).finish("2")
        assert (await b.folded(second)).text == "2"


async def test_bug_that_goes_away_lets_the_end_be_saved_late() -> None:
    async with bench() as b:
        b.store.errors["finish"] = ValueError("a bug")
        first, second = await b.submit("one"), await b.submit("two")
        (await b.provider.call()).finish("1")
        await b.folded(first)
        b.store.errors.clear()
        (await b.provider.call(1)).finish("2")
        assert (await b.folded(second)).text == "2"
        assert (await b.row(first)).state is TurnState.FAILED


async def test_bug_that_stays_does_not_hold_up_the_end_of_the_process() -> None:
    async with bench() as b:
        b.store.down.add("finish")
        turn = await b.submit()
        (await b.provider.call()).finish("Good day")
        await b.folded(turn)
        b.store.errors["finish"] = ValueError("a bug")
        async with asyncio.timeout(PATIENCE_S):
            await b.engine.drain()


async def test_turn_lost_while_it_is_saved_late_is_left() -> None:
    async with bench() as b:
        b.store.down.add("finish")
        turn = await b.submit()
        (await b.provider.call()).finish("Good day")
        await b.folded(turn)
        await b.store.delete_thread(turn.owner_id, turn.thread_id)
        b.store.down.clear()
        async with asyncio.timeout(PATIENCE_S):
            await b.engine.drain()


class Forgetful(WindowedContext):
    """A context store's bug, after the turn is saved."""

    @override
    async def extend(self, turn: Turn, built: Context, answer: Answer) -> None:
        raise ValueError("a bug")


def run(
    store: TroubledStore,
    context: ContextBuilder,
    provider: ScriptedProvider,
    log: WatchedLog | None = None,
) -> RunningTurn:
    turn, log = replace(TURN, keep=True), log or WatchedLog()
    return RunningTurn(turn, CONFIG.run, OneModel(provider), context, store, log)


async def test_context_that_cannot_be_extended_loses_nothing() -> None:
    store, provider = TroubledStore(), ScriptedProvider()
    await store.begin(NEW)
    running = run(store, Forgetful(ContextConfig(), MemoryContextStore(), store), provider)
    task = asyncio.ensure_future(running.run())
    (await provider.call()).finish("Good day")
    await task
    assert (await store.turn(TURN.owner_id, TURN.id)).state is TurnState.COMPLETED


async def test_text_lost_to_another_owner_is_not_context() -> None:
    store, provider, contexts = TroubledStore(), ScriptedProvider(), MemoryContextStore()
    await store.begin(NEW)
    running = run(store, WindowedContext(ContextConfig(), contexts, store), provider)
    task = asyncio.ensure_future(running.run())
    await provider.call()
    running.lose()
    await task
    assert await contexts.load(TURN.thread_id) is None
    assert (await store.turn(TURN.owner_id, TURN.id)).state is TurnState.RUNNING
    await running.checkpoint()
    assert not store.saved


async def test_checkpoint_is_taken_once_for_each_text() -> None:
    store, provider, log = TroubledStore(), ScriptedProvider(), WatchedLog()
    await store.begin(NEW)
    context = WindowedContext(ContextConfig(), MemoryContextStore(), store)
    running = run(store, context, provider, log)
    task = asyncio.ensure_future(running.run())
    call = await provider.call()
    await running.checkpoint()
    (seen,) = store.saved
    assert seen.receipt is not None, "what the model sees, before it has said anything"
    await running.checkpoint()
    assert store.saved == [seen]
    call.say("Good ")
    await log.until(TextEvent)
    store.down.add("checkpoint")
    with pytest.raises(StorageUnavailable):
        await running.checkpoint()
    store.down.clear()
    await running.checkpoint()
    await running.checkpoint()
    (_, answer) = store.saved
    assert (answer.text, answer.receipt) == ("Good ", None)
    assert answer.seq == log.events[-1].seq
    call.finish()
    await task


async def test_event_reaches_readers_before_it_is_saved() -> None:
    async with bench() as b:
        b.store.down.add("checkpoint")
        turn = await b.submit()
        (await b.provider.call()).say("Good ")
        event = await b.first(turn, TextEvent)
        assert isinstance(event, TextEvent)
        assert event.text == "Good "


async def test_message_that_is_not_written_says_why_in_the_log() -> None:
    async with bench() as b:
        b.store.down.add("begin")
        with capture_logs() as lines, pytest.raises(StorageUnavailable, match="did not answer"):
            await b.submit()
        (line,) = (line for line in lines if line["log_level"] == "error")
        assert line["reason"] == "The database cannot be reached."
