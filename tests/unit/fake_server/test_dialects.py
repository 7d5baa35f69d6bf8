"""Each dialect is written as the real servers write it, byte for byte and by their schemas."""

import json
from typing import Any

import pytest
from google.genai import types

from tests.unit.fake_server.support import CHAT, check, events, get, post, scripted

HELLO = """
model = "m"
[[reply]]
chunks = ["Hé\u2028", " you"]
reasoning = "Why?"
usage = { input = 7, output = 2 }
"""
CALLS = """
[[reply]]
tool_calls = [{ name = "search", arguments = '{"q": "x"}' }, { name = "read", id = "call_2" }]
"""
TGI = 'dialect = "tgi"\n'
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "What is it?"}]}]}
STREAM = "/v1beta/models/m:streamGenerateContent?alt=sse"


@pytest.mark.parametrize("script", ["", HELLO, CALLS])
async def test_openais_chunks_are_by_the_schema(script: str) -> None:
    async with scripted(script) as server:
        *chunks, done = await events(server, "/v1/chat/completions", CHAT)
    assert done == "[DONE]"
    for chunk in chunks:
        check(chunk, "openai-chat-stream", "CreateChatCompletionStreamResponse")
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[-1]["choices"] == [] != chunks[-1]["usage"]


async def test_openai_is_written_byte_for_byte() -> None:
    async with scripted(HELLO) as server:
        _, _, text = await post(server, "/v1/chat/completions", CHAT)
    first, _, second, *_ = text.split("\n\n")
    created = json.loads(first.removeprefix("data: "))["created"]
    head = (
        'data: {"id":"chatcmpl-fake0000000000000000000000001","object":"chat.completion.chunk",'
        f'"created":{created},"model":"m","service_tier":"default",'
        '"system_fingerprint":"fp_fake000000","choices":[{"index":0,"delta":'
    )
    tail = ',"logprobs":null,"finish_reason":null}],"usage":null}'
    assert first == head + '{"role":"assistant","content":"","refusal":null}' + tail
    assert second == head + '{"content":"Hé\u2028"}' + tail


async def test_usage_comes_when_it_is_asked_for() -> None:
    async with scripted(HELLO) as server:
        *chunks, _ = await events(server, "/v1/chat/completions", CHAT | {"stream_options": {}})
        *_, last, _ = await events(server, "/v1/chat/completions", CHAT)
    assert not any("usage" in chunk for chunk in chunks)
    assert last["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


async def test_openai_answers_in_one_document() -> None:
    async with scripted(HELLO) as server:
        _, kind, text = await post(server, "/v1/chat/completions", CHAT | {"stream": False})
    answer = json.loads(text)
    assert (kind, answer["object"]) == ("application/json", "chat.completion")
    assert answer["choices"][0]["message"]["content"] == "Hé\u2028 you"
    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("script", [TGI, TGI + HELLO, TGI + CALLS])
async def test_tgis_chunks_are_by_the_schema(script: str) -> None:
    async with scripted(script) as server:
        *chunks, done = await events(server, "/v1/chat/completions", CHAT)
        _, _, whole = await post(server, "/v1/chat/completions", CHAT | {"stream": False})
    check(json.loads(whole), "tgi-answers", "ChatCompletion")
    assert done == "[DONE]"
    for chunk in chunks:
        check(chunk, "tgi-answers", "ChatCompletionChunk")
        assert chunk["id"] == ""
        assert all(c["delta"]["role"] == "assistant" for c in chunk["choices"])


@pytest.mark.parametrize("finish", ["stop", "length", "stop_sequence"])
async def test_tgis_tokens_are_by_the_schema(finish: str) -> None:
    asked = {"inputs": "What is it?", "parameters": {"max_new_tokens": 50, "details": True}}
    async with scripted(HELLO + f'finish = "{finish}"') as server:
        tokens = await events(server, "/generate_stream", asked)
        _, _, whole = await post(server, "/generate", asked)
    for token in tokens:
        check(token, "tgi-answers", "StreamResponse")
    check(json.loads(whole), "tgi-answers", "GenerateResponse")
    *before, last = tokens
    assert all(token["details"] is None for token in before)
    assert last["generated_text"] == "Hé\u2028 you"
    assert last["details"]["finish_reason"] == {"stop": "eos_token"}.get(finish, finish)
    assert last["token"]["special"] == (finish == "stop")


async def test_tgi_tells_what_it_is() -> None:
    async with scripted('model = "m"\ncontext_window = 2048') as server:
        status, info = await get(server, "/info")
        assert await get(server, "/health") == (200, None)
        _, _, tokens = await post(server, "/tokenize", {"inputs": "Hé you"})
    check(info, "tgi-answers", "Info")
    assert (status, info["model_id"], info["max_total_tokens"]) == (200, "m", 2048)
    check(json.loads(tokens), "tgi-answers", "TokenizeResponse")
    assert [token["text"] for token in json.loads(tokens)] == ["Hé", " you"]


async def test_gemini_is_written_byte_for_byte() -> None:
    async with scripted(HELLO) as server:
        _, kind, text = await post(server, STREAM, CONTENTS)
    assert kind == "text/event-stream"
    *responses, end = text.split("\r\n\r\n")
    assert end == ""
    assert responses[0] == (
        'data: {"candidates":[{"content":{"parts":[{"text":"Why?","thought":true}],"role":"model"}'
        ',"index":0}],"usageMetadata":{"promptTokenCount":7,"totalTokenCount":7}'
        ',"modelVersion":"m","responseId":"fake000000000000000001"}'
    )
    assert '"finishReason":"STOP"' in responses[-1]


@pytest.mark.parametrize("script", ["", HELLO, CALLS])
async def test_googles_own_types_read_gemini(script: str) -> None:
    async with scripted(script) as server:
        responses = await events(server, STREAM, CONTENTS)
        _, _, whole = await post(server, "/v1beta/models/m:generateContent", CONTENTS)
    read: list[Any] = [
        types.GenerateContentResponse.model_validate(one) for one in [*responses, json.loads(whole)]
    ]
    assert read[-1].candidates[0].finish_reason is types.FinishReason.STOP
    assert bool(read[-1].function_calls) == ("tool_calls" in script)


REFUSED = """
[[reply]]
status = 429
error = "slow down"
headers = { "Retry-After" = "7" }
"""


@pytest.mark.parametrize(
    ("script", "path", "body", "said"),
    [
        (REFUSED, "/v1/chat/completions", CHAT, {"error": {"message": "slow down", "type": "rate_limit_error", "param": None, "code": None}}),
        (REFUSED, "/generate_stream", {"inputs": "a"}, {"error": "slow down", "error_type": "overloaded"}),
        (REFUSED, STREAM, CONTENTS, {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}),
    ],
)  # fmt: skip
async def test_refusal_has_the_dialects_shape(
    script: str, path: str, body: object, said: object
) -> None:
    async with scripted(script) as server:
        status, kind, text = await post(server, path, body)
    assert (status, kind, json.loads(text)) == (429, "application/json", said)


FAILS = '[[reply]]\nchunks = ["a", "b"]\nfaults = [{ kind = "error", after = 1 }]'


@pytest.mark.parametrize(
    ("script", "path", "body", "said"),
    [
        (FAILS, "/v1/chat/completions", CHAT, [{"error": {"message": "Model is overloaded", "type": "server_error", "param": None, "code": None}}]),
        (TGI + FAILS, "/v1/chat/completions", CHAT, [{"error": {"message": "Model is overloaded", "http_status_code": 422}}, "[DONE]"]),
        (FAILS, "/generate_stream", {"inputs": "a"}, [{"error": "Model is overloaded", "error_type": "generation"}]),
        (FAILS, STREAM, CONTENTS, [{"error": {"code": 503, "message": "Model is overloaded", "status": "UNAVAILABLE"}}]),
    ],
)  # fmt: skip
async def test_error_in_the_stream_has_the_dialects_shape(
    script: str, path: str, body: object, said: list[object]
) -> None:
    async with scripted(script) as server:
        assert (await events(server, path, body))[-len(said) :] == said


async def test_native_error_of_tgi_is_by_the_schema() -> None:
    async with scripted(FAILS) as server:
        *_, error = await events(server, "/generate_stream", {"inputs": "a"})
    check(error, "tgi-answers", "ErrorResponse")


async def test_gemini_and_openai_list_the_model() -> None:
    async with scripted('model = "m"\ncontext_window = 99') as server:
        _, ours = await get(server, "/v1/models")
        _, googles = await get(server, "/v1beta/models")
    assert (ours["data"][0]["id"], ours["data"][0]["max_model_len"]) == ("m", 99)
    assert googles["models"][0]["name"] == "models/m"
