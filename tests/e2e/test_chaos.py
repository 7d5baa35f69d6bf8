"""Chaos, for a while: nothing that was said is lost, and nothing is said twice."""

import os
from pathlib import Path
from random import SystemRandom

import pytest

from tests.e2e.allowance import CUT, FROZEN, KILLED, POSTGRES, REDIS, Fault, may_be_lost
from tests.e2e.chaos import chaos

SECONDS = 60 if os.environ.get("CI") == "true" else 15


@pytest.mark.needs_postgres
@pytest.mark.needs_redis
async def test_nothing_is_lost_or_doubled_whatever_dies(tmp_path: Path) -> None:
    result = await chaos(SECONDS, SystemRandom().randrange(10**6), tmp_path)
    assert not result.lost + result.doubled, result.table()
    assert result.turns
    assert result.faults


def test_what_chaos_may_lose_is_the_last_second_of_owner_and_redis() -> None:
    killed, redis = Fault(KILLED, 1, 10.0, 13.0), Fault(REDIS, 2, 9.5, 9.6)
    assert may_be_lost([9.2, 9.9], [1], [redis, killed])
    assert may_be_lost([9.2], [1], [killed, Fault(REDIS, 2, 11.0, 11.1)]), (
        "before it was taken over from"
    )
    assert may_be_lost([9.2], [1], [Fault(CUT, 1, 3.0, 11.0), killed])
    assert may_be_lost([9.2], [1], [redis, Fault(FROZEN, 1, 10.0, 13.0)])


def test_what_chaos_may_not_lose() -> None:
    killed, redis = Fault(KILLED, 1, 10.0, 13.0), Fault(REDIS, 2, 9.5, 9.6)
    assert not may_be_lost([9.2], [1], [killed]), "Redis was there"
    assert not may_be_lost([9.2], [1], [redis]), "its owner lived"
    assert not may_be_lost([9.2], [], [redis, killed]), "it was not taken over"
    assert not may_be_lost([9.2], [2], [redis, killed]), "another one died"
    assert not may_be_lost([8.0, 9.2], [1], [redis, killed]), "it was there for longer"
    assert not may_be_lost([9.2], [1], [killed, Fault(REDIS, 2, 8.0, 8.1)]), (
        "the log was written again"
    )
    assert not may_be_lost([9.2], [1], [killed, Fault(REDIS, 2, 20.0, 20.1)]), (
        "it had been taken over"
    )
    assert not may_be_lost([9.2], [1], [killed, Fault(CUT, 2, 3.0, 11.0)]), (
        "another one was cut off"
    )


def test_chaos_may_lose_more_where_the_database_was_away_too() -> None:
    killed, redis = Fault(KILLED, 1, 10.0, 13.0), Fault(REDIS, 2, 9.5, 9.6)
    away = Fault(POSTGRES, 3, 8.0, 9.0)
    assert may_be_lost([7.0], [1], [away, redis, killed])
    assert not may_be_lost([6.0], [1], [away, redis, killed])
    assert not may_be_lost([7.0], [1], [Fault(POSTGRES, 3, 7.0, 8.0), redis, killed]), "it was back"
