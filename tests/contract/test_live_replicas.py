"""What is live, in several replicas on one Redis: read elsewhere, and while Redis goes and comes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from parley.chat.deltas import FinishReason
from parley.chat.events import Done, Event, TextEvent, TurnStart, first_seq
from parley.chat.fold import fold
from parley.chat.news import News, TurnNews
from parley.chat.ports import Live, TurnLog
from parley.chat.turns import TurnState
from parley.context.redis_client import TIMEOUT_S
from tests.contract.live_support import WINDOW_S, live_at
from tests.contract.redis_support import calls
from tests.patience import PATIENCE_S, eventually
from tests.services import RedisProcess, redis_process

pytestmark = pytest.mark.needs_redis


class Story:
    """A turn that is told word by word."""

    def __init__(self, fence: int = 1, turn_id: str | None = None) -> None:
        self.turn_id = turn_id or str(uuid4())
        self._seq = first_seq(fence) - 1
        self.length = 0

    def start(self) -> Event:
        return TurnStart(self.turn_id, self._next(), "thread", "message", "model")

    def word(self, word: str) -> Event:
        self.length += len(word)
        return TextEvent(self.turn_id, self._next(), word, self.length - len(word))

    def done(self) -> Event:
        return Done(self.turn_id, self._next(), FinishReason.STOP, None, 0)

    def _next(self) -> int:
        self._seq += 1
        return self._seq


async def followed(log: TurnLog, turn_id: str, after: int = 0) -> AsyncIterator[Event]:
    """Follow as the engine does: again, where nothing was heard for a while."""
    while True:
        async for event in log.follow(turn_id, after):
            after = event.seq
            yield event
            if isinstance(event, Done):
                return


async def text_of(log: TurnLog, turn_id: str) -> str:
    async with asyncio.timeout(PATIENCE_S):
        return fold([event async for event in followed(log, turn_id)]).text


async def text_until(log: TurnLog, turn_id: str, wanted: str) -> None:
    """Follow until this text is there."""
    folded = fold([])
    async with asyncio.timeout(PATIENCE_S):
        async for event in followed(log, turn_id):
            folded = fold([event], folded)
            if folded.text == wanted:
                return


async def test_a_turn_is_read_live_on_another_replica(redis_url: str) -> None:
    async with live_at(redis_url) as one, live_at(redis_url) as other:
        story = Story()
        one.log.append(story.turn_id, [story.start()])
        readers = [asyncio.ensure_future(text_of(other.log, story.turn_id)) for _ in range(100)]
        for word in ("Once ", "upon ", "a ", "time"):
            one.log.append(story.turn_id, [story.word(word)])
            await asyncio.sleep(0.01)
        one.log.append(story.turn_id, [story.done()])
        assert set(await asyncio.gather(*readers)) == {"Once upon a time"}
        one.log.forget(story.turn_id)
        async with Redis.from_url(redis_url) as redis:
            await eventually(lambda: gone(redis, story.turn_id))


async def gone(redis: Redis, turn_id: str) -> bool:
    return not await redis.exists(f"parley:turn:{turn_id}:log")


async def test_a_taker_goes_on_with_what_readers_saw_and_shuts_the_stale_owner_out(
    redis_url: str,
) -> None:
    async with live_at(redis_url) as one, live_at(redis_url) as two, live_at(redis_url) as three:
        story = Story()
        one.log.append(story.turn_id, [story.start(), story.word("Once "), story.word("upon ")])
        reader = asyncio.ensure_future(text_of(three.log, story.turn_id))
        await text_until(three.log, story.turn_id, "Once upon ")
        claimed = await two.log.claim(story.turn_id, 2)
        assert claimed.is_whole
        assert fold(claimed.events).text == "Once upon "
        one.log.append(story.turn_id, [story.word("a stale time")])
        await asyncio.sleep(2 * WINDOW_S)
        carried_on = Story(2, story.turn_id)
        carried_on.length = len("Once upon ")
        two.log.append(story.turn_id, [carried_on.word("a time"), carried_on.done()])
        assert await reader == "Once upon a time"
        assert await text_of(three.log, story.turn_id) == "Once upon a time"
        await one.log.leave(story.turn_id)
        assert await text_of(one.log, story.turn_id) == "Once upon a time"


async def test_news_are_heard_on_every_replica_once(redis_url: str) -> None:
    async with live_at(redis_url) as one, live_at(redis_url) as other:
        await hears(other, one)
        news = [TurnNews("a", str(uuid4()), TurnState.RUNNING) for _ in range(3)]
        with (
            one.announcements.listening("a") as here,
            other.announcements.listening("a") as there,
        ):
            for each in news:
                one.announcements.announce(each)
            assert await heard(here, len(news)) == news
            assert await heard(there, len(news)) == news


async def hears(listener: Live, teller: Live) -> None:
    """Wait until a replica hears another: what was told before it listened it does not."""
    with listener.announcements.listening("hello") as ears:
        hearing = asyncio.ensure_future(heard(ears, 1))
        while not hearing.done():
            teller.announcements.announce(TurnNews("hello", str(uuid4()), TurnState.RUNNING))
            await asyncio.wait({hearing}, timeout=0.1)
        await hearing


async def heard(listener: AsyncIterator[News | None], count: int) -> list[News]:
    """Hear so many news; that some may have been missed is none."""
    news: list[News] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(news) < count:
            news += filter(None, [await anext(listener)])
    return news


async def test_a_turn_of_a_thousand_tokens_costs_a_command_a_window(redis_url: str) -> None:
    """Not timed: there are never more commands than windows, however long it takes."""
    async with live_at(redis_url) as live, Redis.from_url(redis_url) as redis:
        stories = [Story() for _ in range(5)]
        for story in stories:
            live.log.append(story.turn_id, [story.start(), story.word("x")])
        before = (await calls(redis)).get("xadd", 0)
        began_at = asyncio.get_running_loop().time()
        for _ in range(1000):
            for story in stories:
                live.log.append(story.turn_id, [story.word("x")])
            await asyncio.sleep(0)
        for story in stories:
            await text_until(live.log, story.turn_id, "x" * 1001)
        windows = (asyncio.get_running_loop().time() - began_at) / WINDOW_S
        # One for each turn and window, and one for what is said in the middle of one.
        assert (await calls(redis))["xadd"] - before <= len(stories) * (windows + 2)


@pytest.mark.parametrize("away", ["killed", "frozen"])
async def test_a_turn_goes_on_without_redis_and_is_there_again_after_it(away: str) -> None:
    with redis_process() as server:
        async with (
            live_at(server.url, timeout_s=TIMEOUT_S) as one,
            live_at(server.url, timeout_s=TIMEOUT_S) as other,
        ):
            story = Story()
            one.log.append(story.turn_id, [story.start(), story.word("Once ")])
            await text_until(other.log, story.turn_id, "Once ")
            if away == "killed":
                await asyncio.to_thread(server.kill)
            else:
                server.freeze()
            one.log.append(story.turn_id, [story.word("upon ")])
            await text_until(one.log, story.turn_id, "Once upon ")
            assert [e async for e in other.log.follow(story.turn_id, first_seq(1) + 1)] == [], (
                "its readers are let go, to ask the rows"
            )
            with redis_again(server, away):
                one.announcements.announce(TurnNews("a", story.turn_id, TurnState.RUNNING))
                reader = asyncio.ensure_future(text_of(other.log, story.turn_id))
                await text_until(other.log, story.turn_id, "Once upon ")
                one.log.append(story.turn_id, [story.word("a time"), story.done()])
                assert await reader == "Once upon a time"


async def test_a_taker_has_what_it_read_of_a_log_that_redis_lost() -> None:
    with redis_process() as server:
        async with live_at(server.url) as one, live_at(server.url) as other:
            story = Story()
            one.log.append(story.turn_id, [story.start(), story.word("Once ")])
            await text_until(other.log, story.turn_id, "Once ")
            await asyncio.to_thread(server.kill)
            with redis_process(port=server.port):
                claimed = await other.log.claim(story.turn_id, 2)
            assert fold(claimed.events).text == "Once "
            assert not claimed.is_whole, "others may have read more"


async def test_a_taker_asks_a_redis_again_that_was_just_away() -> None:
    with redis_process() as server:
        async with live_at(server.url) as other:
            await asyncio.to_thread(server.kill)
            other.announcements.announce(TurnNews("a", "b", TurnState.RUNNING))
            await asyncio.sleep(3 * WINDOW_S)
            with redis_process(port=server.port):
                turn_id = await told_at(server.url, "Once ")
                claimed = await other.log.claim(turn_id, 2)
            assert fold(claimed.events).text == "Once "
            assert claimed.is_whole


async def told_at(url: str, word: str) -> str:
    """Leave a log with a word in a Redis, and name its turn."""
    story = Story()
    async with live_at(url) as one:
        one.log.append(story.turn_id, [story.start(), story.word(word)])
        await text_until(one.log, story.turn_id, word)
    return story.turn_id


async def test_a_log_says_that_redis_lost_it_or_does_not_take_it() -> None:
    with redis_process() as server:
        async with live_at(server.url) as one:
            story = Story()
            failed = asyncio.ensure_future(one.log.failed())
            one.log.append(story.turn_id, [story.start(), story.word("Once ")])
            await text_until(one.log, story.turn_id, "Once ")
            assert not failed.done()
            async with Redis.from_url(server.url) as redis:
                await redis.flushall()
            one.log.append(story.turn_id, [story.word("upon ")])
            await text_until(one.log, story.turn_id, "Once upon ")
            async with asyncio.timeout(PATIENCE_S):
                await failed
            failed = asyncio.ensure_future(one.log.failed())
            await asyncio.to_thread(server.kill)
            one.log.append(story.turn_id, [story.word("a time")])
            async with asyncio.timeout(PATIENCE_S):
                await failed


@contextmanager
def redis_again(server: RedisProcess, away: str) -> Iterator[None]:
    if away == "frozen":
        server.thaw()
        yield
        return
    with redis_process(port=server.port):
        yield


async def test_a_log_that_redis_lost_is_written_whole_again(redis_url: str) -> None:
    async with live_at(redis_url) as one, live_at(redis_url) as other:
        story = Story()
        one.log.append(story.turn_id, [story.start(), story.word("Once ")])
        await text_until(other.log, story.turn_id, "Once ")
        async with Redis.from_url(redis_url) as redis:
            await redis.delete(f"parley:turn:{story.turn_id}:log")
        one.log.append(story.turn_id, [story.word("upon ")])
        await text_until(other.log, story.turn_id, "Once upon ")
        async with live_at(redis_url) as third:
            await text_until(third.log, story.turn_id, "Once upon ")


async def test_nothing_leaves_a_process_that_was_frozen(redis_url: str) -> None:
    fresh = True
    async with live_at(redis_url, lambda: fresh) as one, live_at(redis_url) as other:
        story = Story()
        one.log.append(story.turn_id, [story.start(), story.word("Once ")])
        await text_until(other.log, story.turn_id, "Once ")
        fresh = False
        one.log.append(story.turn_id, [story.word("upon "), story.done()])
        await other.log.claim(story.turn_id, 2)
        one.log.withdraw(story.turn_id)
        fresh = True
        carried_on = Story(2, story.turn_id)
        carried_on.length = len("Once ")
        other.log.append(story.turn_id, [carried_on.word("again"), carried_on.done()])
        assert await text_of(other.log, story.turn_id) == "Once again"
