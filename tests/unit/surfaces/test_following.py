"""A turn for a client, who hears of a failure in the stream, and goes on from any event of it."""

import asyncio

from parley.chat.events import Done, ErrorEvent, Event, TextEvent
from parley.chat.fold import fold
from parley.surfaces.following import followed
from tests.unit.chat.support import TroubledStore, bench
from tests.unit.chat.test_inheriting import OTHER, SHARED


async def test_what_goes_on_elsewhere_is_gone_on_with_from_the_last_number() -> None:
    store = TroubledStore()
    async with bench(SHARED, store) as one:
        turn = await one.submit()
        (await one.provider.call()).say("Good ")
        await one.first(turn, TextEvent)

        async def read() -> list[Event]:
            return [event async for event in followed(one.engine, turn)]

        reader = asyncio.ensure_future(read())
        await asyncio.sleep(0)
        async with bench(OTHER, store) as two:
            await one.engine.drain()
            *events, error, done = await reader
            assert (type(error), type(done)) == (ErrorEvent, Done)
            assert error.seq == done.seq == events[-1].seq
            store.living.discard(SHARED.replica_id)
            (await two.provider.call()).finish("Good day")
            rest = [event async for event in two.engine.follow(await two.row(turn), done.seq)]
    assert fold(rest, fold(events)).text == "Good day"
