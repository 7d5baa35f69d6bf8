"""Gemini's own dialect: what is written, how thoughts, calls, blocks and ends are read."""

from dataclasses import replace
from typing import Any

import pytest

from parley.chat.deltas import Delta, Finish, FinishReason, Reasoning, Text, ToolCallDelta
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
)
from parley.chat.messages import Message, Role
from parley.chat.models import Capabilities, HealthState, ModelInfo, Sampling
from parley.chat.usage import Usage
from providers.gemini import GEMINI_URL, Gemini, versioned_url
from tests.fakes import gemini_wire as wire
from tests.fakes.model_server import body, json_reply, sse
from tests.unit.providers.support import REQUEST, outcome_of
from tests.unit.providers.wires import GEMINI, KEY, outcome, played

STOP = Finish(FinishReason.STOP, "STOP")


async def asked(model: str = "gemini-2.5-flash", *messages: Message, **sampling: Any) -> Any:
    """What is sent."""
    request = replace(REQUEST, model=model, sampling=Sampling(**sampling))
    request = replace(request, messages=messages or request.messages)
    async with played(GEMINI, sse(*wire.answer("a"))) as (provider, server):
        assert (await outcome_of(provider, request)).text == "a"
    return server.requests[0]


async def test_roles_are_geminis() -> None:
    sent = await asked(
        "gemini-2.0-flash",
        Message.of(Role.SYSTEM, "Be brief."),
        Message.of(Role.USER, "Hi"),
        Message.of(Role.ASSISTANT, "Hello."),
        Message.of(Role.USER, "Bye"),
    )
    assert sent.json == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"text": "Hello."}]},
            {"role": "user", "parts": [{"text": "Bye"}]},
        ],
        "generationConfig": {},
    }


async def test_sampling_is_geminis() -> None:
    sent = await asked(
        "gemini-2.0-flash", max_tokens=9, temperature=0.7, top_p=0.9, stop=("x",), seed=7
    )
    assert sent.json["generationConfig"] == {
        "maxOutputTokens": 9,
        "temperature": 0.7,
        "topP": 0.9,
        "stopSequences": ["x"],
        "seed": 7,
    }


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        ("gemini-2.5-flash", True),
        ("models/gemini-3-pro-preview", True),
        ("gemini-flash-latest", True),
        ("gemini-2.0-flash", False),
        ("gemini-2.5-flash-image", False),
        ("gemma-3-27b-it", False),
    ],
)
async def test_thoughts_are_asked_of_models_that_think(model: str, *, thinks: bool) -> None:
    sent = await asked(model)
    expected = {"thinkingConfig": {"includeThoughts": True}} if thinks else {}
    assert sent.json["generationConfig"] == expected


async def test_thoughts_can_be_turned_off() -> None:
    async with played(GEMINI, sse(*wire.answer("a"))) as (_, server):
        connection = replace(GEMINI.connection(server.root), options={"thoughts": "off"})
        provider = Gemini(connection)
        await outcome_of(provider, replace(REQUEST, model="gemini-2.5-flash"))
        await provider.aclose()
    assert server.requests[0].json["generationConfig"] == {}


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash"),
        ("models/gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash"),
        ("tunedModels/mine", "/v1beta/tunedModels/mine"),
        ("a?b#c", "/v1beta/models/a%3Fb%23c"),
    ],
)
async def test_model_is_part_of_the_address(model: str, path: str) -> None:
    sent = await asked(model)
    assert sent.path.partition(":")[0] == path
    assert sent.headers["x-goog-api-key"] == KEY
    assert "authorization" not in sent.headers, "Google takes that for another kind of key"


@pytest.mark.parametrize(
    ("pasted", "address"),
    [
        ("", GEMINI_URL),
        ("https://generativelanguage.googleapis.com", GEMINI_URL),
        (f"{GEMINI_URL}/openai/", GEMINI_URL),
        (f"{GEMINI_URL}/openai/chat/completions", GEMINI_URL),
        (f"{GEMINI_URL}//models/gemini-2.5-flash:generateContent", GEMINI_URL),
        ("https://x.example/v1", "https://x.example/v1"),
    ],
)
def test_address_is_written_in_any_form(pasted: str, address: str) -> None:
    assert versioned_url(pasted) == address


CALL = {"functionCall": {"name": "weather", "args": {"city": "Zürich"}}}
SAID: dict[str, tuple[tuple[bytes, ...], list[Delta]]] = {
    "thoughts": ((wire.thought("hm"), wire.said("a"), wire.ended()), [Reasoning("hm"), Text("a"), Usage(3, 2), STOP]),
    "thoughts are paid for": ((wire.said("a"), wire.ended(thoughtsTokenCount=5)), [Text("a"), Usage(3, 7, reasoning_tokens=5), STOP]),
    "cached": ((wire.said("a"), wire.ended(cachedContentTokenCount=1)), [Text("a"), Usage(3, 2, cached_tokens=1), STOP]),
    "parts of one event": ((wire.response({"text": "h", "thought": True, "thoughtSignature": "aGk="}, {"text": "a"}), wire.ended()), [Reasoning("h"), Text("a"), Usage(3, 2), STOP]),
    "calls": ((wire.response(CALL, CALL), wire.ended()), [ToolCallDelta(0, None, "weather", '{"city": "Zürich"}'), ToolCallDelta(1, None, "weather", '{"city": "Zürich"}'), Usage(3, 2), Finish(FinishReason.TOOL_CALLS, "STOP")]),
    "call with an id": ((wire.response({"functionCall": {"name": "f", "id": "c1"}}), wire.ended()), [ToolCallDelta(0, "c1", "f", "{}"), Usage(3, 2), Finish(FinishReason.TOOL_CALLS, "STOP")]),
    "call with a signature": ((wire.response({**CALL, "thoughtSignature": "c2ln"}), wire.ended()), [ToolCallDelta(0, None, "weather", '{"city": "Zürich"}', "c2ln"), Usage(3, 2), Finish(FinishReason.TOOL_CALLS, "STOP")]),
    "call without arguments": ((wire.response({"functionCall": {"name": "f", "args": None}}), wire.ended()), [ToolCallDelta(0, None, "f", "{}"), Usage(3, 2), Finish(FinishReason.TOOL_CALLS, "STOP")]),
    "other parts": ((wire.response({"executableCode": {"code": "1", "language": "PYTHON"}}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}, {"novel": 1}), wire.answer("a")[0], wire.ended()), [Text("a"), Usage(3, 2), STOP]),
    "no usage": ((wire.response({"text": "a"}, finish="STOP"),), [Text("a"), STOP]),
    "half a usage": ((wire.said("a"), wire.response(finish="STOP")), [Text("a"), STOP]),
    "no candidates": ((wire.gemini_event({"usageMetadata": {"promptTokenCount": 3}}), wire.gemini_event({}), *wire.answer("a")), [Text("a"), Usage(3, 2), STOP]),
    "another candidate": ((wire.gemini_event({"candidates": [{"index": 1, "content": {"parts": [{"text": "b"}]}, "finishReason": "OTHER"}, {"content": {"parts": [{"text": "a"}]}}]}), wire.ended()), [Text("a"), Usage(3, 2), STOP]),
    "another candidate alone": ((wire.gemini_event({"candidates": [{"index": 1, "content": {"parts": [{"text": "b"}]}}]}), *wire.answer("a")), [Text("a"), Usage(3, 2), STOP]),
    "content without parts": ((wire.gemini_event({"candidates": [{"content": {"role": "model"}}]}), *wire.answer("a")), [Text("a"), Usage(3, 2), STOP]),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "expected"), SAID.values(), ids=SAID.keys())
async def test_parts_are_read(sent: tuple[bytes, ...], expected: list[Delta]) -> None:
    given = await outcome(GEMINI, sse(*sent))
    assert (given.deltas, given.error) == (expected, None)


FINISHES = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "OTHER": FinishReason.UNKNOWN,
    "MALFORMED_FUNCTION_CALL": FinishReason.UNKNOWN,
    "A_NEW_ONE": FinishReason.UNKNOWN,
}


@pytest.mark.parametrize("raw", FINISHES)
async def test_finish_is_mapped(raw: str) -> None:
    given = await outcome(GEMINI, sse(wire.said("a"), wire.ended(raw)))
    assert given.deltas == [Text("a"), Usage(3, 2), Finish(FINISHES[raw], raw)]


BLOCKED = {
    "the message": wire.gemini_event({"promptFeedback": {"blockReason": "SAFETY"}}),
    "the whole answer": wire.gemini_event({"candidates": [{"finishReason": "PROHIBITED_CONTENT"}]}),
}


@pytest.mark.parametrize("sent", BLOCKED.values(), ids=BLOCKED.keys())
async def test_block_is_an_error_that_says_so(sent: bytes) -> None:
    given = await outcome(GEMINI, sse(sent))
    assert (type(given.error), given.deltas) == (ContentFiltered, [])
    assert given.error is not None
    assert "was blocked" in given.error.message


async def test_reason_that_is_none_is_no_end() -> None:
    given = await outcome(GEMINI, sse(wire.said("a"), wire.ended("FINISH_REASON_UNSPECIFIED")))
    assert (type(given.error), given.deltas) == (BrokenStream, [Text("a")])


async def test_error_of_a_gateway_is_told() -> None:
    said = wire.gemini_event({"message": "out of quota", "code": 429})
    given = await outcome(GEMINI, sse(wire.said("a"), said))
    assert (type(given.error), given.deltas) == (Overloaded, [Text("a")])
    assert given.error is not None
    assert "out of quota" in given.error.message


async def test_call_that_the_model_got_wrong_is_no_empty_answer() -> None:
    given = await outcome(GEMINI, sse(wire.ended("MALFORMED_FUNCTION_CALL")))
    assert (type(given.error), given.deltas) == (ProviderFault, [])
    assert given.error is not None
    assert "MALFORMED_FUNCTION_CALL" in given.error.message


FAILED: dict[str, tuple[int, str, str, type[ProviderError]]] = {
    "key": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", CredentialsRefused),
    "denied": (403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers", CredentialsRefused),
    "model": (404, "NOT_FOUND", "models/x is not found for API version v1beta", ModelMissing),
    "context": (400, "INVALID_ARGUMENT", "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).", ContextOverflow),
    "argument": (400, "INVALID_ARGUMENT", "Invalid value at 'generation_config'", RequestRefused),
    "quota": (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", Overloaded),
    "inside": (500, "INTERNAL", "An internal error has occurred", ProviderFault),
    "capacity": (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", Overloaded),
}  # fmt: skip


@pytest.mark.parametrize(("code", "status", "said", "error"), FAILED.values(), ids=FAILED.keys())
async def test_failure_is_typed_before_and_in_the_stream(
    code: int, status: str, said: str, error: type[ProviderError]
) -> None:
    failure = wire.failure(code, status, said)
    for reply in (
        json_reply(failure, code),
        json_reply([failure], code),
        sse(wire.said("a"), wire.gemini_event(failure)),
    ):
        given = await outcome(GEMINI, reply)
        assert type(given.error) is error
        assert said[:30] in given.error.message


@pytest.mark.parametrize(
    "sent", [{"candidates": 5}, {"candidates": [{"content": "x"}]}, {"candidates": ["x"]}]
)
async def test_response_of_a_wrong_shape_is_a_violation(sent: object) -> None:
    given = await outcome(GEMINI, sse(wire.gemini_event(sent)))
    assert type(given.error) is ProtocolViolation


LISTED = [
    {"name": "models/gemini-2.5-flash", "displayName": "Gemini 2.5 Flash", "inputTokenLimit": 1048576, "thinking": True, "supportedGenerationMethods": ["generateContent", "countTokens"]},
    {"name": "models/text-embedding-004", "supportedGenerationMethods": ["embedContent"]},
]  # fmt: skip


async def test_models_are_those_that_answer() -> None:
    async with played(GEMINI) as (provider, server):
        server.routes["GET /v1beta/models?pageSize=1000"] = json_reply({"models": LISTED})
        server.routes["GET /v1beta/models"] = json_reply({"models": LISTED})
        capabilities = Capabilities(context_window=1048576, reasoning=True)
        name = "gemini-2.5-flash"
        expected = ModelInfo(f"gemini:{name}", "gemini", name, "Gemini 2.5 Flash", capabilities)
        assert await provider.models() == [expected]
        assert (await provider.health()).state is HealthState.OK
        assert provider.tokenizer(name) is None


async def test_list_that_is_none_is_a_violation() -> None:
    async with played(GEMINI) as (provider, server):
        for path in ("GET /v1beta/models?pageSize=1000", "GET /v1beta/models"):
            server.routes[path] = body(b"[]", "application/json")
        with pytest.raises(ProtocolViolation):
            await provider.models()
        assert (await provider.health()).state is HealthState.DEGRADED
