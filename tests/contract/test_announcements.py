"""The `Announcements` port."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import msgspec
import pytest

from parley.chat.news import Changed, Deleted, Named, News, ThreadNews, TurnNews
from parley.chat.ports import Announcements
from parley.chat.turns import TurnState
from parley.live.event_bytes import decode_news, encode_news
from parley.live.memory_news import MemoryAnnouncements
from tests.contract.live_support import live_at
from tests.patience import PATIENCE_S


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.needs_redis)])
async def announcements(request: pytest.FixtureRequest) -> AsyncIterator[Announcements]:
    if request.param == "memory":
        yield MemoryAnnouncements()
        return
    async with live_at(request.getfixturevalue("redis_url")) as live:
        yield live.announcements


def news(thread_id: str, state: TurnState = TurnState.RUNNING) -> TurnNews:
    return TurnNews(thread_id, str(uuid4()), state)


async def heard(listening: AsyncIterator[News | None]) -> News | None:
    async with asyncio.timeout(PATIENCE_S):
        return await anext(listening)


async def heard_of(listening: AsyncIterator[News | None]) -> News:
    """Hear the next news; that some may have been missed is none."""
    while (told := await heard(listening)) is None:
        pass
    return told


async def test_who_listens_hears_it(announcements: Announcements) -> None:
    said = [news("a"), news("a", TurnState.COMPLETED)]
    with announcements.listening("a") as one, announcements.listening("a") as other:
        for each in said:
            announcements.announce(each)
        for listener in (one, other):
            assert [await heard_of(listener), await heard_of(listener)] == said


async def test_other_threads_are_not_heard(announcements: Announcements) -> None:
    with announcements.listening("a") as here, announcements.listening(None) as everywhere:
        other, mine = news("b"), news("a")
        announcements.announce(other)
        announcements.announce(mine)
        assert await heard_of(here) == mine
        assert [await heard_of(everywhere), await heard_of(everywhere)] == [other, mine]


async def test_who_does_not_take_news_is_told_to_look(announcements: Announcements) -> None:
    with announcements.listening("a") as slow:
        for _ in range(10_000):
            announcements.announce(news("a"))
        last = news("a", TurnState.COMPLETED)
        announcements.announce(last)
        taken = [await heard(slow)]
        while taken[-1] != last:
            taken.append(await heard(slow))
        assert None in taken
        assert len(taken) < 1000


async def test_nobody_has_to_listen(announcements: Announcements) -> None:
    announcements.announce(news("a"))
    with announcements.listening("a") as late:
        announcements.announce(said := news("a"))
        assert await heard_of(late) == said


@pytest.mark.parametrize("kind", [Named, Deleted, Changed])
async def test_an_owner_hears_of_threads_wherever_it_listens(
    announcements: Announcements, kind: type[ThreadNews]
) -> None:
    with announcements.listening("a", "anna") as anna, announcements.listening("b", "ben") as ben:
        with announcements.listening(None) as everywhere:
            announcements.announce(happened := kind("anna", "b"))
            announcements.announce(said := news("b"))
            assert await heard_of(everywhere) == said
        assert await heard_of(anna) == happened
        assert await heard_of(ben) == said


@pytest.mark.parametrize(
    "news", [None, *(kind("anna", "b") for kind in (Named, Deleted, Changed)), news("a")]
)
def test_other_processes_read_what_one_tells(news: News | None) -> None:
    assert decode_news(encode_news("one", news)) == ("one", news)


@pytest.mark.parametrize(
    "told", [("anna",), ("anna", "b", "made up"), ("anna", "b", "deleted", "more")], ids=str
)
def test_news_of_another_version_are_left_out(told: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no news"):
        decode_news(msgspec.msgpack.encode(("one", told)))
