"""OpenAI's models are counted by their own encodings, beside the loop where that takes long."""

import asyncio

import pytest

from providers import encodings
from providers.config import LoopbackPorts, ProvidersConfig
from providers.encodings import EncodingTokenizer, encoding_of, load_encoding
from providers.ladder import open_registry
from tests.samples import REFERENCE, SAMPLES

KEY = "sk-secret-0123456789"

O200K = [
    "gpt-4o",
    "gpt-4o-mini-2024-07-18",
    "gpt-4.1-nano",
    "gpt-5",
    "gpt-5-mini",
    "gpt-5.2-pro",
    "o1",
    "o1-mini",
    "o3-pro",
    "o4-mini",
    "chatgpt-4o-latest",
    "ft:gpt-4o-mini-2024-07-18:org::id",
    "openai/gpt-4o",
    "openai/gpt-5.2",
    "azure/openai/GPT-4o",
    "openai/gpt-4o:extended",
    "gpt-oss-20b",
    "gpt-oss:20b",
]
CL100K = [
    "gpt-4",
    "gpt-4-turbo",
    "gpt-4-32k-0613",
    "gpt-3.5-turbo",
    "gpt-35-turbo",
    "ft:gpt-3.5-turbo:org",
]
UNKNOWN = [
    "gpt-6",
    "gpt-4all",
    "o10",
    "o2",
    "gpt",
    "gpt-4.2",
    "llama-3.1-8b",
    "tgi",
    "tiny",
    "qwen/qwen3-8b",
    "openai/",
    "gpt2",
]


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """As at the start: loading may take longer than one count may."""
    for model in ("gpt-4o", "gpt-4"):
        asyncio.run(load_encoding(model))


@pytest.mark.parametrize("model", O200K)
def test_newer_models_have_the_newer_encoding(model: str) -> None:
    assert encoding_of(model) == "o200k_base"


@pytest.mark.parametrize("model", CL100K)
def test_older_models_have_the_older_encoding(model: str) -> None:
    assert encoding_of(model) == "cl100k_base"


@pytest.mark.parametrize("model", ["", *UNKNOWN])
def test_other_models_have_no_encoding(model: str) -> None:
    assert encoding_of(model) is None


@pytest.mark.parametrize("encoding", REFERENCE)
async def test_encodings_count_as_the_reference_does(encoding: str) -> None:
    counts = await EncodingTokenizer(encoding).count(list(SAMPLES.values()))
    assert counts == REFERENCE[encoding]


async def test_control_tokens_in_a_text_are_text() -> None:
    assert await EncodingTokenizer("o200k_base").count(["<|endoftext|>", ""]) == [7, 0]


async def test_text_that_is_not_unicode_is_counted() -> None:
    assert await EncodingTokenizer("o200k_base").count(["a\ud800b"]) == [3]


@pytest.mark.parametrize(("text", "tokens"), [("a", 125_000), (" ", 7_813), ("\n", 62_500)])
async def test_long_runs_are_counted(text: str, tokens: int) -> None:
    counts = await EncodingTokenizer("o200k_base").count([text * 1_000_000])
    assert counts == [tokens]


async def test_huge_texts_are_not_counted() -> None:
    assert await EncodingTokenizer("o200k_base").count(["a" * (4 * 2**20 + 1)]) is None


@pytest.mark.parametrize(
    ("text", "turns"),
    [("word " * 10, False), ("word " * 100_000, True), (" " * 8192, True), ("🧑" * 600, True)],
)
async def test_loop_turns_while_large_texts_are_counted(text: str, turns: bool) -> None:
    tokenizer = EncodingTokenizer("o200k_base")
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    await tokenizer.count([text])
    assert turned.is_set() is turns


async def test_encoding_is_not_loaded_by_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would stop the loop, also from a thread: the count is an estimate instead."""
    monkeypatch.setattr(encodings, "_loaded", set())
    assert await EncodingTokenizer("o200k_base").count(["one"]) is None
    assert not encodings._loaded
    await load_encoding("gpt-4o")
    assert await EncodingTokenizer("o200k_base").count(["one"]) == [1]


async def test_encoding_of_the_configured_model_is_loaded_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encodings, "_loaded", set())
    registry = await open_registry(ProvidersConfig(openai_api_key=KEY), LoopbackPorts())
    await registry.aclose()
    assert encodings._loaded == {"o200k_base"}
