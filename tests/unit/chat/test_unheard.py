"""A turn that was written while its caller was told that it may not be: it is run all the same."""

import pytest

from parley.chat.errors import StorageUnavailable
from parley.chat.turns import Turn, TurnState
from tests.unit.chat.support import ANNA, Bench, TroubledStore, bench


async def begun_unheard(b: Bench, text: str = "one") -> Turn:
    b.store.unheard.add("begin")
    with pytest.raises(StorageUnavailable, match="may not have been saved"):
        await b.submit(text, key="k")
    return (await b.begin(text, key="k")).turn


async def test_its_key_gives_the_answer() -> None:
    async with bench() as b:
        turn = await begun_unheard(b)
        (await b.provider.call()).finish("1")
        assert (await b.folded(turn)).text == "1"
        assert (await b.row(turn)).state is TurnState.COMPLETED
        assert len(b.provider.calls) == 1


async def test_its_thread_goes_on() -> None:
    async with bench() as b:
        first = await begun_unheard(b)
        second = await b.submit("two")
        assert second.state is TurnState.QUEUED
        b.store.unheard.add("finish")
        (await b.provider.call()).finish("1")
        (await b.provider.call(1)).finish("2")
        assert await b.texts([first, second]) == ["1", "2"]
        assert len(b.provider.calls) == 2


async def test_one_that_waits_runs_in_its_turn() -> None:
    async with bench() as b:
        await b.submit("one")
        turn = await begun_unheard(b, "two")
        assert (await b.row(turn)).state is TurnState.QUEUED
        (await b.provider.call()).finish("1")
        (await b.provider.call(1)).finish("2")
        assert (await b.folded(turn)).text == "2"


async def test_it_can_be_stopped_before_anybody_runs_it() -> None:
    store = TroubledStore()
    async with bench(store=store) as b:
        turn = await begun_unheard(b)
        await b.engine.stop(ANNA.id, turn.id)
        await b.folded(turn)
        assert (await b.row(turn)).state is TurnState.STOPPED


async def test_what_was_not_written_does_not_run() -> None:
    async with bench() as b:
        b.store.down.add("begin")
        with pytest.raises(StorageUnavailable):
            await b.submit(key="k")
        b.store.down.clear()
        turn = await b.submit(key="k")
        (await b.provider.call()).finish("Good day")
        assert (await b.folded(turn)).text == "Good day"
        assert len(b.provider.calls) == 1
