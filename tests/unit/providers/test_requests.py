"""Each dialect writes tools, calls, results, images and forms of an answer as its servers take them.

Against published schemas, against the official SDKs' own types, and back: nothing gets lost.
"""

import json
from base64 import b64decode
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.genai import types
from huggingface_hub import ChatCompletionInput
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from openai.types.chat import (
    ChatCompletionMessageParam,
    ChatCompletionToolChoiceOptionParam,
    ChatCompletionToolUnionParam,
)
from openai.types.shared_params import ResponseFormatJSONObject, ResponseFormatJSONSchema
from pydantic import TypeAdapter

from parley.chat.errors import RequestRefused
from parley.chat.messages import (
    ImagePart,
    Message,
    Part,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from parley.chat.models import CompletionRequest, ResponseFormat, Sampling, ToolChoice
from providers import gemini_request, openai_request
from providers.config import Connection
from providers.demo import DemoProvider
from providers.huggingface import HuggingFace
from providers.openai_request import COMPATIBLE, ENDPOINT, OPENAI, TGI, Habits, narrowed
from tests.fakes.model_server import answer, sse
from tests.unit.providers.conversations import CLOCK, SCHEMA, WEATHER, requests
from tests.unit.providers.support import REQUEST, outcome_of
from tests.unit.providers.test_model_server import with_nulls
from tests.unit.providers.wires import GEMINI, HUGGINGFACE, TGI_CHAT, TGI_NATIVE, outcome, played

FIXTURE = Path(__file__).parents[2] / "fixtures" / "tgi-requests.schema.json"
TGI_REQUEST = Draft202012Validator(
    {"$ref": "#/components/schemas/ChatRequest", **with_nulls(json.loads(FIXTURE.read_text()))}
)
SIGNED = '{"google":{"thought_signature":"c2ln"}}'
CALL = ToolCallPart("c1", "weather", '{"city": "Bern"}', SIGNED)
ROUND = (
    Message(Role.USER, (TextPart("Look:"), ImagePart("image/png", b"png"))),
    Message(Role.ASSISTANT, (TextPart("Let me see."), CALL)),
    Message(Role.TOOL, (ToolResultPart("c1", "weather", "Rain"),)),
)
ASKED = CompletionRequest(
    "m", ROUND, Sampling(stop=("x",), seed=7), (WEATHER,), ToolChoice(name="weather")
)


def written(request: CompletionRequest, habits: Habits = COMPATIBLE) -> Any:
    return json.loads(msgspec.json.encode(openai_request.render(request, Sampling(), habits)))


def told(request: CompletionRequest, sampling: Sampling | None = None) -> Any:
    """What Gemini is sent."""
    body = gemini_request.render(request, sampling or request.sampling, thinks=False)
    return json.loads(msgspec.json.encode(body))


def test_openai_is_asked_word_for_word() -> None:
    function = {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA}
    assert written(ASKED) == {
        "model": "m",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look:"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n"}},
                ],
            },
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Bern"}'},
                        "extra_content": {"google": {"thought_signature": "c2ln"}},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "Rain"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "stop": ["x"],
        "seed": 7,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    }


def test_tgi_gets_calls_alone_and_objects() -> None:
    """Its router takes a message with text for one without calls, and quotes strings again."""
    body = written(ASKED, TGI)
    assert body["messages"][1] == {
        "role": "assistant",
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "weather", "arguments": {"city": "Bern"}},
                "extra_content": {"google": {"thought_signature": "c2ln"}},
            }
        ],
    }
    assert body["tools"][0]["function"]["arguments"] == SCHEMA


@pytest.mark.parametrize("habits", [OPENAI, COMPATIBLE, TGI, ENDPOINT])
@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (ResponseFormat(), {"type": "json_object"}),
        (
            ResponseFormat(SCHEMA, "w", strict=True),
            {"type": "json_schema", "json_schema": {"name": "w", "schema": SCHEMA, "strict": True}},
        ),
    ],
)
def test_form_is_openais_and_tgis_too(
    habits: Habits, form: ResponseFormat, expected: dict[str, object]
) -> None:
    also = {"value": {"name": "w", "schema": SCHEMA}} if habits.grammar and form.schema else {}
    sent = written(replace(REQUEST, response_format=form), habits)
    assert sent["response_format"] == {**expected, **also}


@settings(max_examples=40)
@given(requests())
def test_openais_own_types_take_it(request: CompletionRequest) -> None:
    body = written(request, OPENAI)
    TypeAdapter(list[ChatCompletionMessageParam]).validate_python(body["messages"], strict=True)
    TypeAdapter(list[ChatCompletionToolUnionParam]).validate_python(body.get("tools", []))
    if "tool_choice" in body:
        TypeAdapter(ChatCompletionToolChoiceOptionParam).validate_python(body["tool_choice"])
    if "response_format" in body:
        form = ResponseFormatJSONObject | ResponseFormatJSONSchema
        TypeAdapter(form).validate_python(body["response_format"])
    assert "extra_content" not in json.dumps(body), "OpenAI knows nothing of Gemini's"


@settings(max_examples=40)
@given(requests())
def test_tgis_schema_takes_it(request: CompletionRequest) -> None:
    TGI_REQUEST.validate(written(request, TGI))


@settings(max_examples=40)
@given(requests())
def test_hugging_faces_own_types_take_it(request: CompletionRequest) -> None:
    parsed = ChatCompletionInput.parse_obj_as_instance(written(request, ENDPOINT))
    assert [m.role for m in parsed.messages] == [m.role.value for m in request.messages]


def _read_back(message: dict[str, Any], names: dict[str, str]) -> Message:
    """Read a message of OpenAI's dialect; errors of tools are not told apart there."""
    if message["role"] == "tool":
        id = message["tool_call_id"]
        return Message(Role.TOOL, (ToolResultPart(id, names[id], message["content"]),))
    parts: list[Part] = []
    content: Any = message.get("content", [])
    listed: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for part in listed:
        if part["type"] == "text":
            parts.append(TextPart(part["text"]))
        else:
            kind, data = part["image_url"]["url"].removeprefix("data:").split(";base64,")
            parts.append(ImagePart(kind, b64decode(data)))
    for call in message.get("tool_calls", []):
        function = call["function"]
        names[call["id"]] = function["name"]
        parts.append(ToolCallPart(call["id"], function["name"], function["arguments"]))
    return Message(Role(message["role"]), tuple(parts))


@settings(max_examples=40)
@given(requests())
def test_nothing_gets_lost_at_openai(request: CompletionRequest) -> None:
    names: dict[str, str] = {}
    back = [_read_back(message, names) for message in written(request)["messages"]]
    assert back == [_plain(message) for message in request.messages]


def _plain(message: Message) -> Message:
    """The message without what only another dialect's wire carries."""
    parts = [
        replace(part, signature=None)
        if isinstance(part, ToolCallPart)
        else replace(part, is_error=False)
        if isinstance(part, ToolResultPart)
        else part
        for part in message.parts
    ]
    return replace(message, parts=tuple(parts))


@settings(max_examples=40)
@given(requests("gemini-2.5-flash"))
def test_googles_own_types_take_it(request: CompletionRequest) -> None:
    body = told(request)
    contents = TypeAdapter(list[types.Content]).validate_python(body["contents"])
    TypeAdapter(list[types.Tool]).validate_python(body.get("tools", []))
    types.ToolConfig.model_validate(body.get("toolConfig", {}))
    types.GenerationConfig.model_validate(body["generationConfig"])
    roles = [content.role for content in contents]
    assert set(roles) <= {"user", "model"}
    parts = [part for content in contents for part in content.parts or []]
    kept = [part for m in request.messages if m.role is not Role.SYSTEM for part in m.parts]
    assert [_read_part(part) for part in parts] == [_without_signature(part) for part in kept]


def _read_part(part: types.Part) -> Part:
    if (call := part.function_call) is not None:
        return ToolCallPart(call.id or "", call.name or "", json.dumps(call.args))
    if (said := part.function_response) is not None:
        failed = "error" in (said.response or {})
        text = (said.response or {})["error" if failed else "output"]
        return ToolResultPart(said.id or "", said.name or "", text, failed)
    if (image := part.inline_data) is not None:
        return ImagePart(image.mime_type or "", image.data or b"")
    return TextPart(part.text or "")


def _without_signature(part: Part) -> Part:
    return replace(part, signature=None) if isinstance(part, ToolCallPart) else part


@settings(max_examples=40)
@given(requests("gemini-2.5-flash"))
def test_results_of_calls_made_together_stay_together(request: CompletionRequest) -> None:
    """Gemini refuses another number of results than of calls in the message before."""
    contents = told(request)["contents"]
    for before, after in pairwise(contents):
        calls = [p["functionCall"]["id"] for p in before["parts"] if "functionCall" in p]
        if calls:
            assert [p["functionResponse"]["id"] for p in after["parts"]] == calls


def test_gemini_is_asked_word_for_word() -> None:
    calls = (replace(CALL, signature="c2ln"), ToolCallPart("c2", "clock", "[1]"))
    request = replace(
        ASKED,
        tools=(WEATHER, CLOCK),
        messages=(
            ROUND[0],
            Message(Role.ASSISTANT, calls),
            ROUND[2],
            Message(Role.TOOL, (ToolResultPart("c2", "clock", "broken", is_error=True),)),
        ),
    )
    assert told(request) == {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "Look:"},
                    {"inlineData": {"mimeType": "image/png", "data": "cG5n"}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {
                        "functionCall": {"id": "c1", "name": "weather", "args": {"city": "Bern"}},
                        "thoughtSignature": "c2ln",
                    },
                    {"functionCall": {"id": "c2", "name": "clock", "args": {"arguments": [1]}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "c1", "name": "weather", "response": {"output": "Rain"}}},
                    {"functionResponse": {"id": "c2", "name": "clock", "response": {"error": "broken"}}},
                ],
            },
        ],
        "generationConfig": {"stopSequences": ["x"], "seed": 7},
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "weather", "description": "Tells the weather.", "parametersJsonSchema": SCHEMA},
                    {"name": "clock", "description": "Tells the time.", "parametersJsonSchema": dict(CLOCK.parameters)},
                ]
            }
        ],
        "toolConfig": {
            "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "signature", "sent"),
    [
        ("gemini-2.5-flash", None, None),
        ("gemini-2.5-flash", "c2ln", "c2ln"),
        ("gemini-3-pro-preview", "c2ln", "c2ln"),
        ("gemini-3-pro-preview", None, "skip_thought_signature_validator"),
        ("models/gemini-flash-latest", SIGNED, "skip_thought_signature_validator"),
    ],
)
def test_call_of_another_model_is_marked_as_such(
    model: str, signature: str | None, sent: str | None
) -> None:
    message = Message(Role.ASSISTANT, (replace(CALL, signature=signature),))
    (content,) = told(replace(REQUEST, model=model, messages=(message,)))["contents"]
    assert content["parts"][0].get("thoughtSignature") == sent


@pytest.mark.parametrize(
    ("choice", "mode"),
    [("auto", "AUTO"), ("none", "NONE"), ("required", "ANY")],
)
def test_choice_is_geminis_mode(choice: Any, mode: str) -> None:
    body = told(replace(REQUEST, tools=(CLOCK,), tool_choice=ToolChoice(choice)))
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": mode}}


@pytest.mark.parametrize("schema", [None, SCHEMA])
def test_form_is_geminis(schema: dict[str, object] | None) -> None:
    sent = told(replace(REQUEST, response_format=ResponseFormat(schema)))["generationConfig"]
    expected = {"responseMimeType": "application/json"}
    assert sent == (expected if schema is None else {**expected, "responseJsonSchema": schema})


def test_named_tool_is_the_only_one_for_llama_cpp() -> None:
    """It reads a choice by name over, and would call any."""
    request = replace(ASKED, tools=(WEATHER, CLOCK))
    assert narrowed(request).tools == (WEATHER,)
    assert narrowed(request).tool_choice == ToolChoice("required")
    assert narrowed(REQUEST) is REQUEST


async def test_every_wire_sends_it() -> None:
    """What is written is what goes out, of the dialects that chat."""
    for wire, model in ((TGI_CHAT, "tgi"), (HUGGINGFACE, "m"), (GEMINI, "gemini-2.5-flash")):
        async with played(wire, sse(*wire.answer("a"))) as (provider, server):
            given = await outcome_of(provider, replace(ASKED, model=model))
        assert given.error is None, wire.name
        sent = server.requests[0].json
        assert "weather" in json.dumps(sent["tools"]), wire.name
        assert "cG5n" in server.requests[0].body.decode(), wire.name


async def test_router_is_asked_as_openai() -> None:
    router = HuggingFace(Connection("huggingface", "", "hf_0123456789"))
    sent = json.loads(msgspec.json.encode((await router.written(ASKED)).body))
    assert sent == written(ASKED)


BEYOND = {
    "tools": replace(REQUEST, tools=(WEATHER,)),
    "images": replace(REQUEST, messages=ROUND[:1]),
    "calls": replace(REQUEST, messages=(*REQUEST.messages, *ROUND[1:])),
    "JSON": replace(REQUEST, response_format=ResponseFormat(SCHEMA)),
}


@pytest.mark.parametrize("request_", BEYOND.values(), ids=BEYOND.keys())
async def test_native_wire_of_tgi_refuses(request_: CompletionRequest) -> None:
    async with played(TGI_NATIVE, sse(*answer("a"))) as (provider, server):
        given = await outcome_of(provider, request_)
    assert type(given.error) is RequestRefused
    assert "its native wire takes text alone" in given.error.message
    assert given.error.message.endswith("or choose a model whose server has chat.")
    assert server.requests == []


async def test_tgi_writes_no_json_without_a_schema() -> None:
    request = replace(REQUEST, response_format=ResponseFormat())
    given = await outcome(TGI_CHAT, sse(*TGI_CHAT.answer("a")), request=request)
    assert type(given.error) is RequestRefused
    assert "by a schema only, and none was given. Send a schema" in given.error.message


@pytest.mark.parametrize("asked", ["tools", "JSON"])
async def test_demo_refuses(asked: str) -> None:
    given = await outcome_of(DemoProvider(0), BEYOND[asked])
    assert (type(given.error), given.deltas) == (RequestRefused, [])
