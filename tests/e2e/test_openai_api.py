"""``/v1`` with OpenAI's own client: what it sends is understood, what it gets has its shapes."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from tests.e2e.conftest import Faked
from tests.e2e.resumable import new_conversation
from tests.e2e.support import asks, client_of, row_counts, serving
from tests.fakes.model_server import (
    DONE,
    answer,
    chunk,
    delta,
    finish,
    json_reply,
    model_server,
    sse,
    usage,
    wait,
)
from tests.patience import until

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 20).decode()
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALLED = delta(
    {
        "tool_calls": [
            {
                "index": 0,
                "id": "call_7",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "Ulm"}'},
            }
        ]
    }
)


@pytest.fixture
async def client(faked: Faked) -> AsyncIterator[AsyncOpenAI]:
    base_url = f"{faked.parley.url}/v1"
    async with AsyncOpenAI(base_url=base_url, api_key="unused", max_retries=0) as client:
        yield client


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


async def test_models_are_listed(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["openai:fake"]
    assert (await client.models.retrieve("openai:fake")).owned_by == "openai"
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("openai:none")
    assert caught.value.code == "unknown_model"


async def test_a_whole_answer(faked: Faked, client: AsyncOpenAI) -> None:
    faked.will_reply(sse(*answer("Good ", "day")))
    before = row_counts(faked.parley)
    completion = await client.chat.completions.create(
        model="fake",  # a provider's own name, where one model has it
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": [{"type": "text", "text": "Again"}]},
        ],
        temperature=0.5,
        top_p=0.9,
        seed=7,
        stop=["END"],
        max_completion_tokens=99,
        response_format={"type": "json_object"},
    )
    (choice,) = completion.choices
    assert (choice.message.content, choice.finish_reason) == ("Good day", "stop")
    assert completion.usage
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (3, 2)
    sent = faked.server.requests[0].json
    assert [(m["role"], m["content"]) for m in sent["messages"]] == [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Again"),
    ]
    assert (sent["temperature"], sent["top_p"], sent["seed"]) == (0.5, 0.9, 7)
    assert sent["stop"] == ["END"]
    assert sent["response_format"] == {"type": "json_object"}
    assert row_counts(faked.parley) == before


async def test_a_streamed_answer(faked: Faked, client: AsyncOpenAI) -> None:
    faked.will_reply(sse(delta({"reasoning_content": "hm"}), *answer("Good ", "day")))
    stream = await client.chat.completions.create(
        model="openai:fake",
        messages=user("Hi"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    thought = "".join(
        getattr(c.choices[0].delta, "reasoning_content", None) or "" for c in chunks if c.choices
    )
    assert (text, thought) == ("Good day", "hm")
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage
    assert chunks[-1].usage.total_tokens == 5


@pytest.fixture(scope="module")
async def able(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Faked]:
    """A Parley whose model is known to call tools and to see."""
    directory: Path = tmp_path_factory.mktemp("able")
    file = '[models.able]\nprovider = "openai"\nmodel = "fake"\ntools = true\nvision = true\n'
    (directory / "parley.toml").write_text(file)
    async with model_server() as server, serving(directory, asks(server)) as parley:
        yield Faked(parley, server)


@pytest.mark.parametrize("stream", [True, False])
async def test_tools_are_the_callers(able: Faked, stream: bool) -> None:
    able.will_reply(sse(CALLED, finish("tool_calls"), usage(), DONE), sse(*answer("Rain.")))
    asked = user("Weather in Ulm?")
    async with AsyncOpenAI(base_url=f"{able.parley.url}/v1", api_key="x", max_retries=0) as client:
        call, end = await (_streamed_call if stream else _whole_call)(client, asked)
        assert end == "tool_calls"
        assert (call.id, call.function.name) == ("call_7", "weather")
        assert call.function.arguments == '{"city": "Ulm"}'
        function = {"name": "weather", "arguments": call.function.arguments}
        calls = [{"id": call.id, "type": "function", "function": function}]
        said: Any = [
            *asked,
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": call.id, "content": "rain"},
        ]
        after = await client.chat.completions.create(model="able", messages=said, tools=[WEATHER])
    assert after.choices[0].message.content == "Rain."
    first, second = (request.json for request in able.server.requests)
    assert first["tools"][0]["function"]["name"] == "weather"
    roles = [message["role"] for message in second["messages"]]
    assert roles[-3:] == ["user", "assistant", "tool"]
    assert second["messages"][-1]["content"] == "rain"


async def _streamed_call(client: AsyncOpenAI, messages: Any) -> tuple[Any, str | None]:
    calls: list[Any] = []
    end = None
    async for each in await client.chat.completions.create(
        model="able", messages=messages, tools=[WEATHER], stream=True
    ):
        calls += each.choices[0].delta.tool_calls or []
        end = each.choices[0].finish_reason
    (call,) = calls
    return call, end


async def _whole_call(client: AsyncOpenAI, messages: Any) -> tuple[Any, str | None]:
    completion = await client.chat.completions.create(
        model="able", messages=messages, tools=[WEATHER], tool_choice="required"
    )
    (choice,) = completion.choices
    assert choice.message.tool_calls
    (call,) = choice.message.tool_calls
    return call, choice.finish_reason


async def test_images_are_shown(able: Faked) -> None:
    able.will_reply(sse(*answer("A dot.")))
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
    async with AsyncOpenAI(base_url=f"{able.parley.url}/v1", api_key="x", max_retries=0) as client:
        content: Any = [{"role": "user", "content": parts}]
        await client.chat.completions.create(model="able", messages=content)
        (sent,) = able.server.requests
        assert PNG in sent.body.decode()
        parts[1] = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
        with pytest.raises(openai.UnprocessableEntityError, match="not fetched"):
            await client.chat.completions.create(model="able", messages=content)


async def test_a_conversation_supplies_what_came_before(faked: Faked) -> None:
    faked.will_reply(sse(*answer("Hello Ada.")), sse(*answer("Ada.")))
    async with client_of(faked.parley) as http:
        id = await new_conversation(http)
        cookie = f"parley_guest={http.cookies['parley_guest']}"
        async with AsyncOpenAI(
            base_url=f"{faked.parley.url}/v1",
            api_key="x",
            max_retries=0,
            default_headers={"cookie": cookie, "x-conversation-id": id},
        ) as client:
            ignored = {"role": "assistant", "content": "ignored"}
            for text, answered in (("I am Ada.", "Hello Ada."), ("Who am I?", "Ada.")):
                messages: Any = [ignored, *user(text)]
                said = await client.chat.completions.create(model="fake", messages=messages)
                assert said.choices[0].message.content == answered
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(
                    model="fake",
                    messages=user("x"),
                    extra_headers={"x-conversation-id": "0" * 32},
                )
        page = (await http.get(f"/api/v1/conversations/{id}/messages")).json()["data"]
    texts = [message["content"] for message in page]
    assert texts == ["I am Ada.", "Hello Ada.", "Who am I?", "Ada."]
    sent = [m["content"] for m in faked.server.requests[1].json["messages"]]
    assert sent[1:] == ["I am Ada.", "Hello Ada.", "Who am I?"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_failure_before_text_is_a_status(
    faked: Faked, client: AsyncOpenAI, stream: bool
) -> None:
    faked.will_reply(json_reply({"error": {"message": "no such key"}}, 401))
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="fake", messages=user("hi"), stream=stream)
    assert caught.value.status_code == 502
    assert caught.value.code == "provider_rejected"
    assert caught.value.type == "server_error"


async def test_a_failure_after_text_is_an_error_in_the_stream(
    faked: Faked, client: AsyncOpenAI
) -> None:
    faked.will_reply(sse(chunk("half")), sse(*answer("other")))
    stream = await client.chat.completions.create(model="fake", messages=user("hi"), stream=True)
    chunks = aiter(stream)
    text = (await anext(chunks)).choices[0].delta.content or ""
    text += (await anext(chunks)).choices[0].delta.content or ""
    assert text == "half"
    with pytest.raises(openai.APIError) as caught:
        await anext(chunks)
    assert caught.value.code == "provider_unavailable"


@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_stops_it(faked: Faked, stream: bool) -> None:
    faked.will_reply(sse(chunk("half"), wait(asyncio.Event())))
    body = {"model": "fake", "messages": user("hi"), "stream": stream}

    async def read(client: httpx2.AsyncClient) -> None:
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            async for _ in response.aiter_bytes():
                pass

    async with client_of(faked.parley) as client:
        reading = asyncio.create_task(read(client))
        await until(faked.server.asked.is_set)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until(faked.server.left.is_set)


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"n": 2}, 422, "invalid_request"),
        ({"logprobs": True}, 422, "invalid_request"),
        ({"messages": []}, 422, "invalid_request"),
        ({"messages": [{"role": "system", "content": "x"}]}, 422, "invalid_request"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 422, "invalid_request"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 422, "invalid_request"),
        (
            {"messages": [{"role": "tool", "tool_call_id": "none", "content": "x"}]},
            422,
            "invalid_request",
        ),
        ({"messages": user("")}, 422, "invalid_request"),
        ({"messages": user("x" * 70_000)}, 413, "too_large"),
        ({"model": "none"}, 404, "unknown_model"),
        ({"model": None}, 422, "invalid_request"),
        ({"temperature": 3}, 422, "invalid_request"),
        ({"stop": ["x"] * 17}, 422, "invalid_request"),
        ({"tools": [WEATHER]}, 422, "invalid_request"),  # this model is not known to call any
    ],
)
async def test_bad_input_in_openais_shape(
    faked: Faked, faked_client: httpx2.AsyncClient, changes: Any, status: int, code: str
) -> None:
    faked.will_reply(sse(*answer("never")))
    before = row_counts(faked.parley)
    body = {"model": "fake", "messages": user("hi"), **changes}
    response = await faked_client.post("/v1/chat/completions", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code), error
    assert {"message", "type", "param", "code"} <= set(error)
    assert faked.server.requests == []
    assert row_counts(faked.parley) == before


async def test_unknown_paths_are_in_openais_shape(faked_client: httpx2.AsyncClient) -> None:
    response = await faked_client.get("/v1/nothing")
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "invalid_request_error"
