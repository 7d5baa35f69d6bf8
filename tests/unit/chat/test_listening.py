"""Listening: who has a thread open hears of its turns."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from parley.chat.errors import NotFound
from parley.chat.news import CaughtUp, Heard, TurnNews
from parley.chat.turns import TurnState
from tests.patience import PATIENCE_S
from tests.unit.chat.support import ANNA, BEN, Bench, bench


async def hear(listening: AsyncGenerator[Heard], count: int) -> list[tuple[str, TurnState]]:
    async with asyncio.timeout(PATIENCE_S):
        heard: list[TurnNews] = []
        while len(heard) < count:
            if isinstance(news := await anext(listening), TurnNews):
                heard.append(news)
    return [(news.turn_id, news.state) for news in heard]


async def an_answered_thread(b: Bench) -> None:
    turn = await b.submit("one")
    (await b.provider.call()).finish("1")
    await b.folded(turn)


async def test_turn_is_heard_of_from_its_beginning_to_its_end() -> None:
    async with bench() as b:
        await an_answered_thread(b)
        async with aclosing(b.engine.listen(ANNA.id, b.thread_id)) as listening:
            first = asyncio.ensure_future(hear(listening, 1))
            await asyncio.sleep(0)
            turn = await b.submit("two")
            assert await first == [(turn.id, TurnState.RUNNING)]
            queued = await b.submit("three")
            assert await hear(listening, 1) == [(queued.id, TurnState.QUEUED)]
            (await b.provider.call(1)).finish("2")
            (await b.provider.call(2)).finish("3")
            assert await hear(listening, 3) == [
                (turn.id, TurnState.COMPLETED),
                (queued.id, TurnState.RUNNING),
                (queued.id, TurnState.COMPLETED),
            ]


async def test_who_comes_later_hears_what_is_live() -> None:
    async with bench() as b:
        running, queued = await b.submit("one"), await b.submit("two")
        async with aclosing(b.engine.listen(ANNA.id, b.thread_id)) as listening:
            assert await hear(listening, 2) == [
                (running.id, TurnState.RUNNING),
                (queued.id, TurnState.QUEUED),
            ]
            await b.engine.stop(ANNA.id, queued.id)
            assert await hear(listening, 1) == [(queued.id, TurnState.STOPPED)]


async def test_who_listens_is_told_from_when_on_nothing_is_missed() -> None:
    async with bench() as b:
        await an_answered_thread(b)
        async with aclosing(b.engine.listen(ANNA.id, b.thread_id)) as listening:
            assert await anext(listening) == CaughtUp(b.thread_id)
            b.announcements.deaf = True
            turn = await b.submit("two")
            (await b.provider.call(1)).finish("2")
            await b.folded(turn)
            b.announcements.deaf = False
            b.announcements.missed()
            assert await anext(listening) == CaughtUp(b.thread_id)


async def test_what_was_missed_is_read_from_the_rows() -> None:
    async with bench() as b:
        turn = await b.submit("one")
        async with aclosing(b.engine.listen(ANNA.id, b.thread_id)) as listening:
            await hear(listening, 1)
            b.announcements.deaf = True
            (await b.provider.call()).finish("1")
            await b.folded(turn)
            following = await b.submit("two")
            await b.provider.call(1)
            b.announcements.deaf = False
            b.announcements.missed()
            assert set(await hear(listening, 2)) == {
                (turn.id, TurnState.COMPLETED),
                (following.id, TurnState.RUNNING),
            }
            await b.engine.stop(ANNA.id, following.id)
            assert await hear(listening, 1) == [(following.id, TurnState.STOPPED)]


async def test_turns_that_are_not_kept_are_nobodys_news() -> None:
    async with bench() as b:
        await an_answered_thread(b)
        async with aclosing(b.engine.listen(ANNA.id, b.thread_id)) as listening:
            first = asyncio.ensure_future(hear(listening, 1))
            await asyncio.sleep(0)
            unkept = await b.submit("two", keep=False)
            (await b.provider.call(1)).finish()
            await b.folded(unkept)
            kept = await b.submit("three")
            assert await first == [(kept.id, TurnState.RUNNING)]


async def test_foreign_and_unknown_threads_are_not_listened_to() -> None:
    async with bench() as b:
        await an_answered_thread(b)
        for owner, thread_id in ((BEN, b.thread_id), (ANNA, "unknown")):
            with pytest.raises(NotFound):
                await hear(b.engine.listen(owner.id, thread_id), 1)
