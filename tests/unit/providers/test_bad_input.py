"""What people get wrong, in every dialect: the message names the provider, what it said and what to change."""

from dataclasses import replace

import msgspec
import pytest

from parley.chat.errors import (
    ContextOverflow,
    CredentialsRefused,
    ModelMissing,
    ProtocolViolation,
    ProviderError,
    ProviderFault,
    RequestRefused,
    Unreachable,
)
from parley.chat.messages import Message, Role, ToolCallPart
from parley.chat.models import CompletionRequest, Health, HealthState, Sampling
from parley.surfaces.sentences import error_text
from parley.surfaces.texts import texts_of
from providers import gemini_request, huggingface, openai_compatible, openai_request
from providers.config import Deadlines, ProvidersConfig
from providers.faults import fault, refusal
from providers.standard import standard
from tests.fakes import gemini_wire, model_server
from tests.fakes.model_server import Reply, body, hang, json_reply, raw
from tests.unit.providers.support import LONG, Outcome, late, outcome_of
from tests.unit.providers.wires import ALL, ASKED, HUGGINGFACE, KEY, Wire, played

OPENAI = replace(HUGGINGFACE, name="openai", opens=openai_compatible.open_provider)
LOGIN = b"<html><head><title>Sign in - Corporate proxy</title></head></html>"


def openais(message: str, code: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}


# What a server says, the error, what of it is told, and the setting that is named.
MISTAKES: dict[str, tuple[Reply, type[ProviderError], str, str]] = {
    "wrong key": (json_reply(openais(f"Incorrect API key provided: {KEY}"), 401), CredentialsRefused, "Incorrect API key provided: [key]", "THE_KEY"),
    "key without rights": (json_reply(openais("Project has no access"), 403), CredentialsRefused, "Project has no access", "THE_KEY"),
    "key that is spent": (json_reply({"error": "You have exceeded your monthly credits"}, 402), CredentialsRefused, "monthly credits", "THE_KEY"),
    "wrong path": (json_reply({"detail": "Not Found"}, 404), RequestRefused, "nothing is at this address", "THE_URL"),
    "wrong path, web page": (body(b"<html><head><title>404 Not Found</title></head></html>", "text/html", 404), RequestRefused, "404 Not Found", "THE_URL"),
    "wrong method": (body(b"Method Not Allowed", "text/plain", 405), RequestRefused, "Method Not Allowed", "THE_URL"),
    "proxy that wants a sign-in": (body(LOGIN, "text/html"), ProtocolViolation, "Sign in - Corporate proxy", "THE_URL"),
    "proxy without its server": (body(b"<html><head><title>502 Bad Gateway</title></head></html>", "text/html", 502), ProviderFault, "502 Bad Gateway", "its log"),
    "proxy that redirects": (body(b"", "text/plain", 302, {"Location": "https://u:pw@login.example/v1?token=s3cret"}), RequestRefused, "it redirects to https://login.example/v1, which", "THE_URL"),
    "wrong parameter": (json_reply(openais("`top_p` must be below 1"), 400), RequestRefused, "must be below 1. Change what it names", "THE_MODEL"),
    "wrong parameter, TGI": (json_reply({"error": "Input validation error: `seed` must be positive", "error_type": "validation"}, 422), RequestRefused, "must be positive. Change what it names", "THE_MODEL"),
    "plain text to TLS": (body(b"Client sent an HTTP request to an HTTPS server.", "text/plain", 400), RequestRefused, "to an HTTPS server", "THE_URL"),
    "no such model": (json_reply(openais("The model `m` does not exist", "model_not_found"), 404), ModelMissing, "`m` does not exist", "THE_MODEL"),
    "no such model, Ollama": (json_reply({"error": {"message": 'model "m" not found, try pulling it first'}}, 404), ModelMissing, "try pulling it first", "THE_MODEL"),
    "no such model, Google": (json_reply(gemini_wire.failure(404, "NOT_FOUND", "models/m is not found for API version v1beta"), 404), ModelMissing, "models/m is not found", "THE_MODEL"),
    "too long": (json_reply(openais("This model's maximum context length is 8192 tokens.", "context_length_exceeded"), 400), ContextOverflow, "8192 tokens", "MAX_HISTORY_TOKENS"),
    "too long, TGI": (json_reply({"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3000", "error_type": "validation"}, 422), ContextOverflow, "must be <= 2048", "MAX_HISTORY_TOKENS"),
    "too long, Google": (json_reply(gemini_wire.failure(400, "INVALID_ARGUMENT", "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."), 400), ContextOverflow, "1048577", "MAX_HISTORY_TOKENS"),
}  # fmt: skip


async def told(wire: Wire, reply: Reply) -> Outcome:
    async with played(wire, reply) as (provider, _):
        return await outcome_of(provider, ASKED)


@pytest.mark.parametrize("wire", [OPENAI, *ALL], ids=lambda wire: wire.name)
@pytest.mark.parametrize(
    ("reply", "error", "said", "setting"), MISTAKES.values(), ids=MISTAKES.keys()
)
async def test_mistake_is_told_with_its_mend(
    wire: Wire, reply: Reply, error: type[ProviderError], said: str, setting: str
) -> None:
    given = await told(wire, reply)
    assert (type(given.error), given.deltas) == (error, [])
    assert given.error is not None
    message = given.error.message
    assert message.startswith(wire.name.partition(" ")[0])
    assert said in message
    assert setting in message
    assert KEY not in message


@pytest.mark.parametrize("wire", [OPENAI, *ALL], ids=lambda wire: wire.name)
@pytest.mark.parametrize("key", [KEY, "no-hf-token"])
@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/v1", "http://no-such-host.invalid/v1", "http://[::1/v1", "nonsense", "ftp://127.0.0.1/v1", "127.0.0.1:8080/v1"],
)  # fmt: skip
async def test_address_that_leads_nowhere_is_named(wire: Wire, url: str, key: str) -> None:
    provider = wire.opens(wire.connection(url, key=key), ASKED.sampling)
    given = await outcome_of(provider, ASKED)
    await provider.aclose()
    assert type(given.error) is Unreachable
    assert "Check THE_URL, and that the server runs." in given.error.message
    assert KEY not in given.error.message


@pytest.mark.parametrize("wire", [OPENAI, *ALL], ids=lambda wire: wire.name)
@pytest.mark.parametrize("status", [401, 403])
async def test_missing_key_is_told_with_what_gives_it(wire: Wire, status: int) -> None:
    reply = json_reply(openais("You didn't provide an API key."), status)
    async with played(wire, reply, key=None) as (provider, _):
        given = await outcome_of(provider, ASKED)
    assert isinstance(given.error, CredentialsRefused)
    name = wire.name.partition(" ")[0]
    assert given.error.message == (
        f"{name} wants a key, and none is set ({status}): You didn't provide an API key. Set THE_KEY."
    )
    german = error_text(texts_of("de"), given.error.message)
    assert german.startswith(f"{name} will einen Schlüssel, und es ist keiner gesetzt ({status})")


async def test_router_without_a_token_says_what_gives_one() -> None:
    config = ProvidersConfig(hf_by_users=True)
    provider = huggingface.open_provider(standard("huggingface", config), ASKED.sampling)
    given = await outcome_of(provider, ASKED)
    await provider.aclose()
    assert given.error is not None
    assert given.error.message.startswith("huggingface wants a key, and none is set: the router")
    assert given.error.message.endswith("Set HF_TOKEN, or sign in with Hugging Face.")


async def test_key_in_a_query_may_be_the_one_that_is_refused() -> None:
    async with played(OPENAI, json_reply({}, 401), key=None) as (provider, _):
        keyed = replace(provider.connection, query="sig=s3cret-s3cret")  # type: ignore[attr-defined]
        other = OPENAI.opens(keyed, ASKED.sampling)
        given = await outcome_of(other, ASKED)
        await other.aclose()
    assert given.error is not None
    assert given.error.message == "openai does not accept the key (401). Check THE_KEY."


async def health(wire: Wire, reply: Reply, deadlines: Deadlines = LONG) -> Health:
    async with played(wire, deadlines=deadlines) as (provider, server):
        for path in ("/models", "/v1/models", "/health", "/v1beta/models?pageSize=1000"):
            server.routes[f"GET {path}"] = reply
        return await provider.health()


@pytest.mark.parametrize("wire", [OPENAI, *ALL], ids=lambda wire: wire.name)
async def test_page_of_a_proxy_is_no_health(wire: Wire) -> None:
    told = await health(wire, body(LOGIN, "text/html"))
    assert told.state is not HealthState.OK
    assert 'a web page, "Sign in - Corporate proxy". Check THE_URL.' in told.reason


@pytest.mark.parametrize("wire", [OPENAI, *ALL], ids=lambda wire: wire.name)
async def test_silent_server_is_told_with_the_time_that_it_had(wire: Wire) -> None:
    told = await health(wire, raw(hang), late("first_event"))
    assert told.state is HealthState.DOWN
    assert "within 0.2 seconds. Check THE_URL, and that the server runs." in told.reason


@pytest.mark.parametrize("wire", [OPENAI, *ALL], ids=lambda wire: wire.name)
async def test_version_is_advised_where_addresses_have_one(wire: Wire) -> None:
    provider = wire.opens(wire.connection("http://x.example/api"), ASKED.sampling)
    connection = provider.connection  # type: ignore[attr-defined]  # that of every dialect
    await provider.aclose()
    said = refusal(connection, 404, {}, b"").message
    assert ("usually ends in /v1" in said) == (wire is OPENAI)


@pytest.mark.parametrize("wire", [OPENAI, *ALL], ids=lambda wire: wire.name)
@pytest.mark.parametrize("key", ["two\nlines", "ünïcode", "with\x00nul"])
async def test_key_that_is_no_header_is_refused_unshown(wire: Wire, key: str) -> None:
    async with played(wire, model_server.sse(*wire.answer("a")), key=f"hf_{key}") as (provider, _):
        given = await outcome_of(provider, ASKED)
    if given.error is not None:  # some servers take more than ASCII
        assert isinstance(given.error, CredentialsRefused)
        assert key not in given.error.message


@pytest.mark.parametrize(
    ("name", "host"),
    [("gemini", "generativelanguage.googleapis.com"), ("huggingface", "router.huggingface.co")],
)
def test_no_setting_is_named_for_the_address_of_a_service(name: str, host: str) -> None:
    config = ProvidersConfig(hf_provider="groq")
    said = fault(Unreachable, standard(name, config)).message
    assert said.endswith(f"Check the way to {host}, and that the server runs.")
    assert host in error_text(texts_of("ja"), said)
    missing = fault(ModelMissing, standard(name, config)).message
    assert ("HF_MODEL, HF_PROVIDER" in missing) == (name == "huggingface")


def test_arguments_that_go_deep_are_sent_as_the_text_that_they_are() -> None:
    deep = "[" * 100_000
    said = Message(Role.ASSISTANT, (ToolCallPart("c1", "look", deep),))
    request = CompletionRequest("m", (said,), Sampling())
    tgi = openai_request.render(request, Sampling(), openai_request.TGI)
    gemini = gemini_request.render(request, Sampling(), thinks=False)
    assert deep.encode() in msgspec.json.encode(tgi)
    assert deep.encode() in msgspec.json.encode(gemini)
