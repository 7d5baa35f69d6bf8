"""A round of tools, and JSON by a schema, between our providers and the fake, in every dialect."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from parley.chat.deltas import Finish, FinishReason, ToolCallDelta
from parley.chat.messages import Message, Role, ToolCallPart, ToolResultPart
from parley.chat.models import ResponseFormat, Sampling, ToolChoice, ToolSpec
from parley.fake_server.made_up import example_of
from providers import ask, connect
from tests.unit.fake_server.support import scripted
from tests.unit.providers.support import outcome_of

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 2},
        "unit": {"enum": ["C", "F"]},
        "more": {"type": "boolean"},
    },
    "required": ["city", "days", "unit"],
}
WEATHER = ToolSpec("weather", "Tells the weather.", SCHEMA)
CLOCK = ToolSpec("clock", "Tells the time.", {"type": "object", "properties": {}})
QUESTION = replace(ask("Bern?"), sampling=Sampling(max_tokens=50))
DIALECTS = {
    "openai": ("openai", "/v1", ""),
    "huggingface": ("huggingface", "/v1", ""),
    "tgi": ("tgi", "", 'dialect = "tgi"'),
    "gemini": ("gemini", "", ""),
}
EACH = pytest.mark.parametrize(("name", "path", "script"), DIALECTS.values(), ids=DIALECTS.keys())


@EACH
async def test_round_of_tools_ends_in_an_answer(name: str, path: str, script: str) -> None:
    offered = replace(QUESTION, tools=(CLOCK, WEATHER), tool_choice=ToolChoice(name="weather"))
    async with (
        scripted(script) as server,
        connect(name, base_url=server.root + path, api_key="hf_0123456789", model="fake") as model,
    ):
        called = await outcome_of(model, offered)
        deltas = [delta for delta in called.deltas if isinstance(delta, ToolCallDelta)]
        arguments = "".join(delta.arguments for delta in deltas)
        call = ToolCallPart(
            deltas[0].id or "call_1", deltas[0].name or "", arguments, deltas[0].signature
        )
        said = Message(Role.TOOL, (ToolResultPart(call.id, call.name, "Rain"),))
        messages = (*offered.messages, Message(Role.ASSISTANT, (call,)), said)
        answered = await outcome_of(model, replace(offered, messages=messages))
    assert call.name == "weather"
    assert json.loads(arguments) == {"city": "Bern?", "days": 2, "unit": "C"}
    finish = called.deltas[-1]
    assert isinstance(finish, Finish)
    # TGI calls it a stop, whatever it was.
    assert finish.reason is (FinishReason.STOP if name == "tgi" else FinishReason.TOOL_CALLS)
    assert answered.error is None
    assert "no model is connected" in answered.text


@EACH
async def test_tool_that_may_not_be_called_is_not(name: str, path: str, script: str) -> None:
    asked = replace(QUESTION, tools=(CLOCK,), tool_choice=ToolChoice("none"))
    async with (
        scripted(script) as server,
        connect(name, base_url=server.root + path, api_key="hf_0123456789", model="fake") as model,
    ):
        assert "no model is connected" in (await outcome_of(model, asked)).text


@EACH
async def test_json_is_of_the_schema(name: str, path: str, script: str) -> None:
    async with (
        scripted(script) as server,
        connect(name, base_url=server.root + path, api_key="hf_0123456789", model="fake") as model,
    ):
        given = await outcome_of(model, replace(QUESTION, response_format=ResponseFormat(SCHEMA)))
    Draft202012Validator(SCHEMA).validate(json.loads(given.text))


_LEAVES: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer", "minimum": 3},
        {"type": "number", "maximum": -1},
        {"type": "boolean"},
        {"type": "null"},
        {"enum": ["a", 1]},
        {"const": {"x": 1}},
        {"type": ["string", "null"]},
    ]
)
_SCHEMAS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(
            lambda i, n: {"type": "array", "items": i, "minItems": n}, inner, st.integers(0, 2)
        ),
        st.builds(
            lambda d: {"type": "object", "properties": d, "required": sorted(d)},
            st.dictionaries(st.sampled_from("abc"), inner),
        ),
        st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner),
    ),
    max_leaves=6,
)


@given(_SCHEMAS)
def test_made_up_value_is_of_its_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator(schema).validate(example_of(schema, "text"))
