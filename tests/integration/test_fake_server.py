"""The fake model server is taken for the real ones by their own clients."""

import pytest
from google import genai
from huggingface_hub import AsyncInferenceClient
from openai import APIStatusError, AsyncOpenAI
from text_generation import AsyncClient  # type: ignore[import-untyped]  # it has none
from text_generation.errors import OverloadedError  # type: ignore[import-untyped]  # nor here

from tests.unit.fake_server.support import scripted

SCRIPT = """
model = "m"
[[reply]]
chunks = ["Hé", " you"]
usage = { input = 7, output = 2 }
"""
REFUSED = '[[reply]]\nstatus = 429\nerror = "slow down"\nheaders = { "Retry-After" = "7" }'
HELLO = "Hello?"


async def test_openais_client_reads_it() -> None:
    async with (
        scripted(SCRIPT) as server,
        AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client,
    ):
        assert [model.id async for model in client.models.list()] == ["m"]
        async with client.chat.completions.stream(
            model="m",
            messages=[{"role": "user", "content": HELLO}],
            stream_options={"include_usage": True},
        ) as stream:
            answer = await stream.get_final_completion()
    assert answer.choices[0].message.content == "Hé you"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 9


async def test_openais_client_reads_a_refusal() -> None:
    async with (
        scripted(REFUSED) as server,
        AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client,
    ):
        with pytest.raises(APIStatusError, match="slow down") as caught:
            await client.chat.completions.create(model="m", messages=[])
    assert caught.value.response.headers["retry-after"] == "7"


async def test_hugging_faces_client_reads_it() -> None:
    async with (
        scripted('dialect = "tgi"\n' + SCRIPT) as server,
        AsyncInferenceClient(base_url=server.base_url, api_key="-") as client,
    ):
        stream = await client.chat_completion(
            [{"role": "user", "content": HELLO}], model="tgi", stream=True
        )
        texts = [chunk.choices[0].delta.content async for chunk in stream]
    assert "".join(text or "" for text in texts) == "Hé you"


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
async def test_tgis_client_reads_it() -> None:
    async with scripted(SCRIPT) as server:
        client = AsyncClient(server.root)
        whole = await client.generate(HELLO, max_new_tokens=20)
        tokens = [token async for token in client.generate_stream(HELLO, max_new_tokens=20)]
    assert whole.generated_text == tokens[-1].generated_text == "Hé you"
    assert tokens[-1].details is not None
    assert tokens[-1].details.generated_tokens == 2


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
async def test_tgis_client_reads_an_overload() -> None:
    script = '[[reply]]\ncode = "overloaded"\nfaults = [{ kind = "error" }]'
    async with scripted(script) as server:
        with pytest.raises(OverloadedError, match="Model is overloaded"):
            async for _ in AsyncClient(server.root).generate_stream(HELLO, max_new_tokens=20):
                pass


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
async def test_googles_client_reads_it() -> None:
    async with scripted(SCRIPT) as server:
        options = genai.types.HttpOptions(base_url=server.root)
        client = genai.Client(api_key="k", http_options=options)
        stream = await client.aio.models.generate_content_stream(model="m", contents=HELLO)
        responses = [response async for response in stream]
        await client.aio.aclose()
        client.close()
    assert "".join(response.text or "" for response in responses) == "Hé you"
    assert responses[-1].usage_metadata is not None
    assert responses[-1].usage_metadata.total_token_count == 9
