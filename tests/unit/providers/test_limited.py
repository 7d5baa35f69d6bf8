"""Limited: so many at a time, the others in order, and no place is ever lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from parley.chat.deltas import Delta
from parley.chat.errors import Overloaded, Unreachable
from parley.chat.models import CompletionRequest
from providers.limited import LimitConfig, Limited
from tests.fakes.scripted_provider import ScriptedProvider
from tests.patience import PATIENCE_S
from tests.unit.providers.support import REQUEST, Outcome, outcome_of


class Counting(ScriptedProvider):
    """Knows how many of its streams are open, and how many were at most."""

    def __init__(self) -> None:
        super().__init__()
        self.open = self.most = 0
        self.fails = False

    @override
    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator[AsyncIterator[Delta]]:
        if self.fails:
            raise Unreachable("x")
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            async with super().stream(request) as deltas:
                yield deltas
        finally:
            self.open -= 1


def limited(config: LimitConfig | None = None) -> tuple[Limited, Counting]:
    provider = Counting()
    return Limited(provider, config or LimitConfig(1)), provider


def asked(provider: Limited, name: str = "m") -> asyncio.Task[Outcome]:
    request = CompletionRequest(name, REQUEST.messages)
    return asyncio.ensure_future(outcome_of(provider, request))


async def settled() -> None:
    """Let every task come as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_those_who_wait_come_in_order() -> None:
    provider, behind = limited()
    tasks = [asked(provider, name) for name in "abcd"]
    for index in range(4):
        (await behind.call(index)).finish(str(index))
    assert [(await task).text for task in tasks] == list("0123")
    assert [call.request.model for call in behind.calls] == list("abcd")
    assert behind.most == 1


async def test_newcomer_does_not_overtake() -> None:
    provider, behind = limited()
    tasks = [asked(provider, "a"), asked(provider, "b")]
    (await behind.call()).finish()
    await tasks[0]
    tasks.append(asked(provider, "c"))
    for index in (1, 2):
        (await behind.call(index)).finish()
    await asyncio.gather(*tasks)
    assert [call.request.model for call in behind.calls] == list("abc")


async def test_full_queue_is_overloaded() -> None:
    config = LimitConfig(1, max_waiting=1, name="house", setting="models.house.max_concurrent")
    provider, behind = limited(config)
    tasks = [asked(provider), asked(provider)]
    await settled()
    error = (await outcome_of(provider)).error
    assert isinstance(error, Overloaded)
    assert (error.retry_after_s, error.provider) == (5.0, "house")
    assert error.message == (
        "house is at its limit of 1 at a time, and as many wait as may."
        " Try again in 5 seconds, or raise models.house.max_concurrent."
    )
    for index in range(2):
        (await behind.call(index)).finish()
    await asyncio.gather(*tasks)


async def test_waiting_has_an_end() -> None:
    provider, behind = limited(LimitConfig(1, wait_s=0.001))
    first = asked(provider)
    call = await behind.call()
    assert isinstance((await outcome_of(provider)).error, Overloaded)
    call.finish()
    await first
    again = asked(provider)
    (await behind.call(1)).finish("free")
    assert (await again).text == "free"


async def test_who_is_cancelled_leaves_no_hole() -> None:
    provider, behind = limited()
    tasks = [asked(provider, name) for name in "abc"]
    await settled()
    tasks[1].cancel()
    await settled()
    (await behind.call()).finish()
    (await behind.call(1)).finish("c")
    assert (await tasks[2]).text == "c"
    assert [call.request.model for call in behind.calls] == ["a", "c"]


async def test_slot_of_who_is_cancelled_as_it_comes_is_passed_on() -> None:
    provider, behind = limited()
    tasks = [asked(provider, name) for name in "abc"]
    await settled()
    tasks[0].cancel()
    await asyncio.sleep(0)  # its slot has gone to the second, which does not run yet
    tasks[1].cancel()
    (await behind.call(1)).finish("c")
    assert (await tasks[2]).text == "c"
    assert [call.request.model for call in behind.calls] == ["a", "c"]


@pytest.mark.parametrize("how", ["error", "cancel", "raise", "refuse"])
async def test_slot_is_free_after_every_end(how: str) -> None:
    provider, behind = limited()
    behind.fails = how == "refuse"
    task = asyncio.ensure_future(_raising(provider)) if how == "raise" else asked(provider)
    if how in {"error", "cancel"}:
        call = await behind.call()
        call.fail(Unreachable("x")) if how == "error" else task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    behind.fails, before = False, len(behind.calls)
    again = asked(provider)
    (await behind.call(before)).finish("free")
    assert (await again).text == "free"


async def _raising(provider: Limited) -> Outcome:
    async with provider.stream(REQUEST):
        raise ValueError("of the consumer")


steps = st.lists(
    st.tuples(st.sampled_from(["ask", "end", "fail", "cancel"]), st.integers(0, 5)), max_size=30
)


@given(st.integers(1, 3), st.integers(0, 3), steps)
async def test_no_place_is_ever_lost(
    limit: int, waiting: int, drawn: list[tuple[str, int]]
) -> None:
    provider, behind = limited(LimitConfig(limit, max_waiting=waiting))
    tasks: list[asyncio.Task[Outcome]] = []
    for what, index in drawn:
        if what == "ask":
            tasks.append(asked(provider))
        elif what == "cancel" and tasks:
            tasks[index % len(tasks)].cancel()
        elif behind.calls:
            call = behind.calls[index % len(behind.calls)]
            call.finish() if what == "end" else call.fail(Unreachable("x"))
        if index % 2:
            await settled()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (behind.open, behind.most <= limit) == (0, True)
    before = len(behind.calls)
    last = [asked(provider) for _ in range(limit)]
    async with asyncio.timeout(PATIENCE_S):
        for index in range(limit):
            (await behind.call(before + index)).finish("free")
        assert [(await task).text for task in last] == ["free"] * limit
