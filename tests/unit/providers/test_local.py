"""What a GGUF says of itself, which rung it stands on, and what `local` costs those without it."""

import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from parley.chat.errors import ModelMissing, RequestRefused, UnknownModel
from parley.chat.models import CompletionRequest, Sampling, ToolSpec
from providers.config import Connection, LoopbackPorts, ModelConfig, ProvidersConfig
from providers.door import ask, connect
from providers.gguf_header import GgufHeader, read_header
from providers.ladder import open_registry
from providers.local import open_provider
from providers.local_model import CONTEXT_TOKENS as MOST_TOKENS
from providers.registry import Registry
from providers.weights import DEFAULT, storage
from tests.fakes.hub import COMMIT
from tests.models.tiny_gguf import CHAT_TEMPLATE, CONTEXT_TOKENS
from tests.patience import until
from tests.unit.providers.support import REQUEST, outcome_of

NOBODY = LoopbackPorts(ollama=0, lmstudio=0, llamacpp=0, tgi=0)
KEPT = f"local:{DEFAULT.reference}"


@asynccontextmanager
async def opened(config: ProvidersConfig) -> AsyncGenerator[Registry]:
    registry = await open_registry(config, NOBODY)
    try:
        yield registry
    finally:
        await registry.aclose()


@pytest.fixture
def kept(hub_cache: Path, tiny_model: Path) -> Path:
    """The suggested model, as if it had been pulled."""
    snapshot = storage(DEFAULT.reference.repo, hub_cache) / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    path = snapshot / (DEFAULT.reference.file or "")
    shutil.copyfile(tiny_model, path)
    return path


@pytest.mark.usefixtures("kept")
async def test_kept_file_is_the_rung_before_the_demo() -> None:
    async with opened(ProvidersConfig()) as registry:
        (info,) = registry.models()
        assert registry.choice.line == f"{KEPT}, because {DEFAULT.reference} is on this machine"
        assert info.label == "parley-tiny-random"
        assert info.capabilities.context_window == CONTEXT_TOKENS
    async with opened(ProvidersConfig(openai_api_key="sk-1")) as registry:
        assert [info.provider for info in registry.models()] == ["openai"]
    async with opened(ProvidersConfig(detect_local=False)) as registry:
        assert registry.choice.model_id == "demo:echo"


@pytest.mark.usefixtures("kept")
async def test_kept_file_can_be_asked_for_by_name() -> None:
    config = ProvidersConfig(openai_api_key="sk-1", llm_provider="local", detect_local=False)
    async with opened(config) as registry:
        assert registry.choice.line == f"{KEPT}, because LLM_PROVIDER is set"


async def test_local_without_a_file_is_not_found() -> None:
    with pytest.raises(UnknownModel, match="LLM_PROVIDER is local"):
        await open_registry(ProvidersConfig(llm_provider="local"), NOBODY)


async def test_path_is_shown_to_nobody(tiny_model: Path) -> None:
    async with opened(ProvidersConfig(local_model=str(tiny_model))) as registry:
        assert registry.choice.line == "local:tiny, because LOCAL_MODEL is set"
        assert str(tiny_model.parent) not in repr(registry.models())


async def test_door_opens_a_file(tiny_model: Path) -> None:
    async with connect("local", model=str(tiny_model)) as provider:
        outcome = await outcome_of(provider, ask("Hello?"))
        assert (await provider.models())[0].name == "tiny"
    assert outcome.error is None
    assert outcome.text


async def test_configured_file_that_is_gone_is_said_when_asked(tmp_path: Path) -> None:
    config = ProvidersConfig(local_model=str(tmp_path / "gone.gguf"))
    async with opened(config) as registry:
        route = registry.resolve(None)
        request = CompletionRequest(route.upstream_model, REQUEST.messages)
        outcome = await outcome_of(route.provider, request)
    assert isinstance(outcome.error, ModelMissing)
    assert outcome.error.message.endswith(
        "has no file gone.gguf on this machine. Check LOCAL_MODEL."
    )


@pytest.fixture
def named_as_in_the_table(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(tiny_model, tmp_path / "smollm2-x.gguf"))


async def test_window_of_a_row_is_the_servers(named_as_in_the_table: Path) -> None:
    """Not the table's, which knows what the model could do: the server is started with less."""
    path = named_as_in_the_table
    rows = (
        ModelConfig("mine", "local", str(path)),
        ModelConfig("small", "local", str(path), context_window=512),
    )
    async with opened(ProvidersConfig(models=rows)) as registry:
        await until(lambda: registry.resolve("mine").info.capabilities.context_window != 8192)
        windows = [info.capabilities.context_window for info in registry.models()]
    assert windows == [MOST_TOKENS, 512]


def test_header_tells_name_and_window(tiny_model: Path) -> None:
    header = GgufHeader("parley-tiny-random", CONTEXT_TOKENS, CHAT_TEMPLATE)
    assert read_header(tiny_model) == header


async def test_tools_are_refused_where_the_template_knows_none(tiny_model: Path) -> None:
    """llama.cpp would read them over, and the model never hear of them."""
    tool = ToolSpec("clock", "Tells the time.", {"type": "object", "properties": {}})
    async with aclosing(open_provider(Connection("local", str(tiny_model)), Sampling())) as local:
        given = await outcome_of(local, replace(REQUEST, model="tiny", tools=(tool,)))
        (info,) = await local.models()
    assert type(given.error) is RequestRefused
    assert "its chat template knows no tools" in given.error.message
    assert not info.capabilities.tools


def test_template_that_names_tools_takes_them(tmp_path: Path, tiny_model: Path) -> None:
    whole = tiny_model.read_bytes()
    template = CHAT_TEMPLATE.encode()
    path = tmp_path / "tools.gguf"
    path.write_bytes(whole.replace(template, template.replace(b"messages", b"tools   ")))
    assert "tools" in read_header(path).chat_template


@given(data=st.data())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
def test_damaged_header_is_a_value_error(
    tiny_model: Path, tmp_path: Path, data: st.DataObject
) -> None:
    whole = bytearray(tiny_model.read_bytes()[:512])
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.gguf"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        header = read_header(path)
    except ValueError:
        return
    assert header.context_window is None or header.context_window > 0


@given(content=st.binary(max_size=64))
@example(content=b"GGUF" + b"\xff" * 20)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
def test_other_bytes_are_no_header(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"it |its header"):
        read_header(path)


def test_unused_local_imports_neither_sdk() -> None:
    """llama.cpp is in a process of its own; the Hub's client comes with the first look-up."""
    asked = "import sys, providers; print({'xllamacpp', 'huggingface_hub'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", asked],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "set()\n"
