"""The door: a provider for another program, from a name and an address; and what is imported."""

import asyncio
import re
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import providers
from parley.chat.errors import (
    BrokenStream,
    CredentialsRefused,
    Overloaded,
    ProviderFault,
    Unreachable,
)
from parley.chat.models import HealthState, Sampling
from providers import RetryConfig, ask, connect
from providers.config import Connection, ModelConfig
from providers.dialects import DIALECTS, OpenedOnUse, load
from providers.plugins import open_installed
from tests.fakes.model_server import answer, json_reply, model_server, sse
from tests.unit.providers.support import outcome_of

ROOT = Path(__file__).parents[3]


async def test_door_leads_to_a_server() -> None:
    async with model_server(sse(*answer("a", "b"))) as server:
        address = server.base_url
        async with connect("openai", base_url=address, api_key="k", model="m") as provider:
            assert (await outcome_of(provider, ask("Hello?", system="Be brief."))).text == "ab"
    sent = server.requests[-1]
    assert (sent.json["model"], sent.headers["authorization"]) == ("m", "Bearer k")
    assert [m["content"] for m in sent.json["messages"]] == ["Be brief.", "Hello?"]


async def test_door_asks_for_the_first_model_where_none_is_named() -> None:
    async with model_server(sse(*answer("a"))) as server:
        server.routes["GET /v1/models"] = json_reply({"data": [{"id": "llama"}]})
        async with connect("openai", base_url=server.base_url) as provider:
            await outcome_of(provider, ask("Hello?"))
    assert server.requests[-1].json["model"] == "llama"


async def test_errors_name_the_arguments() -> None:
    async with (
        model_server(json_reply({}, 401)) as server,
        connect("openai", base_url=server.base_url) as provider,
    ):
        error = (await outcome_of(provider, ask("a", model="m"))).error
    assert isinstance(error, CredentialsRefused)
    assert "Set api_key." in error.message
    async with connect("openai", base_url="http://127.0.0.1:1") as provider:
        error = (await outcome_of(provider, ask("a", model="m"))).error
    assert isinstance(error, Unreachable)
    assert "Check base_url" in error.message


async def test_broken_answer_carries_its_text() -> None:
    async with (
        model_server(sse(*answer("half ", "of it")[:2])) as server,
        connect("openai", base_url=server.base_url, model="m") as provider,
    ):
        given = await outcome_of(provider, ask("a"))
    assert isinstance(given.error, BrokenStream)
    assert (given.error.text_so_far, given.text) == ("half of it", "half of it")


async def test_retrying_can_be_left_to_the_caller() -> None:
    async with model_server(json_reply({}, 503)) as server:
        once = RetryConfig(retries=0)
        async with connect("openai", base_url=server.base_url, model="m", retry=once) as provider:
            given = await outcome_of(provider, ask("a"))
    assert isinstance(given.error, Overloaded)
    assert len(server.requests) == 1


async def test_functions_and_the_demo_have_the_same_door() -> None:
    @providers.provider("door-test")
    def call(messages: object, model: str) -> str:
        return model

    for named, said in ((None, "door-test"), ("large", "large")):
        async with connect("door-test", model=named) as provider:
            assert (await outcome_of(provider, ask("a"))).text == said
    async with connect("demo") as provider:
        assert (await provider.health()).state is HealthState.DEGRADED


async def test_no_function_takes_the_place_of_a_dialect() -> None:
    @providers.provider("openai")
    def call(messages: object) -> str:
        return "mine"

    async with (
        model_server(sse(*answer("a"))) as server,
        connect("openai", base_url=server.base_url, model="m") as provider,
    ):
        assert (await outcome_of(provider, ask("a"))).text == "a"


async def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no provider 'opnai'; known are .*gemini, "):
        async with connect("opnai"):
            pass


# --- what is imported when ------------------------------------------------------------------------


async def test_module_that_is_missing_is_a_fault() -> None:
    lazy = OpenedOnUse(Connection("x", ""), Sampling(), lambda: load("no_such_module:open"))
    error = (await outcome_of(lazy)).error
    assert isinstance(error, ProviderFault)
    assert "No module named 'no_such_module'" in error.message
    assert (await lazy.health()).state is HealthState.DOWN
    assert lazy.tokenizer("m") is None
    await lazy.aclose()


async def test_entry_point_is_a_factory_or_a_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acme_llm.py").write_text(
        "from providers import DemoProvider, provider\n"
        "def open_provider(connection, defaults):\n    return DemoProvider()\n"
        "@provider('acme')\ndef call(messages):\n    return 'acme'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    texts = []
    for value in ("acme_llm:open_provider", "acme_llm:call"):
        point = EntryPoint("acme", value, "parley.providers")
        opened = open_installed(point, Connection("acme", ""), Sampling())
        texts.append((await outcome_of(opened)).text)
        await opened.aclose()
    assert texts[0].startswith("Demo provider")
    assert texts[1] == "acme"


def test_no_sdk_is_imported_before_its_use() -> None:
    sdks = ("openai", "google.genai", "huggingface_hub", "text_generation", "xllamacpp")
    script = f"import sys, providers; print([m for m in {sdks} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_table_of_dialects_names_modules() -> None:
    assert all(reference.endswith(":open_provider") for reference in DIALECTS.values())


async def test_example_of_the_docs_works(tmp_path: Path) -> None:
    """As it is written there, but for the address."""
    (source,) = re.findall(
        r"```python\n(import asyncio\n.*?)```", (ROOT / "docs/models.md").read_text(), re.DOTALL
    )
    async with model_server(sse(*answer("Rayleigh", " scattering"))) as server:
        program = source.replace("http://127.0.0.1:11434/v1", server.base_url)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
    assert (process.returncode, output.decode()) == (0, "Rayleigh scattering")
    assert server.requests[-1].json["model"] == "qwen3:0.6b"


def test_docs_name_every_key_of_a_model() -> None:
    text = (ROOT / "docs/models.md").read_text()
    keys = {field.name for field in fields(ModelConfig)} - {"id", "api_key"}
    assert {key for key in keys if f"`{key}`" not in text} == set()
