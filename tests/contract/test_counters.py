"""Counters: however many ask at once, no more is taken than there is; in memory and in Redis."""

import asyncio
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parley.auth.limits import Allowance, LimitConfig, open_limits
from parley.chat.limits import Counted, Counters, Need, Refusal, Take
from parley.chat.owner import current_address
from parley.chat.turns import Owner, TurnRequest
from tests.contract.support import an_owner
from tests.patience import eventually


def tokens(key: str, amount: int, limit: int) -> Take:
    return Take(f"tokens:{key}", amount, limit, 1000, Counted.TOKENS)


def place(key: str, limit: int) -> Take:
    return Take(f"place:{key}", 1, limit, 1000, Counted.PLACE)


def new_id() -> str:
    return str(uuid4())


async def test_a_thousand_turns_at_once_get_the_hundred_that_there_are(counters: Counters) -> None:
    """Each reserves 50 tokens of 5,000, uses fewer, and gives the rest back."""
    key, turns = new_id(), [new_id() for _ in range(1000)]

    async def ask(turn_id: str) -> bool:
        return await counters.take(turn_id, [tokens(key, 50, 5000)]) is None

    let_in = [
        id for id, ok in zip(turns, await asyncio.gather(*map(ask, turns)), strict=True) if ok
    ]
    assert len(let_in) == 100
    for turn_id in let_in:
        await counters.settle(turn_id, 40)
    again = await asyncio.gather(*(ask(new_id()) for _ in range(100)))
    assert sum(again) == (5000 - 100 * 40) // 50


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    limit=st.integers(1, 500),
    asked=st.lists(st.tuples(st.integers(1, 100), st.integers(0, 100)), max_size=20),
)
async def test_what_is_reserved_and_used_is_never_more_than_there_is(
    counters: Counters, limit: int, asked: list[tuple[int, int]]
) -> None:
    key, reserved, used = new_id(), 0, 0
    for amount, share in asked:
        turn_id = new_id()
        refusal = await counters.take(turn_id, [tokens(key, amount, limit)])
        assert (refusal is None) == (reserved + used + amount <= limit)
        if refusal is None and share % 2:
            await counters.settle(turn_id, amount * share // 100)
            used += amount * share // 100
        elif refusal is None:
            reserved += amount
        assert reserved + used <= limit


async def test_all_is_taken_or_nothing(counters: Counters) -> None:
    one, other = new_id(), new_id()
    assert await counters.take(new_id(), [tokens(other, 5, 5)]) is None
    refusal = await counters.take(new_id(), [tokens(one, 1, 1), tokens(other, 1, 5)])
    assert refusal is not None
    assert refusal.take.key == f"tokens:{other}"
    assert await counters.take(new_id(), [tokens(one, 1, 1)]) is None


async def test_a_place_is_free_again_and_only_once(counters: Counters) -> None:
    key, first = new_id(), new_id()
    assert await counters.take(first, [place(key, 1)]) is None
    refusal = await counters.take(new_id(), [place(key, 1)])
    assert refusal is not None
    assert refusal.retry_after_s == 5
    await counters.settle(first, 0)
    await counters.settle(first, 0)
    assert await counters.take(new_id(), [place(key, 1)]) is None
    assert await counters.take(new_id(), [place(key, 1)]) is not None


async def test_what_never_began_costs_nothing(counters: Counters) -> None:
    key, turn_id = new_id(), new_id()
    assert await counters.take(turn_id, [tokens(key, 5, 5)]) is None
    await counters.settle(turn_id, None)
    assert await counters.take(new_id(), [tokens(key, 5, 5)]) is None


async def test_a_turn_takes_more_while_there_is_some(counters: Counters) -> None:
    key, one, other = new_id(), new_id(), new_id()
    assert await counters.take(one, [tokens(key, 10, 100), place(key, 5)]) is None
    assert await counters.take(other, [tokens(key, 10, 100)]) is None
    assert await counters.reserve(one, Need(0, 1, 50)) == 50
    assert (
        await counters.reserve(one, Need(0, 1, 30)) == 30
    )  # it has them already, and keeps the rest
    assert await counters.reserve(other, Need(0, 1, 70)) == 50
    refusal = await counters.reserve(one, Need(20, 51, 52))
    assert isinstance(refusal, Refusal)
    assert refusal.take.key.endswith(f"tokens:{key}")
    assert (refusal.take.limit, refusal.take.counted) == (100, Counted.TOKENS)
    assert 0 < refusal.retry_after_s <= 1000
    # Refused, it has given back what it had not used.
    assert await counters.reserve(other, Need(0, 80, 100)) == 80
    await counters.settle(one, 20)
    await counters.settle(other, 80)
    assert await counters.take(new_id(), [tokens(key, 1, 100)]) is not None


async def test_the_scarcest_of_what_a_turn_counts_for_decides(counters: Counters) -> None:
    mine, everyones, turn_id = new_id(), new_id(), new_id()
    takes = [tokens(mine, 10, 1000), tokens(everyones, 10, 40)]
    assert await counters.take(turn_id, takes) is None
    assert await counters.reserve(turn_id, Need(0, 1, 500)) == 40
    assert await counters.take(new_id(), [tokens(mine, 900, 1000)]) is None
    refusal = await counters.reserve(turn_id, Need(0, 41, 500))
    assert isinstance(refusal, Refusal)
    assert refusal.take.limit == 40


async def test_what_took_no_tokens_is_not_counted(counters: Counters) -> None:
    turn_id = new_id()
    assert await counters.take(turn_id, [place(new_id(), 5)]) is None
    assert await counters.reserve(turn_id, Need(0, 1, 10**9)) is None


async def test_a_rate_says_when_to_come_back(counters: Counters) -> None:
    take = Take(f"turns:{new_id()}", 1, 3, 60, Counted.RATE)
    taken = [await counters.take(None, [take]) for _ in range(4)]
    assert taken[:3] == [None] * 3
    assert taken[3] is not None
    assert 0 < taken[3].retry_after_s <= 60


async def test_a_rate_begins_anew_when_its_time_is_over(counters: Counters) -> None:
    take = Take(f"turns:{new_id()}", 1, 1, 1, Counted.RATE)
    assert await counters.take(None, [take]) is None

    async def is_taken_again() -> bool:
        return await counters.take(None, [take]) is None

    assert not await is_taken_again()
    await eventually(is_taken_again)
    assert not await is_taken_again()


LIMITS = LimitConfig(
    user=Allowance(turns_a_minute=3),
    guest=Allowance(requests_a_minute=4, turns_a_minute=2, tokens_a_day=20_000),
    everyone=Allowance(running_turns=1000),
    expected_tokens=100,
)


def asked(owner: Owner) -> TurnRequest:
    return TurnRequest(owner, new_id(), "hello")


def a_guest() -> Owner:
    return Owner(id := new_id(), f"guest:{id}")


async def test_users_may_more_than_guests(counters: Counters) -> None:
    user, guest = an_owner(), a_guest()
    user = Owner(user.id, f"https://op.example|{user.id}")
    async with open_limits(LIMITS, counters) as limits:
        of_user = [await limits.admit(new_id(), asked(user)) for _ in range(4)]
        of_guest = [await limits.admit(new_id(), asked(guest)) for _ in range(3)]
    assert [refusal is None for refusal in of_user] == [True, True, True, False]
    assert [refusal is None for refusal in of_guest] == [True, True, False]
    refusal = of_guest[2]
    assert refusal is not None
    assert refusal.retry_after_s
    assert "2 times in a minute" in refusal.message


@pytest.mark.parametrize(("address", "counts"), [("192.0.2.", True), ("127.0.0.1", False)])
async def test_guests_of_one_address_share_what_guests_have(
    counters: Counters, address: str, counts: bool
) -> None:
    token = current_address.set(f"2001:db8::{new_id()[:4]}" if counts else address)
    try:
        async with open_limits(LIMITS, counters) as limits:
            refusals = [await limits.admit(new_id(), asked(a_guest())) for _ in range(3)]
    finally:
        current_address.reset(token)
    assert (refusals[2] is not None) is counts


async def test_who_has_many_addresses_of_one_network_is_counted_once(counters: Counters) -> None:
    network, other = (f"2001:db8:{new_id()[:4]}:{new_id()[:4]}" for _ in range(2))
    refusals = []
    async with open_limits(LIMITS, counters) as limits:
        for host in (f"{network}::1", f"{network}:9:9:9:9", f"{network}::3", f"{other}::1"):
            token = current_address.set(host)
            refusals.append(await limits.admit(new_id(), asked(a_guest())))
            current_address.reset(token)
    assert [refusal is None for refusal in refusals] == [True, True, False, True]


async def test_a_day_has_its_tokens(counters: Counters) -> None:
    config = LimitConfig(user=Allowance(tokens_a_day=1000), expected_tokens=400)
    user = Owner(new_id(), "user")
    async with open_limits(config, counters) as limits:
        one, two = new_id(), new_id()
        assert await limits.admit(one, asked(user)) is None
        assert await limits.admit(two, asked(user)) is None
        refusal = await limits.admit(new_id(), asked(user))
        assert refusal is not None
        assert "too few tokens left today, of 1000" in refusal.message
        limits.settle(one, 50)
        limits.settle(two, None)
    async with open_limits(config, counters) as limits:
        assert await limits.admit(new_id(), asked(user)) is None
