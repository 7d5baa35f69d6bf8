"""Hugging Face's dialect: where a request goes, with which token and model, and what comes back."""

from dataclasses import replace
from typing import Any

import pytest
from huggingface_hub.utils import _detect_agent

from parley.chat.deltas import Delta, Finish, FinishReason, Reasoning, Text, ToolCallDelta
from parley.chat.errors import CredentialsRefused, ModelMissing, RequestRefused
from parley.chat.messages import Message, Role
from parley.chat.models import Capabilities, HealthState, Sampling
from parley.chat.usage import Usage
from providers.config import Connection
from providers.huggingface import ROUTER_URL, HuggingFace, endpoint_url
from providers.openai_compatible import FIRST_LISTED
from tests.fakes.model_server import DONE, answer, chunk, delta, finish, json_reply, sse, usage
from tests.unit.providers.support import REQUEST, outcome_of
from tests.unit.providers.wires import ASKED, HUGGINGFACE, KEY, outcome, played

MODEL = "Qwen/Qwen2.5-7B-Instruct"


def at_router(key: str | None = KEY, provider: str = "auto") -> HuggingFace:
    options = {"provider": provider}
    return HuggingFace(Connection("huggingface", "", key, options=options, key_setting="HF_TOKEN"))


async def test_router_is_asked_where_there_is_no_url() -> None:
    written = await at_router().written(replace(REQUEST, model=MODEL))
    assert written.url == f"{ROUTER_URL}/chat/completions"
    assert written.headers["authorization"] == f"Bearer {KEY}"
    assert written.body == {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_nobody_else_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packaged client would fetch a list from huggingface.co for its first headers."""
    others: list[str] = []
    monkeypatch.setattr(_detect_agent, "_registry", None)
    monkeypatch.setattr(_detect_agent, "_fetch_registry", lambda: others.append("asked"))
    await at_router().written(replace(REQUEST, model=MODEL))
    assert others == []


@pytest.mark.parametrize(
    ("provider", "model", "sent"),
    [
        ("auto", MODEL, MODEL),
        ("", MODEL, MODEL),
        ("groq", MODEL, f"{MODEL}:groq"),
        ("groq", f"{MODEL}:together", f"{MODEL}:together"),
    ],
)
async def test_named_provider_is_told_to_the_router(provider: str, model: str, sent: str) -> None:
    """To look it up would be a request to the Hub, made while the event loop stands still."""
    written = await at_router(provider=provider).written(replace(REQUEST, model=model))
    assert isinstance(written.body, dict)
    assert (written.body["model"], written.url) == (sent, f"{ROUTER_URL}/chat/completions")


@pytest.mark.parametrize("key", [None, "", "sk-of-another-service"])
async def test_router_takes_only_its_own_tokens(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_machine")
    given = await outcome_of(at_router(key), replace(REQUEST, model=MODEL))
    assert type(given.error) is CredentialsRefused
    mend = "Check" if key else "Set"
    assert f"begin with hf_ only. {mend} HF_TOKEN" in given.error.message


async def test_token_of_this_machine_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_machine")
    async with played(HUGGINGFACE, sse(*answer("a")), key="") as (provider, server):
        assert (await outcome_of(provider)).text == "a"
    assert "hf_of_this_machine" not in str(server.requests[0].headers)


@pytest.mark.parametrize("model", ["http://127.0.0.1:1/v1", "HTTPS://elsewhere.example"])
async def test_model_that_is_an_address_is_refused(model: str) -> None:
    """The packaged client would send the token there."""
    for request in (replace(REQUEST, model=model), replace(ASKED, model=model)):
        given = await outcome(HUGGINGFACE, sse(*answer("a")), request=request)
        assert (type(given.error), given.deltas) == (ModelMissing, [])


async def test_used_up_credits_are_of_the_token() -> None:
    said = "You have exceeded your monthly included credits for Inference Providers."
    given = await outcome(HUGGINGFACE, json_reply({"error": said}, 402))
    assert type(given.error) is CredentialsRefused
    assert "monthly included credits" in given.error.message


async def test_text_that_is_not_unicode_is_refused() -> None:
    request = replace(REQUEST, messages=(Message.of(Role.USER, "\ud800"),))
    assert (
        type((await outcome(HUGGINGFACE, sse(*answer("a")), request=request)).error)
        is RequestRefused
    )


@pytest.mark.parametrize(
    ("pasted", "address"),
    [
        ("", ROUTER_URL),
        (
            "https://x.aws.endpoints.huggingface.cloud",
            "https://x.aws.endpoints.huggingface.cloud/v1",
        ),
        ("https://x.cloud/v1/", "https://x.cloud/v1"),
        ("https://x.cloud/v1/chat/completions", "https://x.cloud/v1"),
        ("https://x.cloud/path", "https://x.cloud/path/v1"),
    ],
)
def test_endpoint_is_written_in_any_form(pasted: str, address: str) -> None:
    assert endpoint_url(pasted) == address


@pytest.mark.parametrize(("model", "sent"), [("", "tgi"), (FIRST_LISTED, "tgi"), ("m", "m")])
async def test_endpoint_gets_what_is_set(model: str, sent: str) -> None:
    sampling = Sampling(max_tokens=9, temperature=0.5, top_p=0.9, stop=("x",), seed=7)
    request = replace(REQUEST, model=model, sampling=sampling)
    async with played(HUGGINGFACE, sse(*answer("a"))) as (provider, server):
        await outcome_of(provider, request)
    asked = server.requests[0]
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert {k: v for k, v in asked.json.items() if k not in {"messages", "stream_options"}} == {
        "model": sent,
        "stream": True,
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["x"],
        "seed": 7,
    }


CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SAID: dict[str, tuple[bytes, Delta]] = {
    "reasoning": (delta({"reasoning": "hm"}), Reasoning("hm")),
    "reasoning_content": (delta({"reasoning_content": "hm"}), Reasoning("hm")),
    "tool call": (delta({"tool_calls": [CALL]}), ToolCallDelta(0, "c1", "f", "{}")),
    "separators in text": (chunk("\u2028\u2029\u0085"), Text("\u2028\u2029\u0085")),
}


@pytest.mark.parametrize(("said", "expected"), SAID.values(), ids=SAID.keys())
async def test_delta_is_read(said: bytes, expected: Delta) -> None:
    given = await outcome(HUGGINGFACE, sse(said, finish("tool_calls"), usage(), DONE))
    end = Finish(FinishReason.TOOL_CALLS, "tool_calls")
    assert given.deltas == [expected, Usage(3, 2), end]


async def test_done_without_a_space_is_an_end() -> None:
    given = await outcome(HUGGINGFACE, sse(*answer("a")[:-1], b"data:[DONE]\n\n"))
    assert (given.text, given.error) == ("a", None)


async def test_models_are_those_of_the_server() -> None:
    listed: dict[str, Any] = {"data": [{"id": MODEL, "context_length": 32768}]}
    async with played(HUGGINGFACE) as (provider, server):
        server.routes["GET /v1/models"] = json_reply(listed)
        (model,) = await provider.models()
        assert (await provider.health()).state is HealthState.OK
    assert (model.id, model.name) == (f"huggingface:{MODEL}", MODEL)
    assert model.capabilities == Capabilities(context_window=32768)


async def test_router_has_no_tokenizer() -> None:
    assert at_router().tokenizer(MODEL) is None
    async with played(HUGGINGFACE) as (provider, _):
        assert provider.tokenizer(MODEL) is not None


OWN = "hf_oauth_0123456789own"


async def test_users_own_token_goes_before_the_operators() -> None:
    request = replace(REQUEST, model=MODEL, credential=OWN)
    for key in (KEY, None):
        written = await at_router(key).written(request)
        assert written.headers["authorization"] == f"Bearer {OWN}"
    assert OWN not in repr(request)
    assert request == replace(request, credential=None)


@pytest.mark.parametrize(
    ("url", "goes"),
    [
        ("https://x.aws.endpoints.huggingface.cloud", True),
        ("https://router.huggingface.co/v1", True),
        ("http://x.huggingface.cloud", False),
        ("https://huggingface.co.example.com/v1", False),
        ("https://evilhuggingface.co/v1", False),
        ("http://127.0.0.1:8080/v1", False),
    ],
)
async def test_users_own_token_stays_at_hugging_face(url: str, *, goes: bool) -> None:
    provider = HuggingFace(Connection("huggingface", url, KEY))
    written = await provider.written(replace(REQUEST, model=MODEL, credential=OWN))
    assert (written.headers["authorization"] == f"Bearer {OWN}") is goes


async def test_refusal_of_the_users_own_token_says_whose_it_is() -> None:
    provider = at_router()
    request = replace(REQUEST, model=MODEL, credential="of another service")
    given = await outcome_of(provider, request)
    assert type(given.error) is CredentialsRefused
    assert "sign in with Hugging Face again" in given.error.message
    assert "another service" not in given.error.message
    await provider.aclose()
