"""What the tests of providers share: a request, a provider on a fake server, an outcome."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from parley.chat.deltas import Delta, Text
from parley.chat.errors import ProviderError
from parley.chat.messages import Message, Role
from parley.chat.models import CompletionRequest
from parley.chat.ports import Provider
from providers.config import Connection, Deadlines
from providers.openai_compatible import OpenAICompatible
from tests.fakes.model_server import ModelServer, Reply, model_server

REQUEST = CompletionRequest("m", (Message.of(Role.USER, "Hello?"),))
SHORT = Deadlines(connect_s=0.2, first_event_s=0.2, idle_s=0.2, total_s=5)
# Only what a test is about may run out: see `late`.
LONG = Deadlines(connect_s=60, first_event_s=60, idle_s=60, total_s=60, after_finish_s=60)


def late(phase: str, after_s: float = 0.2) -> Deadlines:
    """Deadlines of which only that of this phase is short: nothing before it may be too late for one."""
    return replace(LONG, **{f"{phase}_s": after_s})


@dataclass(frozen=True)
class Outcome:
    """All that a stream gave, and the error that it ended with."""

    deltas: list[Delta]
    error: ProviderError | None = None

    @property
    def text(self) -> str:
        return "".join(d.text for d in self.deltas if isinstance(d, Text))


async def outcome_of(provider: Provider, request: CompletionRequest = REQUEST) -> Outcome:
    deltas: list[Delta] = []
    try:
        async with provider.stream(request) as stream:
            async for delta in stream:
                deltas.append(delta)  # noqa: PERF401 - kept also when the stream fails
    except ProviderError as error:
        return Outcome(deltas, error)
    return Outcome(deltas)


def connection(
    base_url: str, api_key: str | None = None, deadlines: Deadlines = LONG
) -> Connection:
    return Connection(
        "openai",
        base_url,
        api_key,
        deadlines=deadlines,
        key_setting="OPENAI_API_KEY",
        url_setting="OPENAI_BASE_URL",
        model_setting="OPENAI_MODEL",
    )


@asynccontextmanager
async def served(
    *replies: Reply, api_key: str | None = None, deadlines: Deadlines = LONG
) -> AsyncGenerator[tuple[OpenAICompatible, ModelServer]]:
    """A provider, and the fake server that it talks to."""
    async with model_server(*replies) as server:
        provider = OpenAICompatible(connection(server.base_url, api_key, deadlines))
        try:
            yield provider, server
        finally:
            await provider.aclose()


async def answered(*replies: Reply, deadlines: Deadlines = LONG) -> Outcome:
    """What a provider makes of a server that replies so."""
    async with served(*replies, deadlines=deadlines) as (provider, _):
        return await outcome_of(provider)
