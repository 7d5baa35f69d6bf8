"""Readers of a turn: any number, from any cursor, at any pace."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

from parley.chat.events import Done, Event, TextEvent, TurnStart
from parley.chat.fold import fold
from parley.chat.turns import TurnState
from tests.patience import PATIENCE_S
from tests.unit.chat.support import bench


async def test_a_thousand_readers_see_the_same() -> None:
    async with bench() as b:
        turn = await b.submit()
        readers = [asyncio.ensure_future(b.folded(turn)) for _ in range(1000)]
        call = await b.provider.call()
        for word in ("Good ", "day ", "to ", "you"):
            call.say(word)
            await asyncio.sleep(0)
        call.finish()
        folded = {await reader for reader in readers}
        assert [one.text for one in folded] == ["Good day to you"]


async def test_slow_reader_gets_fewer_and_longer_events() -> None:
    async with bench() as b:
        turn = await b.submit()
        call = await b.provider.call()
        call.say("a")
        async with aclosing(b.engine.follow(turn)) as events:
            seen: list[Event] = []
            while not (seen and isinstance(seen[-1], TextEvent)):
                seen.append(await anext(events))
            call.finish(*"bcdefghij")
            await b.store.until(lambda: any(answer.ended_at for answer in b.store.saved))
            seen += [event async for event in events]
        assert [e.text for e in seen if isinstance(e, TextEvent)] == ["a", "bcdefghij"]
        assert fold(seen).text == "abcdefghij"


async def test_reader_knows_when_there_is_nothing_to_wait_for() -> None:
    async with bench() as b:
        turn, waits = await b.submit(), await b.submit()
        call = await b.provider.call()
        call.say("a")
        assert not b.engine.has_run(turn)
        call.finish()
        await b.folded(turn)
        assert b.engine.has_run(turn)
        assert not b.engine.has_run(waits)
        # It ran elsewhere, or did until it was taken over: its log may be behind.
        assert not b.engine.has_run(replace(turn, fence=turn.fence + 1))


async def test_reader_that_wants_every_piece_gets_it() -> None:
    async with bench() as b:
        turn = await b.submit()
        (await b.provider.call()).finish(*"abc")
        await b.folded(turn)
        events = [event async for event in b.engine.follow(turn, merge=False)]
        assert [e.text for e in events if isinstance(e, TextEvent)] == ["a", "b", "c"]


async def test_reader_goes_on_from_any_cursor() -> None:
    async with bench() as b:
        turn = await b.submit()
        (await b.provider.call()).finish(*"abc")
        whole = [event async for event in b.engine.follow(turn, merge=False)]
        for at, event in enumerate(whole):
            rest = [e async for e in b.engine.follow(turn, event.seq, merge=False)]
            assert rest == whole[at + 1 :]


async def test_reader_that_leaves_does_not_stop_the_turn() -> None:
    async with bench() as b:
        turn = await b.submit()
        async with aclosing(b.engine.follow(turn)) as events:
            assert isinstance(await anext(events), TurnStart)
        (await b.provider.call()).finish("Good day")
        assert isinstance((await b.events(turn))[-1], Done)
        assert (await b.row(turn)).state is TurnState.COMPLETED


async def test_turn_that_is_not_kept_ends_when_its_last_reader_leaves() -> None:
    async with bench() as b:
        turn = await b.submit(keep=False)
        call = await b.provider.call()
        async with aclosing(b.engine.follow(turn)) as stays:
            await anext(stays)
            async with aclosing(b.engine.follow(turn)) as leaves:
                await anext(leaves)
            call.say("Good ")
            while not isinstance(await anext(stays), TextEvent):
                pass
            assert not call.closed.is_set()
        async with asyncio.timeout(PATIENCE_S):
            await call.closed.wait()


async def test_turn_that_is_not_kept_ends_when_its_reader_is_cancelled() -> None:
    async with bench() as b:
        turn = await b.submit(keep=False)
        reader = asyncio.ensure_future(b.events(turn))
        call = await b.provider.call()
        reader.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await call.closed.wait()


async def test_reader_of_a_queued_turn_waits_for_it() -> None:
    async with bench() as b:
        await b.submit("one")
        second = await b.submit("two")
        reader = asyncio.ensure_future(b.folded(second))
        (await b.provider.call()).finish("1")
        (await b.provider.call(1)).finish("2")
        assert (await reader).text == "2"
