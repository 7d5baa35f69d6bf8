"""The breaker: opens once, says so once, and does not hurry a server that comes and goes."""

import pytest
from redis import exceptions as redis
from structlog.testing import capture_logs

from parley.context.breaker import Breaker
from parley.context.redis_faults import Trouble, trouble_of
from parley.observability.metrics import REGISTRY


def is_away() -> float | None:
    return REGISTRY.get_sample_value("parley_redis_away")


def outages(reason: Trouble) -> float:
    labels = {"reason": reason.value}
    return REGISTRY.get_sample_value("parley_redis_outages_total", labels) or 0


def test_it_says_once_that_it_opened_and_closed() -> None:
    breaker, before = Breaker("redis://h:1/0"), outages(Trouble.TIMEOUT)
    with capture_logs() as lines:
        assert breaker.open(Trouble.TIMEOUT, 0)
        assert not breaker.open(Trouble.UNREACHABLE, 0)
        assert is_away() == 1
        breaker.stay_open(Trouble.UNREACHABLE)
        breaker.close()
    assert [line["log_level"] for line in lines] == ["warning", "info"]
    assert (is_away(), outages(Trouble.TIMEOUT)) == (0, before + 1)


def test_what_was_asked_before_opens_it_no_more() -> None:
    breaker = Breaker("redis://h:1/0")
    assert breaker.open(Trouble.TIMEOUT, 0)
    breaker.close()
    assert not breaker.open(Trouble.TIMEOUT, 0)
    assert breaker.open(Trouble.TIMEOUT, breaker.generation)


def test_a_reason_to_do_something_about_is_said() -> None:
    breaker = Breaker("redis://h:1/0")
    breaker.open(Trouble.UNREACHABLE, 0)
    with capture_logs() as lines:
        for trouble in (Trouble.LOADING, Trouble.CREDENTIALS, Trouble.CREDENTIALS):
            breaker.stay_open(trouble)
    assert [line["reason"] for line in lines] == [Trouble.CREDENTIALS.words]
    assert "REDIS_URL" in lines[0]["reason"]


@pytest.mark.parametrize(("steady_s", "is_first"), [(1.0, False), (11.0, True)])
def test_pauses_grow_until_it_was_steady(steady_s: float, is_first: bool) -> None:
    now = 100.0
    breaker = Breaker("redis://h:1/0", lambda: now)
    breaker.open(Trouble.TIMEOUT, 0)
    pauses = [breaker.next_pause_s() for _ in range(6)]
    assert pauses[0] <= 0.5 < pauses[2] < pauses[-1] <= 5
    breaker.close()
    now += steady_s
    breaker.open(Trouble.TIMEOUT, breaker.generation)
    assert (breaker.next_pause_s() <= 0.5) is is_first


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (redis.ConnectionError("refused"), Trouble.UNREACHABLE),
        (ConnectionResetError(), Trouble.UNREACHABLE),
        (redis.TimeoutError(), Trouble.TIMEOUT),
        (TimeoutError(), Trouble.TIMEOUT),
        (redis.BusyLoadingError(), Trouble.LOADING),
        (redis.AuthenticationError("invalid"), Trouble.CREDENTIALS),
        (redis.NoPermissionError(), Trouble.NOT_ALLOWED),
        (redis.OutOfMemoryError(), Trouble.FULL),
        (redis.ReadOnlyError(), Trouble.READ_ONLY),
        (redis.MovedError("1 h:1"), Trouble.CLUSTER),
        (redis.ResponseError("WRONGTYPE Operation"), Trouble.WRONG_TYPE),
        (redis.ResponseError("unknown command 'GETEX', with args"), Trouble.TOO_OLD),
        (redis.ResponseError("MISCONF Redis is configured"), Trouble.REFUSED),
        (redis.InvalidResponse("hm"), Trouble.REFUSED),
        (AttributeError("hm"), Trouble.REFUSED),
    ],
)
def test_every_error_is_a_trouble(error: Exception, trouble: Trouble) -> None:
    assert trouble_of(error) is trouble
