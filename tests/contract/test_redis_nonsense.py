"""A server that is no Redis, or not in its right mind: a turn never hears of it."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parley.context.record_json import encode_record
from parley.context.redis_client import TIMEOUT_S
from tests.contract.redis_support import (
    THREAD,
    answering,
    bulk,
    outcomes,
    record,
    since,
    store_at,
)
from tests.patience import PATIENCE_S


def encoded(thread_id: str) -> bytes:
    data = encode_record(thread_id, record("one"))
    assert data is not None
    return data


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "refused"),
        (b"*1\r\n$1\r\nx\r\n", "miss"),
        (b":1\r\n", "miss"),
        (b"-ERR something\r\n", "refused"),
        (b"-MISCONF Redis is configured to save RDB snapshots\r\n", "refused"),
        (b"-ERR unknown command `GETEX`, with args beginning with: `x`\r\n", "too_old"),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", "cluster"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "loading"),
        (b"-NOAUTH Authentication required.\r\n", "credentials"),
        (b"$1000000\r\n{", "timeout"),
        (b"", "unreachable"),
    ],
)
async def test_whatever_it_answers_is_a_miss(reply: bytes, outcome: str) -> None:
    before = outcomes("loads")
    timeout_s = TIMEOUT_S if outcome == "timeout" else PATIENCE_S
    async with answering(reply) as url, store_at(url, timeout_s) as store:
        assert await store.load(THREAD) is None
        assert since(before, "loads") == {outcome: 1}
        await store.save(THREAD, record("one"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=40) | st.sampled_from([b"$", b"*", b":", b"+", b"-", b"_", b"%", b">"]))
def test_any_answer_is_a_miss(reply: bytes) -> None:
    async def ask() -> None:
        async with answering(reply + b"\r\n") as url, store_at(url, TIMEOUT_S) as store:
            assert await store.load(THREAD) is None
            await store.save(THREAD, record("one"))

    asyncio.run(ask())


async def test_an_answer_too_many_is_no_answer_to_the_next() -> None:
    """What is left of one answer, another thread's record, is not read as the next."""
    theirs, ours = bulk(encoded("theirs")), bulk(encoded(THREAD))
    async with answering(theirs + theirs, ours) as url, store_at(url) as store:
        assert await store.load("theirs")
        found = [await store.load(THREAD) for _ in range(3)]
    assert {f.exchanges[0].answer_text for f in found if f} <= {"one"}
    assert found[-1], "the connection is not stuck"
