"""Retrying: what passes is tried again, while nothing was heard, and what does not is told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from parley.chat.deltas import Delta, Finish, FinishReason, Text
from parley.chat.errors import (
    BrokenStream,
    ContentFiltered,
    ContextOverflow,
    CredentialsRefused,
    ModelMissing,
    Overloaded,
    ProtocolViolation,
    ProviderError,
    ProviderFault,
    RequestRefused,
    TimedOut,
    Unreachable,
)
from parley.chat.models import CompletionRequest
from providers.config import RetryConfig
from providers.retrying import Retrying, pause
from tests.fakes.model_server import answer, cut, json_reply, sse
from tests.fakes.scripted_provider import Call, ScriptedProvider
from tests.patience import PATIENCE_S
from tests.unit.providers.support import REQUEST, outcome_of, served

SOON = RetryConfig(first_pause_s=0)
PASSES: dict[str, Callable[[], ProviderError]] = {
    "no connection": lambda: Unreachable("x"),
    "no capacity": lambda: Overloaded("x"),
    "a fault": lambda: ProviderFault("x"),
    "an early end": lambda: BrokenStream("x"),
    "a slow connection": lambda: TimedOut("x", phase="connect"),
}
STAYS: dict[str, Callable[[], ProviderError]] = {
    "silence": lambda: TimedOut("x", phase="first_event"),
    "the total deadline": lambda: TimedOut("x", phase="total"),
    "another protocol": lambda: ProtocolViolation("x"),
    "a refused key": lambda: CredentialsRefused("x"),
    "a refused request": lambda: RequestRefused("x"),
    "a missing model": lambda: ModelMissing("x"),
    "a long context": lambda: ContextOverflow("x"),
    "a filter": lambda: ContentFiltered("x"),
}


class Playing(ScriptedProvider):
    """Each call says what is next of the list; the last one repeats."""

    def __init__(self, *scripts: Sequence[Delta | Exception]) -> None:
        super().__init__()
        self._scripts = scripts

    @override
    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator[AsyncIterator[Delta]]:
        async with super().stream(request) as deltas:
            call = self.calls[-1]
            for said in self._scripts[min(len(self.calls), len(self._scripts)) - 1]:
                call.fail(said) if isinstance(said, Exception) else call.send(said)
            call.hang_up()
            yield deltas


GOOD = (Text("Good "), Text("day"), Finish(FinishReason.STOP))


class Asked:
    """Whoever sent the request: what it heard, and what it answers."""

    def __init__(self, *, allows: bool = True) -> None:
        self.heard: list[str] = []
        self._allows = allows

    def may_retry(self, error: ProviderError, pause_s: float) -> bool:
        self.heard.append(type(error).__name__)
        return self._allows

    def begin(self) -> None:
        self.heard.append("begin")


@pytest.mark.parametrize("what", PASSES)
async def test_what_passes_is_tried_again(what: str) -> None:
    provider = Playing((PASSES[what](),), GOOD)
    outcome = await outcome_of(Retrying(provider, SOON))
    assert (outcome.text, outcome.error, len(provider.calls)) == ("Good day", None, 2)
    assert all(call.closed.is_set() for call in provider.calls)


@pytest.mark.parametrize("what", STAYS)
async def test_what_stays_is_told_at_once(what: str) -> None:
    error = STAYS[what]()
    provider = Playing((error,))
    assert (await outcome_of(Retrying(provider, SOON))).error is error
    assert len(provider.calls) == 1


async def test_nothing_is_retried_after_text() -> None:
    provider = Playing((Text("Half"), BrokenStream("x")))
    outcome = await outcome_of(Retrying(provider, SOON))
    assert (outcome.text, type(outcome.error)) == ("Half", BrokenStream)
    assert len(provider.calls) == 1


async def test_error_that_says_text_was_sent() -> None:
    error = BrokenStream("x", streamed=True)
    provider = Playing((error,))
    assert (await outcome_of(Retrying(provider, SOON))).error is error
    assert len(provider.calls) == 1


async def test_failure_of_the_consumer_is_its_own() -> None:
    provider = Playing(GOOD)
    with pytest.raises(Unreachable):
        async with Retrying(provider, SOON).stream(REQUEST):
            raise Unreachable("of something else")
    assert len(provider.calls) == 1


async def test_tries_have_a_number() -> None:
    error = Overloaded("x")
    provider = Playing((error,))
    assert (await outcome_of(Retrying(provider, SOON))).error is error
    assert len(provider.calls) == 3


async def test_tries_have_a_time() -> None:
    provider = Playing((Overloaded("x", retry_after_s=2),), GOOD)
    config = RetryConfig(total_s=1)
    assert type((await outcome_of(Retrying(provider, config))).error) is Overloaded
    assert len(provider.calls) == 1


async def test_long_retry_after_fails_at_once_and_is_told() -> None:
    provider = Playing((Overloaded("It is full.", retry_after_s=60),), GOOD)
    error = (await outcome_of(Retrying(provider, SOON))).error
    assert error is not None
    assert error.message == "It is full. It asks to be left alone for 60 seconds."
    assert (error.retry_after_s, len(provider.calls)) == (60, 1)


async def test_stream_without_a_delta_is_passed_on() -> None:
    outcome = await outcome_of(Retrying(Playing(()), SOON))
    assert (outcome.deltas, outcome.error) == ([], None)


async def test_sender_hears_of_each_try() -> None:
    asked = Asked()
    provider = Playing((Unreachable("x"),), (Overloaded("x"),), GOOD)
    request = CompletionRequest("m", REQUEST.messages, tries=asked)
    await outcome_of(Retrying(provider, SOON), request)
    assert asked.heard == ["Unreachable", "begin", "Overloaded", "begin"]


async def test_sender_may_forbid_a_try() -> None:
    asked = Asked(allows=False)
    provider = Playing((Unreachable("x"),), GOOD)
    request = CompletionRequest("m", REQUEST.messages, tries=asked)
    assert type((await outcome_of(Retrying(provider, SOON), request)).error) is Unreachable
    assert asked.heard == ["Unreachable"]


async def test_cancel_ends_a_pause_at_once() -> None:
    provider = Playing((Overloaded("x", retry_after_s=19),), GOOD)
    paused = asyncio.Event()

    class Pausing(Asked):
        @override
        def may_retry(self, error: ProviderError, pause_s: float) -> bool:
            paused.set()
            return True

    request = CompletionRequest("m", REQUEST.messages, tries=Pausing())
    task = asyncio.ensure_future(outcome_of(Retrying(provider, SOON), request))
    await paused.wait()
    task.cancel()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(task, return_exceptions=True)
    assert (task.cancelled(), len(provider.calls)) == (True, 1)


@given(
    st.integers(0, 2000),
    st.one_of(st.none(), st.floats(0, 3600)),
    st.floats(0, 10),
    st.floats(0, 60),
)
def test_pause_is_bounded(
    number: int, retry_after_s: float | None, first_s: float, most_s: float
) -> None:
    config = RetryConfig(first_pause_s=first_s, longest_pause_s=most_s)
    asked_s = retry_after_s or 0.0
    assert asked_s <= pause(retry_after_s, number, config) <= asked_s + most_s


said = st.lists(st.sampled_from([*PASSES, *STAYS]), max_size=5)


@given(said, st.integers(0, 4))
async def test_whatever_happens_there_is_one_end(failures: list[str], retries: int) -> None:
    errors = [{**PASSES, **STAYS}[what]() for what in failures]
    provider = Playing(*((error,) for error in errors), GOOD)
    asked = Asked()
    config = RetryConfig(retries=retries, first_pause_s=0)
    request = CompletionRequest("m", REQUEST.messages, tries=asked)
    outcome = await outcome_of(Retrying(provider, config), request)
    assert (outcome.error is None) == (outcome.text == "Good day")
    assert len(provider.calls) == 1 + asked.heard.count("begin") <= 1 + retries
    assert all(call.closed.is_set() for call in provider.calls)


async def test_server_that_comes_back() -> None:
    full = json_reply({"error": {"message": "busy"}}, 429)
    early_end = sse(cut)
    async with served(full, early_end, sse(*answer("Good day"))) as (provider, server):
        outcome = await outcome_of(Retrying(provider, SOON))
        assert (outcome.text, outcome.error) == ("Good day", None)
        assert len(server.requests) == 3


async def test_call_is_left_open_while_it_streams() -> None:
    provider = ScriptedProvider()
    async with asyncio.timeout(PATIENCE_S):
        opening = asyncio.ensure_future(_first(Retrying(provider, SOON)))
        call: Call = await provider.call()
        call.say("Good ")
        assert await opening == Text("Good ")
    assert call.closed.is_set()


async def _first(provider: Retrying) -> Delta:
    async with provider.stream(REQUEST) as deltas:
        return await anext(deltas)
