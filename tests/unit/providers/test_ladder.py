"""The ladder: explicit model, keys and URLs, a server on this machine, the demo; in this order."""

import gc
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from parley.chat.errors import CredentialsRefused, Overloaded, UnknownModel, Unreachable
from parley.chat.messages import Message
from providers.config import Function, LoopbackPorts, ModelConfig, ProvidersConfig
from providers.health import Watched
from providers.ladder import open_registry
from providers.limited import Limited
from providers.openai_compatible import FIRST_LISTED
from providers.registry import Registry
from tests.fakes.model_server import (
    ModelServer,
    Reply,
    answer,
    body,
    chunk,
    hang,
    json_reply,
    model_server,
    raw,
    sse,
)
from tests.services import find_free_port
from tests.unit.providers.support import LONG, REQUEST, SHORT, outcome_of

# Nothing can listen on port 0.
NOBODY = LoopbackPorts(ollama=0, lmstudio=0, llamacpp=0, tgi=0)
OPENAI = ProvidersConfig(openai_api_key="sk-1", deadlines=SHORT)
BOTH = replace(OPENAI, tgi_base_url="http://127.0.0.1:1")


@asynccontextmanager
async def opened(
    config: ProvidersConfig, ports: LoopbackPorts = NOBODY
) -> AsyncGenerator[Registry]:
    registry = await open_registry(config, ports)
    try:
        yield registry
    finally:
        await registry.aclose()


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (OPENAI, "openai:gpt-4o-mini, because OPENAI_API_KEY is set"),
        (replace(OPENAI, openai_model="gpt-5"), "openai:gpt-5, because OPENAI_API_KEY is set"),
        (BOTH, "openai:gpt-4o-mini, because OPENAI_API_KEY is set"),
        (replace(BOTH, openai_api_key=None), "tgi:tgi, because TGI_BASE_URL is set"),
        (replace(BOTH, llm_provider="tgi"), "tgi:tgi, because LLM_PROVIDER is set"),
        (replace(BOTH, default_model="tgi:adapter"), "tgi:adapter, because DEFAULT_MODEL is set"),
        (replace(BOTH, default_model="openai:o5", llm_provider="tgi"), "openai:o5, because DEFAULT_MODEL is set"),
        (replace(OPENAI, llm_provider="demo"), "demo:echo, because LLM_PROVIDER is set"),
        (ProvidersConfig(detect_local=False), "demo:echo, because no key, no base URL and no model server on this machine was found"),
        (ProvidersConfig(), "demo:echo, because no key, no base URL and no model server on this machine was found"),
    ],
)  # fmt: skip
async def test_first_rung_that_holds_is_chosen(config: ProvidersConfig, line: str) -> None:
    async with opened(config) as registry:
        assert registry.choice.line == line
        assert registry.resolve(None).info.id == registry.choice.model_id


async def test_other_configured_models_can_be_asked_for() -> None:
    async with opened(replace(BOTH, default_model="openai:o5")) as registry:
        ids = [model.id for model in registry.models()]
    assert ids == ["openai:o5", "openai:gpt-4o-mini", "tgi:tgi"]


@pytest.mark.parametrize("wanted", ["anthropic:claude", "ollama", "tgi:x", "gpt-4o-mini"])
async def test_explicit_model_that_is_not_there_is_an_error(wanted: str) -> None:
    with pytest.raises(UnknownModel, match=f"DEFAULT_MODEL is {wanted}, .*openai:gpt-4o-mini"):
        await open_registry(replace(OPENAI, default_model=wanted), NOBODY)


async def test_base_url_alone_asks_for_the_models() -> None:
    async with model_server() as server:
        server.routes["GET /v1/models"] = json_reply({"data": [{"id": "llama"}, {"id": "b"}]})
        config = ProvidersConfig(openai_base_url=f"{server.base_url}/", deadlines=LONG)
        async with opened(config) as registry:
            assert registry.choice.line == "openai:llama, because OPENAI_BASE_URL is set"
        async with opened(replace(config, openai_model="b")) as registry:
            assert registry.choice.model_id == "openai:b"


@pytest.mark.parametrize("reply", [json_reply({"data": []}), json_reply({}, 500)])
async def test_base_url_without_a_list_keeps_the_default(reply: Reply) -> None:
    async with model_server() as server:
        server.routes["GET /v1/models"] = reply
        async with opened(ProvidersConfig(openai_base_url=server.base_url)) as registry:
            assert registry.choice.model_id == "openai:gpt-4o-mini"


async def test_server_that_is_not_up_yet_is_asked_when_it_is() -> None:
    port = find_free_port()
    url = f"http://127.0.0.1:{port}/v1"
    async with opened(ProvidersConfig(openai_base_url=url, deadlines=LONG)) as registry:
        route = registry.resolve("openai")
        assert route.info.id == "openai:first-listed"
        asked = replace(REQUEST, model=FIRST_LISTED)
        assert isinstance((await outcome_of(route.provider, asked)).error, Unreachable)
        async with model_server(sse(*answer("a")), port=port) as server:
            server.routes["GET /v1/models"] = json_reply({"data": [{"id": "llama"}]})
            assert (await outcome_of(route.provider, asked)).text == "a"
            assert server.requests[-1].json["model"] == "llama"


async def test_context_window_is_what_the_server_lists() -> None:
    async with model_server() as server:
        listed = {"data": [{"id": "a"}, {"id": "b", "max_model_len": 4096}]}
        server.routes["GET /v1/models"] = json_reply(listed)
        config = ProvidersConfig(openai_base_url=server.base_url, openai_model="b")
        async with opened(config) as registry:
            assert registry.resolve(None).info.capabilities.context_window == 4096


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
async def test_tgi_answers_at_any_form_of_its_url(path: str) -> None:
    async with model_server(sse(*answer("a"))) as server:
        config = ProvidersConfig(tgi_base_url=server.root + path, temperature=0.5, max_tokens=9)
        async with opened(config) as registry:
            route = registry.resolve("tgi")
            assert (await outcome_of(route.provider)).text == "a"
    sent = server.requests[-1]
    assert sent.path == "/v1/chat/completions"
    assert (sent.json["temperature"], sent.json["max_tokens"]) == (0.5, 9)


async def test_failed_choice_leaves_no_connection_open() -> None:
    async with model_server() as server:
        server.routes["GET /v1/models"] = json_reply({"data": [{"id": "llama"}]})
        config = ProvidersConfig(openai_base_url=server.base_url, default_model="nosuch")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            with pytest.raises(UnknownModel):
                await open_registry(config, NOBODY)
            gc.collect()
    assert warned == []


# --- on this machine ------------------------------------------------------------------------------

OLLAMA = {
    "GET /api/version": json_reply({"version": "0.12.6"}),
    "GET /v1/models": json_reply({"data": [{"id": "nomic-embed-text"}, {"id": "qwen3:0.6b"}]}),
}
LM_STUDIO = {
    "GET /api/v0/models": json_reply({"data": [
        {"id": "embed", "type": "embeddings", "state": "loaded", "compatibility_type": "gguf"},
        {"id": "big", "type": "llm", "state": "not-loaded", "compatibility_type": "gguf"},
        {"id": "small", "type": "vlm", "state": "loaded", "compatibility_type": "gguf"},
    ]}),
}  # fmt: skip
LLAMA_CPP = {
    "GET /v1/models": json_reply({"data": [{"id": "tiny.gguf", "owned_by": "llamacpp"}]}),
}
TGI = {"GET /info": json_reply({"model_id": "org/m", "max_total_tokens": 2048, "version": "3"})}


def everywhere(server: ModelServer) -> LoopbackPorts:
    return LoopbackPorts(server.port, server.port, server.port, server.port)


@pytest.mark.parametrize(
    ("routes", "line"),
    [
        (OLLAMA, "ollama:qwen3:0.6b, because Ollama answers on 127.0.0.1:"),
        (LM_STUDIO, "lmstudio:small, because LM Studio answers on 127.0.0.1:"),
        (LLAMA_CPP, "llamacpp:tiny.gguf, because llama.cpp answers on 127.0.0.1:"),
        (TGI, "tgi:tgi, because Text Generation Inference answers on 127.0.0.1:"),
        (TGI | LLAMA_CPP | LM_STUDIO | OLLAMA, "ollama:qwen3:0.6b, because"),
    ],
)
async def test_server_on_this_machine_is_found(routes: dict[str, Reply], line: str) -> None:
    async with model_server(sse(*answer("a"))) as server:
        server.routes = routes
        async with opened(ProvidersConfig(), everywhere(server)) as registry:
            assert registry.choice.line.startswith(line)
            assert (await outcome_of(registry.resolve(None).provider)).text == "a"


@pytest.mark.parametrize(
    "routes",
    [
        {"GET /v1/models": json_reply({"data": [{"id": "x", "owned_by": "vllm"}]})},
        OLLAMA | {"GET /v1/models": json_reply({"data": None})},
        {"GET /api/v0/models": json_reply({"data": [{"id": "x", "type": "llm"}]})},
        {"GET /api/version": body(b"<html>", "text/html"), "GET /info": json_reply([])},
        {"GET /info": body(b"\xff", "application/json")},
        {path: raw(hang) for path in (*OLLAMA, *LM_STUDIO, *TGI)},
    ],
    ids=["vLLM", "Ollama without models", "no LM Studio", "web site", "bytes", "silent"],
)
async def test_other_listeners_are_not_believed(routes: dict[str, Reply]) -> None:
    async with model_server() as server:
        server.routes = routes
        async with opened(ProvidersConfig(), everywhere(server)) as registry:
            assert registry.choice.model_id == "demo:echo"


async def test_nobody_is_asked_where_something_is_configured() -> None:
    async with model_server() as server:
        server.routes = OLLAMA
        for config in (OPENAI, ProvidersConfig(detect_local=False)):
            async with opened(config, everywhere(server)):
                assert server.connections == 0


async def test_local_provider_can_be_asked_for_by_name() -> None:
    async with model_server() as server:
        server.routes = OLLAMA
        config = replace(OPENAI, detect_local=False, default_model="ollama:llama3.2:3b")
        async with opened(config, everywhere(server)) as registry:
            assert registry.choice.line == "ollama:llama3.2:3b, because DEFAULT_MODEL is set"
            assert registry.resolve("openai").info.id == "openai:gpt-4o-mini"


# --- parley.toml ----------------------------------------------------------------------------------

FAST = ModelConfig("fast", "openai", "gpt-4o", label="Fast", fallbacks=("house",))
HOUSE = ModelConfig("house", "openai", "llama", base_url="http://127.0.0.1:1/v1")
FILE = replace(OPENAI, models=(FAST, HOUSE))


async def _shout(messages: Sequence[Message]) -> AsyncIterator[str]:
    yield messages[-1].text.upper()


SHOUT = {"shout": Function("shout", _shout)}


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (FILE, "fast, because it is the first in parley.toml"),
        (replace(FILE, file_default="house"), "house, because default_model is set in parley.toml"),
        (replace(FILE, file_default="house", llm_provider="openai"), "fast, because LLM_PROVIDER is set"),
        (replace(FILE, file_default="house", default_model="fast"), "fast, because DEFAULT_MODEL is set"),
        (replace(FILE, default_model="openai:gpt-4o"), "fast, because DEFAULT_MODEL is set"),
        (replace(FILE, default_model="openai:o5"), "openai:o5, because DEFAULT_MODEL is set"),
        (replace(FILE, tgi_base_url="http://127.0.0.1:1", llm_provider="tgi"), "tgi:tgi, because LLM_PROVIDER is set"),
        (ProvidersConfig(functions=SHOUT), "shout, because it is the first in parley.toml"),
        (replace(FILE, functions=SHOUT, file_default="shout"), "shout, because default_model is set in parley.toml"),
        (ProvidersConfig(hf_token="hf"), "huggingface:Qwen/Qwen2.5-7B-Instruct, because HF_TOKEN is set"),
        (ProvidersConfig(hf_token="hf", hf_model="o/m"), "huggingface:o/m, because HF_TOKEN is set"),
        (ProvidersConfig(gemini_api_key="g"), "gemini:gemini-2.5-flash, because GEMINI_API_KEY is set"),
        (replace(BOTH, hf_token="hf", gemini_api_key="g"), "openai:gpt-4o-mini, because OPENAI_API_KEY is set"),
    ],
)  # fmt: skip
async def test_file_stands_above_keys_and_below_the_environments_word(
    config: ProvidersConfig, line: str
) -> None:
    async with opened(config) as registry:
        assert registry.choice.line == line


async def test_only_rows_and_other_providers_are_offered() -> None:
    config = replace(FILE, tgi_base_url="http://127.0.0.1:1", functions=SHOUT)
    async with opened(config) as registry:
        assert [m.id for m in registry.models()] == ["fast", "house", "shout", "tgi:tgi"]
        assert registry.resolve("fast").fallbacks == ("house",)
        assert registry.resolve("fast").info.label == "Fast"
        assert (await outcome_of(registry.resolve("shout").provider)).text == "HELLO?"


@pytest.mark.parametrize(("row_key", "sent"), [(None, None), ("row-key", "Bearer row-key")])
async def test_key_never_goes_to_another_address(row_key: str | None, sent: str | None) -> None:
    async with model_server(sse(*answer("a"))) as server:
        row = replace(HOUSE, base_url=server.base_url, api_key=row_key)
        async with opened(replace(OPENAI, models=(row,))) as registry:
            await outcome_of(registry.resolve("house").provider)
    keys = {request.headers.get("authorization") for request in server.requests}
    assert keys == {sent}


async def test_rows_sampling_is_sent() -> None:
    async with model_server(sse(*answer("a"))) as server:
        row = replace(HOUSE, base_url=server.base_url, max_tokens=7, temperature=0.0)
        config = ProvidersConfig(models=(row,), max_tokens=9, temperature=1.0)
        async with opened(config) as registry:
            await outcome_of(registry.resolve("house").provider)
    (asked,) = (r.json for r in server.requests if r.path == "/v1/chat/completions")
    assert (asked["max_tokens"], asked["temperature"]) == (7, 0.0)


async def test_rows_of_one_server_share_its_connections() -> None:
    config = replace(FILE, models=(HOUSE, replace(HOUSE, id="again", model="b")))
    async with opened(config) as registry:
        assert registry.resolve("house").provider is registry.resolve("again").provider


@pytest.mark.parametrize("asked", ["house", "again", "same"])
async def test_error_names_the_settings_of_the_row_that_was_asked(asked: str) -> None:
    refused = json_reply({"error": {"message": "no", "code": "model_not_found"}}, 404)
    async with model_server(refused) as server:
        house = replace(HOUSE, base_url=server.base_url)
        others = (replace(house, id="again", model="b"), replace(house, id="same"))
        async with opened(ProvidersConfig(models=(house, *others))) as registry:
            route = registry.resolve(asked)
            assert route.provider is registry.resolve("house").provider
            request = replace(REQUEST, model=route.upstream_model, model_id=route.info.id)
            error = (await outcome_of(route.provider, request)).error
    assert error
    assert error.message.endswith(f"Check models.{asked}.model.")
    assert error.for_log.endswith(f"Check models.{asked}.model.")


async def test_model_of_the_environment_beside_a_row_names_its_own_setting() -> None:
    refused = json_reply({"error": {"message": "no", "code": "model_not_found"}}, 404)
    async with model_server(refused) as server:
        row = ModelConfig("fast", "openai", "a")
        config = ProvidersConfig(
            openai_base_url=server.base_url, models=(row,), default_model="openai:b"
        )
        async with opened(config) as registry:
            route = registry.resolve("openai:b")
            assert route.provider is registry.resolve("fast").provider
            given = await outcome_of(route.provider, replace(REQUEST, model="b"))
    assert given.error is not None
    assert given.error.message.endswith("Check OPENAI_MODEL.")


async def test_health_names_the_settings_of_each_row() -> None:
    house = replace(HOUSE, base_url=f"http://127.0.0.1:{find_free_port()}/v1")
    config = ProvidersConfig(models=(house, replace(house, id="again", model="b")))
    async with opened(config) as registry:
        await registry.resolve("house").provider.health()
        told = await registry.health()
    for key in ("house", "again"):
        for said in (told[key].reason, told[key].for_log, told[key].for_operator):
            assert f"Check models.{key}.base_url," in said


async def test_silent_server_of_a_row_does_not_hold_up_the_start() -> None:
    async with model_server() as server:
        server.routes["GET /v1/models"] = raw(hang)
        rows = (replace(HOUSE, base_url=server.base_url),)
        async with opened(ProvidersConfig(models=rows)) as registry:
            assert registry.choice.model_id == "house"


@pytest.mark.parametrize("wanted", ["HF", "gemini:x"])
async def test_default_of_the_file_must_be_there(wanted: str) -> None:
    with pytest.raises(UnknownModel, match=f"default_model is {wanted}"):
        await open_registry(replace(FILE, file_default=wanted), NOBODY)


def test_ports_are_those_of_the_servers() -> None:
    """Never 8000: it is Parley's own."""
    assert LoopbackPorts() == LoopbackPorts(ollama=11434, lmstudio=1234, llamacpp=8080, tgi=8080)


async def test_row_says_what_its_model_is_told_first() -> None:
    rows = (
        ModelConfig("a", "openai", "m", system_prompt="You are a."),
        ModelConfig("b", "openai", "m"),
        ModelConfig("c", "demo", system_prompt="You are c."),
    )
    async with opened(replace(OPENAI, models=rows)) as registry:
        told = [registry.resolve(name).system_prompt for name in "abc"]
        assert registry.resolve("a").provider is registry.resolve("b").provider
    assert told == ["You are a.", None, "You are c."]


async def test_environment_bounds_every_provider() -> None:
    config = replace(OPENAI, max_event_bytes=65536, max_concurrent=1, max_waiting=0)
    async with opened(config) as registry:
        provider = registry.resolve(None).provider
        assert isinstance(provider, Watched)
        assert provider.connection.max_event_bytes == 65536
        assert isinstance(provider.provider, Limited)


async def test_full_provider_names_the_setting() -> None:
    async with model_server(sse(chunk("a"), hang)) as server:
        config = ProvidersConfig(openai_base_url=server.base_url, max_concurrent=1, max_waiting=0)
        async with opened(config) as registry:
            provider = registry.resolve(None).provider
            async with provider.stream(REQUEST):
                given = await outcome_of(provider)
    assert type(given.error) is Overloaded
    assert "or raise PROVIDER_MAX_CONCURRENT" in given.error.message


async def test_hugging_face_is_offered_where_its_users_pay() -> None:
    async with opened(ProvidersConfig(hf_by_users=True, deadlines=SHORT)) as registry:
        assert registry.choice.line.endswith("because people sign in with Hugging Face")
        route = registry.resolve(None)
        given = await outcome_of(route.provider, replace(REQUEST, model=route.upstream_model))
    assert type(given.error) is CredentialsRefused
    assert "Set HF_TOKEN, or sign in with Hugging Face." in given.error.message
