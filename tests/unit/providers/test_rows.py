"""Rows of `parley.toml` that need no model's name: an installed package's provider, an Inference Endpoint."""

import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from parley.chat.errors import ContextOverflow, CredentialsRefused, ProviderFault
from parley.chat.models import HealthState
from parley.settings.build import load_config
from parley.settings.environment import Environment, setting_names
from parley.settings.problems import ConfigurationError
from providers import ask, connect
from providers.config import ProvidersConfig
from providers.ladder import open_registry
from providers.plugins import installed
from providers.registry import Registry
from tests.unit.fake_server.support import scripted
from tests.unit.providers.support import Outcome, outcome_of

MODULE = """
from contextlib import asynccontextmanager

from parley.chat.deltas import Finish, FinishReason, Text
from parley.chat.models import Health, HealthState, ModelInfo
from providers import provider


class Acme:
    def __init__(self, connection, defaults):
        self.connection, self.defaults = connection, defaults

    @asynccontextmanager
    async def stream(self, request):
        async def deltas():
            at = self.connection
            yield Text(f"{at.name} at {at.base_url} with {at.api_key}: {request.model}")
            yield Finish(FinishReason.STOP)

        yield deltas()

    async def models(self):
        return [ModelInfo("acme:acme", "acme", "acme", "Acme")]

    async def health(self):
        return Health(HealthState.OK)

    def tokenizer(self, model):
        return None

    async def aclose(self):
        pass


@provider("acme_shout")
def shout(messages):
    return messages[-1].text.upper()
"""
POINTS = """[parley.providers]
acme = acme_package:Acme
acme_shout = acme_package:shout
acme_broken = acme_missing:open_provider
"""
ROWS = """
[models.house]
provider = "acme"
base_url = "https://acme.example/v1?region=eu"
api_key_env = "ACME_KEY"

[models.loud]
provider = "acme_shout"

[models.broken]
provider = "acme_broken"
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution, and no settings but the test's."""
    for field in Environment.model_fields:
        for name in setting_names(field):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    site = tmp_path / "site"
    metadata = site / "acme_package-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "acme_package.py").write_text(MODULE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(site))
    installed.cache_clear()
    yield
    installed.cache_clear()
    sys.modules.pop("acme_package", None)


@asynccontextmanager
async def configured(rows: str) -> AsyncGenerator[Registry]:
    registry = await open_registry(_read(rows))
    try:
        yield registry
    finally:
        await registry.aclose()


def _read(rows: str) -> ProvidersConfig:
    Path("parley.toml").write_text(rows)
    return load_config().providers


async def answer_of(registry: Registry, model: str, text: str = "Hello?") -> Outcome:
    route = registry.resolve(model)
    return await outcome_of(route.provider, ask(text, model=route.upstream_model))


# --- a package ------------------------------------------------------------------------------------


async def test_package_brings_a_provider_that_is_its_own_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACME_KEY", "s3cret-of-acme")
    async with configured(ROWS) as registry:
        infos = [(info.id, info.provider, info.name, info.label) for info in registry.models()]
        assert infos == [
            ("house", "acme", "acme", "acme"),
            ("loud", "acme_shout", "acme_shout", "acme_shout"),
            ("broken", "acme_broken", "acme_broken", "acme_broken"),
        ]
        assert "acme_package" not in sys.modules, "only its metadata is read"
        said = (await answer_of(registry, "house")).text
        assert said == "acme at https://acme.example/v1?region=eu with s3cret-of-acme: acme"
        assert (await answer_of(registry, "acme")).text == said
        assert (await answer_of(registry, "loud")).text == "HELLO?"
        error = (await answer_of(registry, "broken")).error
        assert isinstance(error, ProviderFault)
        assert "acme_broken cannot be used: its module cannot be imported" in error.message
        assert "Install what it needs, and restart." in error.message


async def test_package_is_known_by_its_entry_point_alone() -> None:
    with pytest.raises(ConfigurationError) as caught:
        async with configured(ROWS.replace('"acme_shout"', '"acme_shot"')):
            pass
    told = str(caught.value)
    assert "there is no such provider" in told
    assert "acme_shout" in told
    async with connect("acme_shout") as provider:
        assert (await outcome_of(provider, ask("Hello?"))).text == "HELLO?"


# --- an Inference Endpoint ------------------------------------------------------------------------

ENDPOINT = """
[models.endpoint]
provider = "huggingface"
base_url = "URL"
api_key_env = "ENDPOINT_TOKEN"
"""
SERVED = """
model = "meta-llama/Llama-3.1-8B-Instruct"
dialect = "tgi"
api_key = "hf_of_the_endpoint"
known_models_only = true
context_window = 50
"""


async def test_endpoint_by_its_address_is_asked_by_the_name_that_tgi_has_for_its_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ENDPOINT_TOKEN", "hf_of_the_endpoint")
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_machine")
    async with (
        scripted(SERVED) as server,
        configured(ENDPOINT.replace("URL", server.root)) as models,
    ):
        assert (await answer_of(models, "endpoint", "Is it there?")).text.strip() != ""
        (asked,) = server.requests
        assert (asked.path, asked.json["model"]) == ("/v1/chat/completions", "tgi")
        assert asked.headers["authorization"] == "Bearer hf_of_the_endpoint"
        long = (await answer_of(models, "endpoint", "word " * 80)).error
        assert isinstance(long, ContextOverflow)
        assert (await models.resolve("endpoint").provider.health()).state is HealthState.OK


async def test_endpoint_tells_that_its_token_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENDPOINT_TOKEN", "hf_of_somebody_else")
    async with (
        scripted(SERVED) as server,
        configured(ENDPOINT.replace("URL", server.root)) as models,
    ):
        error = (await answer_of(models, "endpoint")).error
    assert isinstance(error, CredentialsRefused)
    assert "Check ENDPOINT_TOKEN." in error.message
    assert "hf_of" not in error.message
