"""A function as a provider: any kind of function, its errors, its end, and what Stop does to it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from parley.chat.deltas import Finish, FinishReason, Reasoning, Text
from parley.chat.errors import Overloaded, ProviderFault, RequestRefused, TimedOut
from parley.chat.messages import Message
from parley.chat.models import (
    CompletionRequest,
    HealthState,
    ResponseFormat,
    Sampling,
    ToolChoice,
    ToolSpec,
)
from parley.chat.ports import Provider
from parley.chat.usage import Usage
from providers.config import Connection, Deadlines, Function
from providers.function import FunctionProvider, function_of, provider
from providers.plugins import load_plugin
from tests.unit.providers.support import REQUEST, Outcome, late, outcome_of

EXAMPLE = Path(__file__).parents[3] / "examples" / "my_model.py"
Messages = Sequence[Message]


def of(call: Callable[..., object], deadlines: Deadlines | None = None) -> FunctionProvider:
    function = Function("mine", call, f"{__file__}:1")
    return FunctionProvider(function, Connection("mine", "", deadlines=deadlines or Deadlines()))


async def said_by(call: Callable[..., object], request: CompletionRequest = REQUEST) -> Outcome:
    return await outcome_of(of(call), request)


async def async_generator(messages: Messages) -> AsyncIterator[str]:
    yield messages[-1].text
    yield ""
    yield "!"


async def async_function(messages: Messages) -> str:
    return messages[-1].text + "!"


def plain_generator(messages: Messages) -> Iterator[str]:
    yield messages[-1].text
    yield "!"


def plain_function(messages: Messages) -> str:
    return messages[-1].text + "!"


def list_of_pieces(messages: Messages) -> list[str]:
    return [messages[-1].text, "!"]


@pytest.mark.parametrize(
    "call",
    [async_generator, async_function, plain_generator, plain_function, list_of_pieces],
)
async def test_every_kind_of_function_answers(call: Callable[..., object]) -> None:
    outcome = await said_by(call)
    assert (outcome.text, outcome.error) == ("Hello?!", None)
    assert outcome.deltas[-1] == Finish(FinishReason.STOP)
    assert Text("") not in outcome.deltas


async def test_function_that_says_nothing_just_ends() -> None:
    assert (await said_by(lambda messages: None)).deltas == [Finish(FinishReason.STOP)]


async def test_deltas_of_our_own_are_kept() -> None:
    def call(messages: Messages) -> Iterator[object]:
        yield Usage(1, 2)
        yield Reasoning("hm")
        yield "a"
        yield Finish(FinishReason.LENGTH, "full")
        yield "never"

    said = (await said_by(call)).deltas
    assert said == [Reasoning("hm"), Text("a"), Usage(1, 2), Finish(FinishReason.LENGTH, "full")]


async def test_options_are_what_the_request_sets() -> None:
    seen: dict[str, object] = {}

    async def call(messages: Messages, **options: object) -> None:
        seen.update(options)

    await said_by(call, replace(REQUEST, sampling=Sampling(temperature=0.0, stop=("x",))))
    assert seen == {"model": "m", "temperature": 0.0, "stop": ("x",)}


async def test_function_without_options_gets_none() -> None:
    seen: list[object] = []

    def call(messages: Messages, temperature: float = 1.0) -> None:
        seen.append(temperature)

    await said_by(call, replace(REQUEST, sampling=Sampling(temperature=0.5, max_tokens=3)))
    assert seen == [0.5]


def fails_at_once(messages: Messages) -> str:
    raise ValueError(messages[-1].text)


async def fails_late(messages: Messages) -> AsyncIterator[str]:
    yield "a"
    raise KeyError(messages[-1].text)


async def gives_numbers(messages: Messages) -> AsyncIterator[int]:
    yield 42


@pytest.mark.parametrize(
    ("call", "said", "text"),
    [
        (fails_at_once, r"mine failed: ValueError in test_function\.py:\d+", ""),
        (fails_late, r"mine failed: KeyError in test_function\.py:\d+", "a"),
        (gives_numbers, "mine failed: it gave int and not text", ""),
    ],
)
async def test_error_is_typed_and_quotes_nobody(
    call: Callable[..., object], said: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = await said_by(call)
    assert isinstance(outcome.error, ProviderFault)
    assert (outcome.text, outcome.error.streamed) == (text, bool(text))
    with pytest.raises(ProviderFault, match=said) as caught:
        raise outcome.error
    assert "Hello?" not in caught.value.message + caplog.text


async def test_typed_errors_stay_what_they_are() -> None:
    def call(messages: Messages) -> None:
        raise Overloaded("The GPU is busy.", provider="mine")

    error = (await said_by(call)).error
    assert isinstance(error, Overloaded)
    assert error.message == "The GPU is busy."


async def test_silent_function_runs_out_of_time() -> None:
    async def call(messages: Messages) -> AsyncIterator[str]:
        yield "a"
        await asyncio.Event().wait()

    outcome = await outcome_of(of(call, late("idle")))
    assert isinstance(outcome.error, TimedOut)
    assert (outcome.text, outcome.error.phase) == ("a", "idle")


async def test_stop_closes_an_async_generator() -> None:
    closed = asyncio.Event()

    async def call(messages: Messages) -> AsyncIterator[str]:
        try:
            while True:
                yield "a"
        finally:
            closed.set()

    async with of(call).stream(REQUEST) as deltas:
        assert await anext(aiter(deltas)) == Text("a")
    assert closed.is_set()


async def test_stop_abandons_a_thread() -> None:
    """Leaving does not wait for it; it ends at its next piece, and its generator is closed."""
    go_on, closed = threading.Event(), threading.Event()

    def call(messages: Messages) -> Iterator[str]:
        try:
            yield "a"
            go_on.wait()
            yield "late"
        finally:
            closed.set()

    async with of(call).stream(REQUEST) as deltas:
        assert await anext(aiter(deltas)) == Text("a")
    assert not closed.is_set()
    go_on.set()
    assert await asyncio.to_thread(closed.wait, 10)


async def test_thread_is_never_far_ahead() -> None:
    """Whoever reads slowly does not make a fast function fill the memory."""
    made, closed = 0, threading.Event()

    def call(messages: Messages) -> Iterator[str]:
        nonlocal made
        try:
            while True:
                made += 1
                yield "a"
        finally:
            closed.set()

    async with of(call).stream(REQUEST) as deltas:
        await anext(aiter(deltas))
    assert await asyncio.to_thread(closed.wait, 10)
    assert made < 100


async def test_other_streams_go_on_beside_a_blocking_function() -> None:
    blocked = threading.Event()

    def call(messages: Messages) -> str:
        blocked.wait()
        return "done"

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(said_by(call))
        assert (await said_by(async_generator)).text == "Hello?!"
        blocked.set()
    assert waiting.result().text == "done"


async def test_function_is_healthy_and_counts_nothing() -> None:
    mine: Provider = of(plain_function)
    assert (await mine.health()).state is HealthState.OK
    assert [info.id for info in await mine.models()] == ["mine"]
    assert mine.tokenizer("mine") is None
    await mine.aclose()


def test_registered_function_stays_what_it_is() -> None:
    register = provider("as-it-is")
    assert register(plain_function) is plain_function
    registration = function_of(plain_function)
    assert registration is not None
    assert registration.name == "as-it-is"
    assert registration.origin.startswith(__file__)


@pytest.mark.parametrize("name", ["", "A", "a b", "a:b", "-a", "a" * 65])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a provider"):
        provider(name)


async def test_example_is_a_plug_in_that_answers() -> None:
    shout, count = load_plugin(EXAMPLE)
    assert (shout.name, count.name) == ("shout", "count")
    assert (await outcome_of(FunctionProvider(shout, Connection("shout", "")))).text == "HELLO?"
    assert (await outcome_of(FunctionProvider(count, Connection("count", "")))).text == "1 "


def test_plug_in_is_run_once_in_a_process() -> None:
    assert load_plugin(EXAMPLE) is load_plugin(EXAMPLE)


TOOL = ToolSpec("clock", "Tells the time.", {"type": "object", "properties": {}})


async def test_function_gets_the_tools_that_it_has_a_parameter_for() -> None:
    def call(messages: Messages, *, tools: Sequence[ToolSpec], tool_choice: ToolChoice) -> str:
        return f"{tools[0].name} {tool_choice.mode}"

    request = replace(REQUEST, tools=(TOOL,), tool_choice=ToolChoice("required"))
    assert (await said_by(call, request)).text == "clock required"


@pytest.mark.parametrize(
    "request_",
    [replace(REQUEST, tools=(TOOL,)), replace(REQUEST, response_format=ResponseFormat())],
)
async def test_function_that_takes_no_tools_says_so(request_: CompletionRequest) -> None:
    given = await said_by(plain_function, request_)
    assert type(given.error) is RequestRefused
    assert "give its function a parameter" in given.error.message
