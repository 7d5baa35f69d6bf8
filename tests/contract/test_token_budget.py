"""A day's tokens: however many turns run at once, no more is used than there is."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from uuid import uuid4

import pytest
import toktok  # type: ignore[import-untyped]  # has no stubs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from parley.auth.limits import Allowance, LimitConfig, open_limits
from parley.chat.deltas import Delta, Finish, FinishReason, Text, ToolCallDelta
from parley.chat.errors import BrokenStream, Overloaded, RateLimited
from parley.chat.limits import Counters, Need
from parley.chat.models import CompletionRequest, Sampling
from parley.chat.tools import ToolResult
from parley.chat.turns import Owner, Turn, TurnRequest
from parley.chat.usage import Usage
from parley.context.receipt import digest_of, read_receipt
from parley.context.tokens import MESSAGE_OVERHEAD
from parley.live.memory_counters import MemoryCounters
from tests.fakes.scripted_provider import ScriptedProvider
from tests.unit.chat.support import Bench, bench
from tests.unit.chat.toolbench import Toolbench, config_of

TOOLS = config_of(Toolbench(answer=lambda a: ToolResult(f"seen {a}")))
CONFIG = replace(TOOLS, running_limit=2000, queued_limit=2000)


@dataclass(frozen=True)
class Plan:
    """How a provider answers one call: after so many words it does what `ends` says."""

    words: int = 5
    ends: str = "stop"
    says_usage: bool = True
    keeps_to_length: bool = True


@dataclass
class Upstream(ScriptedProvider):
    """A provider that bills as OpenAI would, for all that it was asked and has said."""

    plans: Sequence[Plan] = (Plan(),)
    billed: int = 0
    calls_made: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    @override
    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator[AsyncIterator[Delta]]:
        plan = self.plans[self.calls_made % len(self.plans)]
        self.calls_made += 1
        if plan.ends == "refused":
            raise Overloaded("Come back later.", provider="scripted")
        yield self._answer(request, plan)

    async def _answer(self, request: CompletionRequest, plan: Plan) -> AsyncIterator[Delta]:
        asked = tokens_of(request)
        most = request.sampling.max_tokens if plan.keeps_to_length else None
        words = plan.words if most is None else min(plan.words, most)
        self.billed += asked
        said = 0
        for number in range(words):
            self.billed += 1
            said += 1
            yield Text(f" w{number % 10}")
            await asyncio.sleep(0)
        if plan.ends == "broken":
            raise BrokenStream("It broke off.", provider="scripted")
        calls = plan.ends == "calls" and bool(request.tools) and not is_last(request)
        if calls and words < plan.words + 1:
            self.billed += 1
            said += 1
            yield ToolCallDelta(0, "c", "look", "1")
        if plan.says_usage:
            yield Usage(asked, said)
        cut = FinishReason.LENGTH if words < plan.words else FinishReason.STOP
        yield Finish(FinishReason.TOOL_CALLS if calls else cut)


def is_last(request: CompletionRequest) -> bool:
    return bool(request.tool_choice and request.tool_choice.mode == "none")


def tokens_of(request: CompletionRequest) -> int:
    texts = [m.text + "".join(c.name + c.arguments for c in m.tool_calls) for m in request.messages]
    texts += [f"{t.name} {t.description} {t.parameters}" for t in request.tools]
    counts: list[int] = toktok.batch_count(texts, "cl100k_base", threads=1)
    return sum(count + MESSAGE_OVERHEAD for count in counts)


def limits_of(limit: int, expected: int = 100) -> LimitConfig:
    return LimitConfig(user=Allowance(tokens_a_day=limit), expected_tokens=expected)


@asynccontextmanager
async def limited(
    counters: Counters, limit: int, upstream: Upstream, expected: int = 100
) -> AsyncIterator[Bench]:
    """An engine under these limits; at the end of the block everything is settled."""
    async with (
        open_limits(limits_of(limit, expected), counters) as limits,
        bench(CONFIG, provider=upstream, admission=limits) as b,
    ):
        yield b


async def left_of(counters: Counters, limit: int, owner: Owner) -> int:
    """Look how many tokens are left."""
    probe = str(uuid4())
    async with open_limits(limits_of(limit, 0), counters) as limits:
        assert await limits.admit(probe, TurnRequest(owner, probe, "")) is None
        reserved = await limits.reserve(probe, Need(0, -limit, 10**12))
        limits.settle(probe, None)
    assert reserved is not None
    return reserved


def a_user() -> Owner:
    return Owner(id := str(uuid4()), f"https://op.example|{id}")


# What a question and the least answer to it may need.
ONE_TURN = 300


async def say(b: Bench, owner: Owner, text: str, max_tokens: int | None = None) -> str | None:
    """Say something in a thread of its own; gives the finish reason, None where it was refused."""
    request = TurnRequest(owner, str(uuid4()), text, sampling=Sampling(max_tokens=max_tokens))
    try:
        turn = (await b.engine.submit(request)).turn
    except RateLimited:
        return None
    folded = await b.folded(turn)
    assert folded.finish_reason is not None
    return folded.finish_reason.value


@pytest.mark.parametrize("keeps_to_length", [True, False])
async def test_a_thousand_turns_at_once_against_a_budget_for_a_hundred(
    counters: Counters, *, keeps_to_length: bool
) -> None:
    """However long the answers get: these never end by themselves, and some not when told to."""
    endless = Plan(words=10**9, keeps_to_length=keeps_to_length)
    owner, upstream = a_user(), Upstream(plans=[endless])
    limit = 100 * ONE_TURN
    async with limited(counters, limit, upstream, ONE_TURN) as b:
        answered, at_once = 0, 1000
        while ends := await asyncio.gather(
            *(say(b, owner, "Tell me all.", 100) for _ in range(at_once))
        ):
            assert set(ends) <= {None, "length", "error"}
            assert 0 < upstream.billed <= limit
            answered, at_once = answered + ends.count("length"), 10 * ("length" in ends)
    left = await left_of(counters, limit, owner)
    assert left >= 0
    # A reply of Redis that comes too late is taken as if it had reserved; here none is.
    if isinstance(counters, MemoryCounters):
        assert answered >= 100
        assert left < ONE_TURN, "what was reserved and not used was given back"


async def test_what_is_needed_is_used_and_the_rest_is_given_back(counters: Counters) -> None:
    """A hundred short answers, one after the other, cost no more than they say they do."""
    owner, upstream = a_user(), Upstream()
    async with limited(counters, 10_000, upstream) as b:
        for _ in range(20):
            assert await say(b, owner, "Hello?") == "stop"
    assert await left_of(counters, 10_000, owner) == 10_000 - upstream.billed


PLANS = st.lists(
    st.builds(
        Plan,
        words=st.integers(0, 300),
        ends=st.sampled_from(["stop", "calls", "broken", "refused"]),
        keeps_to_length=st.booleans(),
    ),
    min_size=1,
    max_size=8,
)
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200),
    st.integers(1, 300).map(lambda n: "a b c d " * n),
    st.integers(1, 300).map(lambda n: "The quick brown fox. " * n),
).filter(str.strip)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    limit=st.integers(1, 5000),
    expected=st.integers(1, 2000),
    plans=PLANS,
    asked=st.lists(st.tuples(TEXTS, st.none() | st.integers(1, 500)), min_size=1, max_size=12),
)
async def test_no_turns_whatever_they_do_use_more_than_there_is(
    counters: Counters,
    limit: int,
    expected: int,
    plans: list[Plan],
    asked: list[tuple[str, int | None]],
) -> None:
    owner, upstream = a_user(), Upstream(plans=plans)
    async with limited(counters, limit, upstream, expected) as b:
        await asyncio.gather(*(say(b, owner, text, most) for text, most in asked))
    assert upstream.billed <= limit
    assert 0 <= await left_of(counters, limit, owner) <= limit


async def ended(b: Bench, owner: Owner, text: str) -> Turn:
    turn = (await b.engine.submit(TurnRequest(owner, str(uuid4()), text))).turn
    await b.folded(turn)
    return await b.row(turn)


@pytest.mark.parametrize("says_usage", [True, False])
async def test_an_answer_that_the_budget_ends_says_so_and_its_receipt_fits(
    counters: Counters, says_usage: bool
) -> None:
    owner = a_user()
    upstream = Upstream(plans=[Plan(500, says_usage=says_usage, keeps_to_length=False)])
    async with limited(counters, 400, upstream) as b:
        row = await ended(b, owner, "Tell me all.")
        assert row.answer.finish_reason is FinishReason.LENGTH
        receipt = read_receipt(row.answer.receipt)
        assert receipt is not None
        assert receipt.sampling["max_tokens"] == row.answer.text.count(" w")
    assert 0 <= await left_of(counters, 400, owner) < 200


async def test_the_receipt_is_of_what_the_provider_was_asked(counters: Counters) -> None:
    owner, provider = a_user(), ScriptedProvider()
    async with (
        open_limits(limits_of(3000), counters) as limits,
        bench(CONFIG, provider=provider, admission=limits) as b,
    ):
        turn = (await b.engine.submit(TurnRequest(owner, str(uuid4()), "Hello?"))).turn
        call = await provider.call()
        assert call.request.sampling.max_tokens is not None
        call.finish("Yes.")
        await b.folded(turn)
        receipt = read_receipt((await b.row(turn)).answer.receipt)
        assert receipt is not None
        assert receipt.digest == digest_of(call.request)


async def test_a_turn_between_whose_tools_the_budget_ends_keeps_what_it_has(
    counters: Counters,
) -> None:
    owner = a_user()
    upstream = Upstream(plans=[Plan(20, ends="calls")])
    async with limited(counters, 500, upstream) as b:
        row = await ended(b, owner, "Look again and again.")
        assert row.answer.error_code == "rate_limited"
        assert "too few tokens left today, of 500" in str(row.answer.error_message)
        assert " w1" in row.answer.text
        assert upstream.billed <= 500


async def test_without_a_budget_nobody_shortens_an_answer() -> None:
    async with bench(CONFIG) as b:
        turn = await b.submit()
        call = await b.provider.call()
        assert call.request.sampling.max_tokens is None
        call.finish("Yes.")
        await b.folded(turn)
