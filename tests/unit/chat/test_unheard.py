"""A turn that was written while its caller was told that it may not be: nobody runs it."""

import pytest

from parley.chat.deltas import FinishReason
from parley.chat.errors import StorageUnavailable
from parley.chat.turns import Turn, TurnState
from tests.unit.chat.support import Bench, TroubledStore, bench


async def begun_unheard(b: Bench, text: str = "one") -> Turn:
    b.store.unheard.add("begin")
    with pytest.raises(StorageUnavailable, match="may not have been saved"):
        await b.submit(text, key="k")
    return (await b.begin(text, key="k")).turn


async def test_it_ends_as_interrupted_and_says_so() -> None:
    async with bench() as b:
        turn = await begun_unheard(b)
        await b.store.until(lambda: "finish" in b.store.entered)
        assert (await b.row(turn)).state is TurnState.INTERRUPTED
        folded = await b.folded(turn)
        assert folded.finish_reason is FinishReason.INTERRUPTED
        assert folded.error_code == "shutting_down"
        assert b.provider.calls == []


async def test_its_thread_goes_on() -> None:
    async with bench() as b:
        b.store.down.add("request_stop")
        await begun_unheard(b)
        second = await b.submit("two")
        assert second.state is TurnState.QUEUED
        b.store.down.clear()
        b.store.unheard.add("finish")
        (await b.provider.call()).finish("2")
        assert (await b.folded(second)).text == "2"
        assert len(b.provider.calls) == 1


async def test_one_that_waits_does_not_run() -> None:
    async with bench() as b:
        first = await b.submit("one")
        turn = await begun_unheard(b, "two")
        await b.store.until(lambda: "request_stop" in b.store.entered)
        assert (await b.row(turn)).state is TurnState.STOPPED
        (await b.provider.call()).finish("1")
        assert (await b.folded(first)).text == "1"
        third = await b.submit("three")
        (await b.provider.call(1)).finish("3")
        assert (await b.folded(third)).text == "3"


async def test_one_whose_turn_has_come_runs() -> None:
    async with bench() as b:
        first = await b.submit("one")
        b.store.down.add("request_stop")
        turn = await begun_unheard(b, "two")
        (await b.provider.call()).finish("1")
        await b.folded(first)
        call = await b.provider.call(1)
        rounds = b.store.entered.count("checkpoint")
        await b.store.until(lambda: b.store.entered.count("checkpoint") > rounds + 2)
        b.store.down.clear()
        call.finish("2")
        assert (await b.folded(turn)).text == "2"
        assert (await b.row(turn)).state is TurnState.COMPLETED


async def test_what_was_not_written_needs_no_end() -> None:
    async with bench() as b:
        b.store.down.add("begin")
        with pytest.raises(StorageUnavailable):
            await b.submit(key="k")
        b.store.down.clear()
        await b.store.until(lambda: "request_stop" in b.store.entered)
        turn = await b.submit(key="k")
        (await b.provider.call()).finish("Good day")
        assert (await b.folded(turn)).text == "Good day"


@pytest.mark.parametrize("trouble", ["down", "bug"])
async def test_it_does_not_hold_up_the_end_of_the_process(trouble: str) -> None:
    store = TroubledStore()
    async with bench(store=store) as b:
        if trouble == "down":
            store.down.add("request_stop")
        else:
            store.errors["request_stop"] = ValueError("a bug")
        turn = await begun_unheard(b)
        await store.until(lambda: "request_stop" in store.entered)
    assert (await store.turn(turn.owner_id, turn.id)).state is TurnState.RUNNING
