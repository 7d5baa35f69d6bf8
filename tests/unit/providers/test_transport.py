"""The transport keeps secrets, bounds what it reads and says when to come back."""

import errno
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import pytest

from parley.chat.errors import (
    BrokenStream,
    CredentialsRefused,
    ProtocolViolation,
    ProviderError,
    RequestRefused,
    TimedOut,
)
from parley.chat.messages import Message, Role
from parley.chat.models import CompletionRequest, HealthState
from providers.complaints import MAX_SAID_CHARS, one_line
from providers.config import Connection, ProvidersConfig
from providers.faults import MAX_RETRY_AFTER_S, network_fault, retry_after
from providers.openai_compatible import OpenAICompatible
from tests.fakes.model_server import (
    Reply,
    Step,
    answer,
    body,
    cut,
    hang,
    json_reply,
    model_server,
    sse,
)
from tests.unit.providers.support import LONG, answered, late, outcome_of, served

KEY = "sk-secret-0123456789"


async def test_key_is_sent_only_if_there_is_one() -> None:
    async with served(sse(*answer("a")), api_key=KEY) as (provider, server):
        await outcome_of(provider)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    async with served(sse(*answer("a"))) as (provider, server):
        await outcome_of(provider)
    assert "authorization" not in server.requests[0].headers


async def test_headers_of_the_connection_are_sent() -> None:
    async with model_server(sse(*answer("a"))) as server:
        provider = OpenAICompatible(Connection("x", server.base_url, headers={"X-Team": "t"}))
        await outcome_of(provider)
        await provider.aclose()
    assert server.requests[0].headers["x-team"] == "t"


async def test_key_that_is_echoed_is_not_shown() -> None:
    reply = json_reply({"error": {"message": f"Incorrect API key provided: {KEY}."}}, 401)
    async with served(reply, api_key=KEY) as (provider, _):
        error = (await outcome_of(provider)).error
    assert error is not None
    assert "Incorrect API key provided: [key]" in error.message
    assert KEY not in f"{error!r} {error.__cause__!r}"


@pytest.mark.parametrize(
    ("echoed", "shown"),
    [
        ("no user alice with hunter2%40home", "no user alice with [key]"),
        ("no user alice with hunter2@home", "no user alice with [key]"),
        ("Basic YWxpY2U6aHVudGVyMkBob21l is refused", "Basic [key] is refused"),
        ("sig s3cret/0123 is wrong", "sig [key] is wrong"),
        ("/v1?sig=s3cret%2F0123 is wrong", "/v1?sig=[key] is wrong"),
        ("no version 2024-06-01", "no version 2024-06-01"),
        ("team t3am-0123456789", "team [key]"),
    ],
)
async def test_secret_of_an_address_that_is_echoed_is_not_shown(echoed: str, shown: str) -> None:
    async with model_server(json_reply({"error": {"message": echoed}}, 400)) as server:
        address = server.base_url.replace("://", "://alice:hunter2%40home@")
        query = "api-version=2024-06-01&sig=s3cret%2F0123"
        headers = {"X-Team": "Team t3am-0123456789"}
        provider = OpenAICompatible(Connection("x", address, query=query, headers=headers))
        error = (await outcome_of(provider)).error
        await provider.aclose()
    assert error is not None
    assert f"(400): {shown}. " in error.message


async def test_password_in_the_address_beside_a_key_is_told() -> None:
    connection = Connection("x", "http://alice:hunter2@127.0.0.1:1/v1", KEY, key_setting="THE_KEY")
    provider = OpenAICompatible(replace(connection, url_setting="THE_URL"))
    error = (await outcome_of(provider)).error
    await provider.aclose()
    assert type(error) is CredentialsRefused
    assert "x does not accept the key: its address has a user and a password" in error.message
    assert error.message.endswith("Leave one of them out: THE_KEY or THE_URL.")


def test_secrets_are_in_no_repr() -> None:
    one = Connection("openai", "http://a", KEY, headers={"X-Key": KEY})
    config = ProvidersConfig(openai_api_key=KEY, tgi_api_key=KEY)
    assert KEY not in f"{one!r} {config!r}"


async def test_redirect_is_not_followed_with_the_key() -> None:
    async with model_server(sse(*answer("stolen"))) as thief:
        reply = body(b"", "text/plain", 307, {"Location": thief.base_url})
        async with served(reply, api_key=KEY) as (provider, _):
            assert type((await outcome_of(provider)).error) is RequestRefused
        assert thief.requests == []


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert (await answered(sse(*answer("a")))).text == "a"


async def test_cookies_are_not_kept() -> None:
    reply = body(b"".join(answer("a")), "text/event-stream", 200, {"Set-Cookie": "who=alice"})
    async with served(reply) as (provider, server):
        for _ in range(2):
            await outcome_of(provider)
    assert "cookie" not in server.requests[1].headers


async def test_key_that_is_no_header_is_refused() -> None:
    async with served(sse(*answer("a")), api_key="sk-\nX-Evil: 1") as (provider, server):
        error = (await outcome_of(provider)).error
        assert (await provider.health()).state is HealthState.DOWN
    assert type(error) is CredentialsRefused
    assert server.requests == []


async def test_text_that_is_no_unicode_is_refused() -> None:
    async with served(sse(*answer("a"))) as (provider, server):
        request = CompletionRequest("m", (Message.of(Role.USER, "\ud800"),))
        assert type((await outcome_of(provider, request)).error) is RequestRefused
    assert server.requests == []


async def test_list_over_the_limit_is_refused() -> None:
    async with served() as (provider, server):
        server.routes["GET /v1/models"] = body(b"[" + b" " * 5_000_000, "application/json")
        with pytest.raises(ProtocolViolation):
            await provider.models()


@pytest.mark.parametrize(("end", "error"), [(cut, BrokenStream), (hang, TimedOut)])
async def test_list_that_does_not_come_is_an_error(end: Step, error: type[ProviderError]) -> None:
    async with served(deadlines=late("first_event") if end is hang else LONG) as (provider, server):
        server.routes["GET /v1/models"] = Reply((b"[", end))
        with pytest.raises(error):
            await provider.models()


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("two\nlines\tand \x1b[31mred\x1b[0m", "two lines and [31mred [0m"),
        ("hid\u202eden\u2028text", "hid den text"),
        (f"{KEY} and again {KEY}", "[key] and again [key]"),
        ("x" * 10_000, "x" * MAX_SAID_CHARS + "…"),
    ],
)
def test_foreign_text_becomes_one_line(said: str, line: str) -> None:
    assert one_line(said, KEY) == line


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ECONNRESET, "Connection reset by peer"), (None, "the connection was closed")],
)
def test_address_that_a_library_names_is_not_told(number: int | None, said: str) -> None:
    broken = aiohttp.ClientOSError(number, "Can not write request body for http://10.0.0.7/v1")
    error = network_fault(Connection("x", "http://10.0.0.7/v1"), broken, "first_event")
    assert error.message == f"x ended the stream before the answer was complete: {said}. Try again."
    assert "10.0.0.7" not in error.for_log


def test_placeholder_for_a_key_is_no_secret() -> None:
    assert one_line("the EMPTY list", "EMPTY") == "the EMPTY list"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 0.5 ", 0.5),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:28:30 -0000", 30.0),
        ("Wed, 21 Oct 2020 07:28:00 GMT", 0.0),
        ("86400", MAX_RETRY_AFTER_S),
        ("9" * 400, MAX_RETRY_AFTER_S),
        ("Wed, 21 Oct 2099 07:28:00 GMT", MAX_RETRY_AFTER_S),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds


async def test_retry_after_reaches_the_caller() -> None:
    outcome = await answered(json_reply({}, 429, {"Retry-After": "7"}))
    assert outcome.error is not None
    assert outcome.error.retry_after_s == 7.0
