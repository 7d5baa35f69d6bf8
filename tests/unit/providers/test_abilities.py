"""What servers tell of their models: in their lists, and on routes of their own."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.chat.models import Capabilities
from providers.listing import read_listing
from tests.fakes.model_server import Reply, body, hang, json_reply, raw
from tests.unit.providers.support import served

LISTS: dict[str, tuple[dict[str, Any], Capabilities]] = {
    "OpenAI": ({"object": "model", "owned_by": "openai"}, Capabilities()),
    "vLLM": ({"max_model_len": 4096}, Capabilities(4096)),
    "Groq": ({"context_window": 131072}, Capabilities(131072)),
    "Mistral": (
        {"max_context_length": 32768, "capabilities": {"function_calling": True, "vision": True}},
        Capabilities(32768, tools=True, vision=True),
    ),
    "llama.cpp": ({"meta": {"n_ctx": 2048, "n_ctx_train": 8192}}, Capabilities(2048)),
    "OpenRouter": (
        {
            "context_length": 200000,
            "supported_parameters": ["tools", "reasoning", "seed"],
            "architecture": {"input_modalities": ["text", "image"]},
        },
        Capabilities(200000, tools=True, vision=True, reasoning=True),
    ),
    "Hugging Face's router": (
        {
            "architecture": {"input_modalities": ["text"]},
            "providers": [
                {"provider": "a", "context_length": 131072, "supports_tools": True},
                {"provider": "b", "context_length": 65536, "supports_tools": False},
                {"provider": "c"},
            ],
        },
        Capabilities(65536, tools=True),
    ),
    "nonsense": (
        {"max_model_len": "many", "meta": [1], "architecture": "x", "providers": {"a": 1}},
        Capabilities(),
    ),
}


@pytest.mark.parametrize(("row", "can"), LISTS.values(), ids=LISTS.keys())
def test_list_tells_in_its_own_words(row: dict[str, Any], can: Capabilities) -> None:
    document = json.dumps({"object": "list", "data": [{"id": "m", **row}]}).encode()
    (listed,) = read_listing(document)
    assert (listed.name, listed.capabilities) == ("m", can)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    ["owned_by", "meta", "supported_parameters", "architecture", "providers", "capabilities"]
)


@given(st.dictionaries(_KEYS, _JSON))
def test_any_row_with_an_id_is_a_model(row: dict[str, Any]) -> None:
    (listed,) = read_listing(json.dumps({"data": [{**row, "id": "m"}]}).encode())
    assert listed.name == "m"


def test_what_is_no_list_is_told() -> None:
    with pytest.raises(msgspec.DecodeError):
        read_listing(b'{"data": "none"}')


async def told(owner: str, **routes: Reply) -> Capabilities:
    """What the model `m` is said to be able to do, by a server with these routes."""
    async with served() as (provider, server):
        rows = [{"id": "m", "owned_by": owner}]
        server.routes["GET /v1/models"] = json_reply({"object": "list", "data": rows})
        for route, reply in routes.items():
            method, _, path = route.partition("_")
            server.routes[f"{method} /{path.replace('_', '/')}"] = reply
        (model,) = await provider.models()
        return model.capabilities


async def test_llama_cpp_tells_by_its_template() -> None:
    props = {
        "chat_template_caps": {"supports_tools": True},
        "modalities": {"vision": True, "audio": False},
    }
    can = await told("llamacpp", GET_props=json_reply(props))
    assert (can.tools, can.vision) == (True, True)


async def test_ollama_tells_of_each_model() -> None:
    shown = {"capabilities": ["completion", "tools", "thinking"]}
    can = await told("library", POST_api_show=json_reply(shown))
    assert (can.tools, can.vision, can.reasoning) == (True, False, True)


async def test_lm_studio_tells_in_a_list_of_its_own() -> None:
    rows = [
        {"id": "m", "type": "vlm", "max_context_length": 8192, "capabilities": ["tool_use"]},
        {"id": "other", "type": "llm"},
    ]
    can = await told("organization_owner", GET_api_v0_models=json_reply({"data": rows}))
    assert can == Capabilities(8192, tools=True, vision=True)


@pytest.mark.parametrize(
    "reply",
    [
        json_reply({}, 404),
        json_reply([1]),
        body(b"{", "application/json"),
        raw(hang),
        json_reply({"data": 5}),
    ],
    ids=["no route", "a list", "no JSON", "silence", "nonsense"],
)
@pytest.mark.parametrize("owner", ["llamacpp", "library", "organization_owner", "vllm"])
async def test_who_tells_nothing_has_no_abilities(owner: str, reply: Reply) -> None:
    routes = {"GET_props": reply, "POST_api_show": reply, "GET_api_v0_models": reply}
    assert await told(owner, **routes) == Capabilities()
