"""Stop: the upstream is closed, what is there is kept, and nobody waits for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from typing_extensions import override

from parley.chat.deltas import Delta, FinishReason, Text
from parley.chat.errors import NotFound, StorageUnavailable
from parley.chat.events import Done, TextEvent
from parley.chat.models import CompletionRequest
from parley.chat.running import RunningTurn
from parley.chat.turns import Turn, TurnState
from parley.context.builder import ContextConfig, WindowedContext
from parley.context.memory_store import MemoryContextStore
from parley.live.memory_log import MemoryTurnLog
from tests.fakes.scripted_provider import OneModel, ScriptedProvider
from tests.unit.chat.support import ANNA, BEN, CONFIG, TroubledStore, bench
from tests.unit.chat.test_recorder import NEW, TURN


async def test_stop_closes_the_upstream_and_keeps_the_text() -> None:
    async with bench() as b:
        turn = await b.submit()
        call = await b.provider.call()
        call.say("Good ")
        await b.first(turn, TextEvent)
        await b.engine.stop(ANNA.id, turn.id)
        folded = await b.folded(turn)
        assert (folded.text, folded.finish_reason) == ("Good ", FinishReason.STOPPED)
        assert call.closed.is_set()
        row = await b.row(turn)
        assert (row.state, row.answer.text) == (TurnState.STOPPED, "Good ")
        assert row.answer.attempts[0].outcome == "cancelled"


async def test_stop_before_the_first_delta() -> None:
    async with bench() as b:
        turn = await b.submit()
        call = await b.provider.call()
        await b.engine.stop(ANNA.id, turn.id)
        assert (await b.folded(turn)).finish_reason is FinishReason.STOPPED
        assert call.closed.is_set()


async def test_stop_before_the_provider_is_called() -> None:
    async with bench() as b:
        turn = await b.submit(keep=False)  # returns before its task has begun
        await b.engine.stop(ANNA.id, turn.id)
        assert (await b.folded(turn)).finish_reason is FinishReason.STOPPED
        assert b.provider.calls == []


async def test_stop_lets_the_next_turn_run() -> None:
    async with bench() as b:
        first, second = await b.submit("one"), await b.submit("two")
        await b.provider.call()
        await b.engine.stop(ANNA.id, first.id)
        (await b.provider.call(1)).finish("answer")
        assert (await b.folded(second)).text == "answer"


async def test_stop_of_a_queued_turn_ends_it_once() -> None:
    async with bench() as b:
        first, second, third = [await b.submit(text) for text in ("one", "two", "three")]
        assert (await b.engine.stop(ANNA.id, second.id)).state is TurnState.STOPPED
        await b.engine.stop(ANNA.id, second.id)
        assert (await b.folded(second)).finish_reason is FinishReason.STOPPED
        (await b.provider.call(0)).finish("1")
        (await b.provider.call(1)).finish("3")
        assert await b.texts([first, third]) == ["1", "3"]
        assert b.provider.calls[1].prompt == ["one", "1", "three"]


async def test_stop_of_a_turn_that_is_over_changes_nothing() -> None:
    async with bench() as b:
        turn = await b.submit()
        (await b.provider.call()).finish("Good day")
        before = await b.folded(turn)
        assert (await b.engine.stop(ANNA.id, turn.id)).state is TurnState.COMPLETED
        assert await b.folded(turn) == before


async def test_stop_of_a_stopped_turn_adds_no_end() -> None:
    async with bench() as b:
        turn = await b.submit()
        await b.provider.call()
        await b.engine.stop(ANNA.id, turn.id)
        await b.folded(turn)
        await b.engine.stop(ANNA.id, turn.id)
        await b.folded(turn)


@pytest.mark.parametrize("keep", [True, False])
async def test_nobody_stops_a_turn_of_someone_else(*, keep: bool) -> None:
    async with bench() as b:
        turn = await b.submit(keep=keep)
        with pytest.raises(NotFound):
            await b.engine.stop(BEN.id, turn.id)
        (await b.provider.call()).finish("Good day")
        assert (await b.folded(turn)).text == "Good day"


async def test_turn_that_is_not_kept_is_stopped() -> None:
    async with bench() as b:
        turn = await b.submit(keep=False)
        call = await b.provider.call()
        await b.engine.stop(ANNA.id, turn.id)
        assert (await b.folded(turn)).finish_reason is FinishReason.STOPPED
        assert call.closed.is_set()
        assert b.store.entered == []


async def test_stop_works_without_a_database() -> None:
    async with bench() as b:
        turn = await b.submit()
        call = await b.provider.call()
        b.store.down.add("request_stop")
        await b.engine.stop(ANNA.id, turn.id)
        assert (await b.folded(turn)).finish_reason is FinishReason.STOPPED
        assert call.closed.is_set()
        with pytest.raises(StorageUnavailable):
            await b.engine.stop(ANNA.id, turn.id)


async def test_thread_is_stopped_without_a_database() -> None:
    async with bench() as b:
        turn = await b.submit()
        call = await b.provider.call()
        b.store.down |= {"running", "request_stop"}
        stopped = await b.engine.stop_thread(ANNA.id, turn.thread_id)
        assert stopped is not None
        assert stopped.id == turn.id
        assert (await b.folded(turn)).finish_reason is FinishReason.STOPPED
        assert call.closed.is_set()


async def test_thread_that_does_not_run_here_is_looked_up() -> None:
    async with bench() as b:
        assert await b.engine.stop_thread(ANNA.id, b.thread_id) is None
        elsewhere = (await b.store.begin(replace(NEW, owner=ANNA, thread_id=b.thread_id))).turn
        stopped = await b.engine.stop_thread(ANNA.id, b.thread_id)
        assert stopped is not None
        assert (stopped.id, stopped.stop_requested) == (elsewhere.id, True)


async def test_nobody_stops_a_thread_of_someone_else() -> None:
    async with bench() as b:
        turn = await b.submit()
        assert await b.engine.stop_thread(BEN.id, turn.thread_id) is None
        (await b.provider.call()).finish("Good day")
        assert (await b.folded(turn)).text == "Good day"


async def test_stop_that_overtakes_the_start_of_a_queued_turn() -> None:
    """The row is promoted, and stopped, before the engine has heard that it is to run."""
    async with bench() as b:
        first, second = await b.submit("one"), await b.submit("two")
        heard = b.store.held["finished"] = asyncio.Event()
        (await b.provider.call()).finish("1")
        await b.store.until(lambda: any(answer.ended_at for answer in b.store.saved))
        stopped = await b.engine.stop(ANNA.id, second.id)
        assert stopped.state is TurnState.RUNNING
        heard.set()
        assert (await b.folded(second)).finish_reason is FinishReason.STOPPED
        assert await b.texts([first]) == ["1"]
        assert len(b.provider.calls) == 1


async def test_flag_of_the_row_is_enough() -> None:
    store, log, provider = TroubledStore(), MemoryTurnLog(), ScriptedProvider()
    await store.begin(NEW)
    turn = replace(TURN, keep=True, stop_requested=True)
    running = _running_turn(turn, provider, store, log)
    assert await running.run() is None
    assert (await store.turn(turn.owner_id, turn.id)).state is TurnState.STOPPED
    assert provider.calls == []


def _running_turn(
    turn: Turn, provider: ScriptedProvider, store: TroubledStore, log: MemoryTurnLog
) -> RunningTurn:
    context = WindowedContext(ContextConfig(), MemoryContextStore(), store)
    return RunningTurn(turn, CONFIG.run, OneModel(provider), context, store, log)


class Deaf(ScriptedProvider):
    """Loses the cancellation that lands in it, as Python 3.11 does now and then."""

    @override
    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator[AsyncIterator[Delta]]:
        async with super().stream(request):
            yield self._deltas()

    async def _deltas(self) -> AsyncIterator[Delta]:
        yield Text("a")
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        while True:
            yield Text("b")


async def test_lost_cancellation_ends_the_turn_all_the_same() -> None:
    store, log, provider = TroubledStore(), MemoryTurnLog(), Deaf()
    running = _running_turn(TURN, provider, store, log)
    task = asyncio.ensure_future(running.run())
    call = await provider.call()
    running.stop()
    running.stop()
    await task
    assert call.closed.is_set()
    *_, done = [event async for event in log.follow(TURN.id, 0)]
    assert isinstance(done, Done)
    assert done.finish_reason is FinishReason.STOPPED
