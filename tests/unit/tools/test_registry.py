"""The registry: a function with a docstring is a tool, bounded, and its failures are results."""

import asyncio
from dataclasses import replace
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from parley.chat.errors import InvalidRequest
from parley.chat.models import ResponseFormat, ToolSpec
from parley.chat.tools import Source
from parley.chat.turns import Extras
from parley.tools.definition import Result, registrations, tool, tool_of
from parley.tools.failures import ToolFailed
from parley.tools.registry import ToolRegistry
from tests.fakes.scripted_provider import OneModel, ScriptedProvider
from tests.unit.context.support import Desk


async def add(
    a: Annotated[int, Field(description="The first")], b: int = 2, words: list[str] | None = None
) -> str:
    """Add two numbers.

    More about it.
    """
    return f"{a + b}{words or ''}"


async def fail(how: str) -> str:
    """Fail."""
    if how == "typed":
        raise ToolFailed("Ask differently.", "not_found")
    if how == "slow":
        await asyncio.Event().wait()
    raise KeyError("secret")


async def write(chars: int) -> Result:
    """Write much."""
    return Result("x\0" * chars, [Source("t", "http://t")] * 50)


REGISTRY = ToolRegistry(
    [
        tool_of(add, "Adding {a} to\n{b}"),
        tool_of(fail, timeout_s=0.01),
        tool_of(write, limit_chars=10),
    ]
)


def test_schema_is_that_of_the_function() -> None:
    spec = tool_of(add).spec
    assert spec.name == "add"
    assert spec.description == "Add two numbers.\n\nMore about it."
    assert spec.parameters["required"] == ["a"]
    assert spec.parameters["additionalProperties"] is False
    properties = spec.parameters["properties"]
    assert isinstance(properties, dict)
    assert properties["a"] == {"description": "The first", "title": "A", "type": "integer"}
    assert properties["b"]["default"] == 2


async def test_tool_is_called_with_its_arguments() -> None:
    assert (await REGISTRY.run("add", '{"a": 40}')).text == "42"
    assert (await REGISTRY.run("add", '{"a": 1, "b": 1, "words": ["x"]}')).text == "2['x']"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("{", "Invalid JSON"),
        ("", "a: Field required"),
        ("[]", "the whole"),
        ("null", "the whole"),
        ('{"a": "x"}', "a: Input should be"),
        ('{"a": 1, "c": 2}', "c: Extra inputs"),
        ('{"a": 1.5}', "a: Input should be"),
        ("[" * 100_000, "JSON"),
        ('{"a": ' + "9" * 5000 + "}", "out of range"),
    ],
)
async def test_wrong_arguments_are_told(arguments: str, word: str) -> None:
    result = await REGISTRY.run("add", arguments)
    assert result.error == "invalid_arguments"
    assert word in result.text


@given(st.text(max_size=40))
def test_whatever_the_model_writes_is_answered(arguments: str) -> None:
    result = asyncio.run(REGISTRY.run("add", arguments))
    assert result.error in {None, "invalid_arguments"}
    assert REGISTRY.action("add", arguments)


async def test_failures_are_results() -> None:
    typed = await REGISTRY.run("fail", '{"how": "typed"}')
    assert (typed.text, typed.error) == ("Ask differently.", "not_found")
    assert (await REGISTRY.run("fail", '{"how": "slow"}')).error == "timeout"
    inside = await REGISTRY.run("fail", '{"how": "x"}')
    assert inside.error == "failed"
    assert "secret" not in inside.text
    unknown = await REGISTRY.run("rm", "{}")
    assert unknown.error == "unknown_tool"
    assert "add, fail, write" in unknown.text


async def test_results_are_bounded_and_storable() -> None:
    result = await REGISTRY.run("write", '{"chars": 100}')
    assert result.text == "x\ufffd" * 5 + "\n[Cut here: there is more.]"
    assert len(result.sources) == 20


def test_action_says_what_is_about_to_happen() -> None:
    assert REGISTRY.action("add", '{"a": 1}') == "Adding 1 to 2"
    assert REGISTRY.action("add", "{") == "Calling add"
    assert REGISTRY.action("fail", '{"how": "x"}') == "Calling fail"
    assert REGISTRY.action("gone", "{}") == ""
    long = tool_of(add, "{words}").says('{"a": 1, "words": ["' + "x" * 500 + '"]}')
    assert len(long) == 200


def test_what_cannot_be_a_tool_says_why() -> None:
    async def bare(a: int) -> str:
        return ""

    async def untyped(a) -> str:  # type: ignore[no-untyped-def]  # what is tried
        """Do."""
        return ""

    async def many(*a: int) -> str:
        """Do."""
        return ""

    def blocking(a: int) -> str:
        """Do."""
        return ""

    for wrong, word in (
        (bare, "docstring"),
        (untyped, "type"),
        (many, "neither"),
        (blocking, "async"),
    ):
        with pytest.raises(TypeError, match=word):
            tool_of(wrong)  # type: ignore[arg-type]  # what is tried
    with pytest.raises(TypeError, match="no name"):
        tool_of(add, name="a b")


def test_decorator_registers_and_leaves_the_function() -> None:
    @tool("Doing {a}", name="decorated")
    async def function(a: int) -> str:
        """Do."""
        return str(a)

    assert asyncio.run(function(1)) == "1"
    assert registrations()[-1].spec.name == "decorated"


async def offered(
    extras: Extras,
    configured: tuple[str, ...] | None = None,
    *,
    tools: bool = True,
    window: int | None = None,
) -> list[str]:
    desk = Desk()
    route = OneModel(ScriptedProvider(), window, tools=tools).resolve(None)
    route = replace(route, tools=configured)
    turn = await desk.begin(extras=extras)
    return [spec.name for spec in REGISTRY.offered(turn, route)]


async def test_model_thread_and_request_say_which_tools() -> None:
    everything = ["add", "fail", "write"]
    assert await offered(Extras()) == everything
    assert await offered(Extras(), tools=False) == []
    assert await offered(Extras(), ("fail",)) == ["fail"]
    assert await offered(Extras(), ()) == []
    assert await offered(Extras(use_tools=("write", "add"))) == ["add", "write"]
    assert await offered(Extras(use_tools=("write", "add")), ("add",)) == ["add"]
    assert await offered(Extras(use_tools=())) == []


async def test_small_model_has_tools_only_where_they_are_named() -> None:
    everything = ["add", "fail", "write"]
    assert await offered(Extras(), window=4096) == []
    assert await offered(Extras(), window=8192) == everything
    assert await offered(Extras(use_tools=("add",)), window=4096) == ["add"]
    assert await offered(Extras(), ("add",), window=4096) == ["add"]


async def test_callers_own_tools_and_json_are_not_mixed_with_ours_unasked() -> None:
    theirs = (ToolSpec("theirs", "", {}),)
    assert await offered(Extras(tools=theirs)) == []
    assert await offered(Extras(tools=theirs, use_tools=("add",))) == ["add"]
    assert await offered(Extras(response_format=ResponseFormat())) == []


def test_request_that_names_what_is_not_there_is_refused() -> None:
    info = OneModel(ScriptedProvider()).models()[0]
    unable = OneModel(ScriptedProvider(), tools=False).models()[0]
    REGISTRY.check(Extras(use_tools=("add",)), info)
    REGISTRY.check(Extras(use_tools=()), unable)
    with pytest.raises(InvalidRequest, match=r"'gone'\. There are: add"):
        REGISTRY.check(Extras(use_tools=("add", "gone")), info)
    with pytest.raises(InvalidRequest, match="tools = true"):
        REGISTRY.check(Extras(use_tools=("add",)), unable)
