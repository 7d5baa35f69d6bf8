"""Tokens as llama.cpp's own server counts them, for the texts that people send."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from providers.config import Connection
from providers.openai_compatible import OpenAICompatible
from tests.models.llama_server import ALIAS, llama_server
from tests.samples import SAMPLES

KEY = "secret"


@pytest.fixture
def base_url(tiny_model: Path) -> Iterator[str]:
    with llama_server(tiny_model, api_key=KEY) as url:
        yield url


async def test_llama_counts_as_it_tokenizes(base_url: str) -> None:
    provider = OpenAICompatible(Connection("llamacpp", base_url, KEY))
    tokenizer = provider.tokenizer(ALIAS)
    assert tokenizer is not None
    texts = ["", "Hello", *SAMPLES.values(), "Hello"]
    counts = await tokenizer.count(texts)
    await provider.aclose()
    assert tokenizer.name.startswith("llamacpp:tiny@")
    assert counts == [await _tokens(base_url, text) for text in texts]


async def test_llama_without_its_key_is_an_estimate(base_url: str) -> None:
    provider = OpenAICompatible(Connection("llamacpp", base_url, "guess"))
    tokenizer = provider.tokenizer(ALIAS)
    assert tokenizer is not None
    assert await tokenizer.count(["Hello"]) is None
    await provider.aclose()


async def _tokens(base_url: str, text: str) -> int:
    """Ask as the documentation says, with another client."""
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}) as client:
        url = base_url.removesuffix("/v1") + "/tokenize"
        answer = await client.post(url, json={"content": text})
    return len(answer.json()["tokens"])
