"""Counting while Redis goes and comes, and answers that are not heard: no more is ever taken."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from parley.chat.limits import Counted, Need, Refusal, Take
from parley.context.redis_address import read_redis_url
from parley.context.redis_guard import open_redis
from parley.live.redis_commands import Commands
from parley.live.redis_counters import RedisCounters
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.needs_redis

T = TypeVar("T")


class Line:
    """A line to Redis that a test cuts, or on which it loses the answers."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self.state = "fine"

    async def tried(self, name: str, command: Callable[[Redis], Awaitable[T]]) -> T | None:
        if self.state == "cut":
            return None
        reply = await self._commands.tried(name, command)
        return reply if self.state == "fine" else None

    async def insisted(self, name: str, command: Callable[[Redis], Awaitable[T]]) -> T | None:
        return await self.tried(name, command)


@pytest.fixture(scope="module")
async def commands(redis_of_session: str) -> AsyncIterator[Commands]:
    async with open_redis(read_redis_url(redis_of_session), PATIENCE_S) as guard:
        yield guard


def tokens(key: str, amount: int, limit: int) -> Take:
    return Take(f"tokens:{key}", amount, limit, 1000, Counted.TOKENS)


def place(key: str, limit: int) -> Take:
    return Take(f"place:{key}", 1, limit, 1000, Counted.PLACE)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["fine", "fine", "cut", "unheard"]),
        st.sampled_from(["take", "take", "reserve", "settle"]),
        st.integers(0, 100),
    ),
    max_size=40,
)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(limit=st.integers(1, 300), steps=STEPS)
async def test_whatever_is_lost_no_more_is_used_than_there_is(
    commands: Commands, limit: int, steps: list[tuple[str, str, int]]
) -> None:
    """Each turn uses no more than it was let; what one cannot know is taken, not left."""
    line = Line(commands)
    counters, key = RedisCounters(line), uuid4().hex
    may: dict[str, int] = {}
    used = 0
    for state, step, number in steps:
        line.state = state
        turns = list(may)
        turn_id = turns[number % len(turns)] if turns else ""
        if step == "take":
            new = uuid4().hex
            if await counters.take(new, [tokens(key, number + 1, limit)]) is None:
                may[new] = number + 1
        elif step == "reserve" and turn_id:
            reserved = await counters.reserve(turn_id, Need(0, 1, number + 1))
            if isinstance(reserved, int):
                may[turn_id] = max(may[turn_id], reserved)
            elif isinstance(reserved, Refusal):
                may[turn_id] = 0
        elif step == "settle" and turn_id:
            use = may.pop(turn_id) * (number % 3) // 2
            use = min(use, limit)
            used += use
            await counters.settle(turn_id, use)
        assert used + sum(may.values()) <= limit, (limit, steps)


async def test_what_was_used_while_it_was_away_is_told_when_it_is_back(commands: Commands) -> None:
    line, key = Line(commands), uuid4().hex
    counters, elsewhere = RedisCounters(line), RedisCounters(commands)
    assert await counters.take("before", [tokens(key, 10, 100)]) is None
    line.state = "cut"
    assert await counters.take("meanwhile", [tokens(key, 90, 100)]) is None
    assert await counters.take("more", [tokens(key, 1, 100)]) is not None, "it knows of the 10"
    await counters.settle("meanwhile", 50)
    line.state = "fine"
    assert await counters.take("after", [tokens(key, 41, 100)]) is not None
    assert await counters.take("after", [tokens(key, 40, 100)]) is None
    assert await elsewhere.take("there", [tokens(key, 1, 100)]) is not None


async def test_a_place_whose_end_was_not_told_is_free_when_it_is_back(commands: Commands) -> None:
    line, key, other = Line(commands), uuid4().hex, uuid4().hex
    counters = RedisCounters(line)
    assert await counters.take(uuid4().hex, [place(other, 9)]) is None
    turn_id = uuid4().hex
    assert await counters.take(turn_id, [place(key, 1)]) is None
    line.state = "cut"
    await counters.settle(turn_id, 0)
    line.state = "fine"
    assert await counters.take(uuid4().hex, [place(other, 9)]) is None
    assert await counters.take(uuid4().hex, [place(key, 1)]) is None
