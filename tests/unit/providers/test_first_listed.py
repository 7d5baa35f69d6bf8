"""A model that nobody named, of a server that is started again with another one."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs
from typing_extensions import override

from parley.chat.turns import TurnState
from parley.fake_server.exchange import Reply, Request, listening
from parley.fake_server.script import parse_script
from parley.fake_server.server import ScriptedServer
from providers.config import ModelConfig, ProvidersConfig
from providers.ladder import open_registry
from tests.fakes.model_server import answer, json_reply, model_server, sse
from tests.patience import until
from tests.services import find_free_port
from tests.unit.chat.support import Bench
from tests.unit.chat.test_attempts import asking
from tests.unit.providers.support import LONG


class Counting(ScriptedServer):
    """Counts how often its list was asked for."""

    lists = 0

    @override
    def reply_to(self, request: Request) -> Reply:
        self.lists += request.path == "/v1/models"
        return super().reply_to(request)


@asynccontextmanager
async def running(model: str, port: int, more: str = "") -> AsyncGenerator[Counting]:
    """A server of one model, which refuses every other."""
    script = f'model = "{model}"\nknown_models_only = true\n{more}'
    server = Counting(parse_script(script))
    async with listening(server, port=port):
        yield server


async def asked(bench: Bench, **changes: Any) -> list[tuple[str, str, str]]:
    """The attempts of a turn that is answered: model, reason, outcome."""
    turn = await bench.submit(**changes)
    await bench.events(turn)
    row = await bench.row(turn)
    assert row.state is TurnState.COMPLETED, row.answer.error_message
    return [(a.model, a.reason, a.outcome) for a in row.answer.attempts]


@pytest.fixture(params=["a row of the file", "the environment alone"])
def config(request: pytest.FixtureRequest) -> tuple[ProvidersConfig, int]:
    """A server without a model's name, and its port."""
    port = find_free_port()
    url = f"http://127.0.0.1:{port}/v1"
    if request.param == "the environment alone":
        return ProvidersConfig(openai_base_url=url, deadlines=LONG), port
    row = ModelConfig("house", "openai", base_url=url)
    return ProvidersConfig(models=(row,), deadlines=LONG), port


async def test_next_answer_is_of_the_model_that_there_is_now(
    config: tuple[ProvidersConfig, int],
) -> None:
    settings, port = config
    async with AsyncExitStack() as stack:
        async with running("m", port) as first:
            registry = await open_registry(settings)
            stack.push_async_callback(registry.aclose)
            await until(lambda: registry.resolve(None).upstream_model == "m")
            bench = await stack.enter_async_context(asking(registry))
            assert await asked(bench) == [("m", "", "completed")]
            lists = first.lists
            assert lists > 0
            assert await asked(bench) == [("m", "", "completed")]
            assert first.lists == lists, "not asked ahead of each answer"
        async with running("n", port, "context_window = 4096") as second:
            threads = [str(uuid4()) for _ in range(4)]
            with capture_logs() as lines:
                answers = await asyncio.gather(*(asked(bench, thread_id=one) for one in threads))
            assert answers[0] == [
                ("m", "", "ModelMissing"),
                ("n", "failover after ModelMissing", "completed"),
            ]
            told = next(line for line in lines if line["event"] == "Another model is asked")
            assert (told["failed_model"], told["model"]) == ("m", "n")
            assert second.lists <= 4, "one question for all"
            lists = second.lists
            assert await asked(bench) == [("n", "", "completed")]
            assert second.lists == lists
            assert registry.resolve(None).info.name == "n"


async def test_model_that_is_there_stays_though_it_is_no_longer_the_first() -> None:
    port = find_free_port()
    async with model_server(sse(*answer("a")), port=port) as server:
        server.routes["GET /v1/models"] = json_reply({"data": [{"id": "m"}]})
        config = ProvidersConfig(openai_base_url=server.base_url, deadlines=LONG)
        registry = await open_registry(config)
        listed = [{"id": "just-pulled"}, {"id": "m", "max_model_len": 99}]
        server.routes["GET /v1/models"] = json_reply({"data": listed})
        await registry.health()
        await until(lambda: registry.resolve(None).info.capabilities.context_window == 99)
        assert registry.resolve(None).upstream_model == "m"
        await registry.aclose()


async def test_model_that_was_named_is_not_replaced() -> None:
    port = find_free_port()
    async with running("n", port):
        row = ModelConfig("house", "openai", "m", base_url=f"http://127.0.0.1:{port}/v1")
        registry = await open_registry(ProvidersConfig(models=(row,), deadlines=LONG))
        async with asking(registry) as bench:
            turn = await bench.submit()
            await bench.events(turn)
            said = (await bench.row(turn)).answer.error_message or ""
        await registry.aclose()
    assert "does not exist. Check models.house.model." in said
