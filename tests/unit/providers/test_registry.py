"""The registry leads a model id to its provider, knows its health, and closes what it owns."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from typing_extensions import override

from parley.chat.errors import CredentialsRefused, UnknownModel, Unreachable
from parley.chat.models import Health, HealthState, ModelInfo
from parley.chat.ports import Catalogue, Route
from providers.config import ModelConfig
from providers.demo import DemoProvider
from providers.health import Breaker, BreakerConfig, Watched
from providers.openai_compatible import FIRST_LISTED, OpenAICompatible
from providers.registry import Choice, Registry
from tests.fakes.model_server import ModelServer, answer, hang, json_reply, model_server, raw, sse
from tests.patience import eventually, until
from tests.unit.providers.support import REQUEST, SHORT, connection, outcome_of


class Closing(DemoProvider):
    """Counts its closings, and fails at them if it is told to."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.closed = 0
        self._fails = fails

    @override
    async def aclose(self) -> None:
        self.closed += 1
        if self._fails:
            raise ConnectionResetError


def route(provider: str, name: str, backend: DemoProvider | None = None) -> Route:
    info = ModelInfo(f"{provider}:{name}", provider, name, name)
    return Route(info, backend or DemoProvider(), name)


ROUTES = (route("a", "x"), route("a", "y:7b"), route("b", "z"))
REGISTRY: Catalogue = Registry(ROUTES, Choice("b:z", "it is here"))


@pytest.mark.parametrize(
    ("asked", "found"),
    [("a:x", "a:x"), ("a:y:7b", "a:y:7b"), ("a", "a:x"), ("b", "b:z"), (None, "b:z")],
)
def test_id_leads_to_its_route(asked: str | None, found: str) -> None:
    resolved = REGISTRY.resolve(asked)
    assert f"{resolved.info.provider}:{resolved.upstream_model}" == found


@pytest.mark.parametrize("asked", ["a:z", "A:x", "x", "", "c", "a:", "a:x\n"])
def test_other_ids_are_unknown(asked: str) -> None:
    with pytest.raises(UnknownModel, match="Known are: b:z, a:x, a:y:7b") as caught:
        REGISTRY.resolve(asked)
    assert "\n" not in caught.value.message


def test_default_is_listed_first() -> None:
    assert [model.id for model in REGISTRY.models()] == ["b:z", "a:x", "a:y:7b"]


def test_choice_is_one_line() -> None:
    assert Choice("a:x", "KEY is set").line == "a:x, because KEY is set"


async def test_every_provider_is_closed_once() -> None:
    good, bad = Closing(), Closing(fails=True)
    routes = (route("a", "x", good), route("a", "y", good), route("b", "z", bad))
    with pytest.raises(ConnectionResetError):
        await Registry(routes, Choice("a:x", "")).aclose()
    assert (good.closed, bad.closed) == (1, 1)


# --- short ids ------------------------------------------------------------------------------------

FAST = Route(ModelInfo("fast", "openai", "gpt-4o", "Fast"), DemoProvider(), "gpt-4o")
OPENAI_ID = Route(ModelInfo("openai", "b", "z", "Named as a provider"), DemoProvider(), "z")


@pytest.mark.parametrize(
    ("asked", "found"),
    [("fast", "fast"), ("openai:gpt-4o", "fast"), ("openai", "openai"), ("b:z", "openai")],
)
def test_short_and_long_ids_lead_to_the_model(asked: str, found: str) -> None:
    registry = Registry((FAST, OPENAI_ID), Choice("fast", ""))
    assert registry.resolve(asked).info.id == found


# --- the breaker ----------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_breaker_lets_one_try_after_a_while() -> None:
    clock = Clock()
    breaker = Breaker(BreakerConfig(failures=2, open_s=10, most_open_s=30), clock)
    for wait_s in (10, 20, 30, 30):
        while not breaker.open or breaker.wait_s == 0:
            assert breaker.enter()
            breaker.failed()
        assert breaker.wait_s == wait_s
        assert not breaker.enter()
        clock.now += wait_s
    assert breaker.enter()
    assert not breaker.enter(), "one at a time"
    breaker.left()
    assert breaker.enter()
    breaker.succeeded()
    assert breaker.enter()
    assert not breaker.open


@asynccontextmanager
async def watched(server: ModelServer) -> AsyncGenerator[Watched]:
    place = connection(server.base_url, deadlines=SHORT)
    provider = Watched(OpenAICompatible(place), place, BreakerConfig(failures=2, open_s=60))
    try:
        yield provider
    finally:
        await provider.aclose()


async def test_provider_that_is_gone_is_left_alone() -> None:
    async with model_server(raw(hang)) as server, watched(server) as provider:
        for _ in range(2):
            await outcome_of(provider)
        error = (await outcome_of(provider)).error
        assert isinstance(error, Unreachable)
        assert len(server.requests) == 2
        assert "left alone for 60 seconds" in error.message
        assert "OPENAI_BASE_URL" in error.message
        assert error.retry_after_s is not None
        assert provider.known is not None
        assert provider.known.state is HealthState.DOWN


async def test_provider_that_refuses_is_there() -> None:
    async with model_server(json_reply({}, 401)) as server, watched(server) as provider:
        for _ in range(4):
            assert isinstance((await outcome_of(provider)).error, CredentialsRefused)


async def test_answer_in_between_counts_anew() -> None:
    replies = (raw(hang), sse(*answer("a")), raw(hang), sse(*answer("b")))
    async with model_server(*replies) as server, watched(server) as provider:
        texts = [(await outcome_of(provider)).text for _ in replies]
    assert texts == ["", "a", "", "b"]


async def test_stop_says_nothing_of_the_provider() -> None:
    async with model_server(sse(*answer("a", "b"))) as server, watched(server) as provider:
        for _ in range(3):
            async with provider.stream(REQUEST) as deltas:
                await anext(aiter(deltas))
        assert (await outcome_of(provider)).text == "ab"


async def test_trial_that_nobody_waited_for_may_be_tried_again() -> None:
    at_once = BreakerConfig(failures=1, open_s=0)
    async with model_server(raw(hang), sse(*answer("a"))) as server, watched(server) as inner:
        provider = Watched(inner.provider, inner.connection, at_once)
        await outcome_of(provider)
        async with provider.stream(REQUEST):
            pass
        assert (await outcome_of(provider)).text == "a"


# --- health ---------------------------------------------------------------------------------------


class Silent(DemoProvider):
    """Says how it is doing when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.go_on = asyncio.Event()

    @override
    async def health(self) -> Health:
        self.asked += 1
        await self.go_on.wait()
        return Health(HealthState.OK)


def of(provider: DemoProvider, key: str) -> Route:
    return replace(route(key, "x"), provider=Watched(provider, connection("http://127.0.0.1:1")))


async def test_silent_provider_keeps_nobody_waiting() -> None:
    silent = Silent()
    registry = Registry((of(silent, "a"), of(DemoProvider(), "b")), Choice("a:x", ""))
    for _ in range(3):
        assert list(await registry.health()) == ["b:x"]
    assert silent.asked == 1, "one question at a time"
    silent.go_on.set()

    async def both() -> bool:
        return len(await registry.health()) == 2

    await eventually(both)
    assert silent.asked == 1, "what is fresh is not asked again"
    await registry.aclose()


async def test_closing_ends_what_is_asked() -> None:
    before = asyncio.all_tasks()
    registry = Registry((of(Silent(), "a"),), Choice("a:x", ""))
    await registry.health()
    assert asyncio.all_tasks() != before
    await registry.aclose()
    assert asyncio.all_tasks() == before


async def test_window_of_a_row_is_learned_from_its_server() -> None:
    async with model_server() as server:
        listed = {"data": [{"id": "m", "max_model_len": 4096}]}
        server.routes["GET /v1/models"] = json_reply(listed)
        async with watched(server) as provider:
            info = ModelInfo("house", "openai", "m", "House")
            row = ModelConfig("house", "openai", "m", context_window=9000, tools=True)
            first = Route(info, provider, "m")
            registry = Registry((first,), Choice("house", ""), {"house": row})
            registry.learn()
            await until(lambda: registry.resolve("house") is not first)
            can = registry.resolve("house").info.capabilities
            assert (can.context_window, can.tools) == (4096, True)
            await registry.aclose()


async def test_first_listed_model_is_known_by_its_name() -> None:
    async with model_server(sse(*answer("a")), sse(*answer("b"))) as server:
        server.routes["GET /v1/models"] = json_reply({"data": [{"id": "m", "max_model_len": 4096}]})
        async with watched(server) as provider:
            row = ModelConfig("house", "openai", label="House", tools=True)
            info = ModelInfo("house", "openai", FIRST_LISTED, "House")
            first = Route(info, provider, FIRST_LISTED)
            registry = Registry((first,), Choice("house", ""), {"house": row})
            registry.learn()
            await until(lambda: registry.resolve("house") is not first)
            route = registry.resolve("house")
            assert (route.upstream_model, route.info.name, route.info.label) == ("m", "m", "House")
            assert route.info.capabilities.context_window == 4096
            assert route.info.capabilities.tools
            server.routes["GET /v1/models"] = json_reply({"data": [{"id": "n"}]})
            provider.known_at -= 31
            assert registry.resolve("house").upstream_model == "m"
            await until(lambda: registry.resolve("house").upstream_model == "n")
            await registry.aclose()


async def test_only_model_of_a_server_is_meant_by_any_name() -> None:
    async with model_server() as server:
        server.routes["GET /v1/models"] = json_reply({"data": [{"id": "m", "max_model_len": 99}]})
        async with watched(server) as provider:
            route = Route(ModelInfo("house", "openai", "alias", "House"), provider, "alias")
            row = ModelConfig("house", "openai", "alias")
            registry = Registry((route,), Choice("house", ""), {"house": row})
            await registry.health()
            await until(lambda: registry.resolve("house") is not route)
            learned = registry.resolve("house")
            assert (learned.upstream_model, learned.info.name) == ("alias", "alias")
            assert learned.info.capabilities.context_window == 99
            await registry.aclose()
