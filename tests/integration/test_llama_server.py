"""The tiny model behind llama.cpp's own server behaves like a model server that people run."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from pathlib import Path

import openai
import pytest

from tests.models.llama_server import llama_process, llama_server

Serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture(params=[llama_server, llama_process])
def serve(request: pytest.FixtureRequest) -> Serve:
    function: Serve = request.param
    return function


@pytest.fixture
async def client(serve: Serve, tiny_model: Path) -> AsyncIterator[openai.AsyncOpenAI]:
    with serve(tiny_model, api_key="secret") as base_url:
        async with openai.AsyncOpenAI(base_url=base_url, api_key="secret", max_retries=0) as client:
            yield client


async def test_streams_text_finish_and_usage(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "What is a thread?"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    texts, finishes, usages = [], [], []
    async for chunk in stream:
        for choice in chunk.choices:
            texts.append(choice.delta.content or "")
            finishes.append(choice.finish_reason)
        usages.append(chunk.usage)

    answer = "".join(texts)
    assert len([text for text in texts if text]) > 1, "more than one piece"
    assert answer.endswith(".")
    assert set(answer) <= set("abcdefghijklmnopqrstuvwxyz .")
    assert list(filter(None, finishes)) == ["stop"]
    (usage,) = filter(None, usages)
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens >= len([text for text in texts if text])


async def test_max_tokens_bounds_the_answer(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=1
    )
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"


async def test_wrong_key_is_refused(client: openai.AsyncOpenAI) -> None:
    stranger = client.with_options(api_key="guess")
    with pytest.raises(openai.AuthenticationError):
        await stranger.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "hi"}]
        )


async def test_knows_its_model(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["tiny"]
