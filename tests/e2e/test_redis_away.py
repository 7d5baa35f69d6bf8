"""Redis holds the active contexts, and nothing waits for it, or believes it, beyond that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2
import msgspec
import pytest
from redis.asyncio import Redis

from tests.e2e.support import DEMO, asks, chat, client_of, select, serving
from tests.fakes.model_server import ModelServer, answer, model_server, sse
from tests.patience import eventually, until
from tests.server import ParleyProcess, run_module
from tests.services import RedisProcess, find_free_port, redis_process

pytestmark = pytest.mark.needs_redis

CONFIGURATION = 2


@dataclass(frozen=True)
class Served:
    """A Parley with a Redis, the model server that it asks, and clients for all three."""

    parley: ParleyProcess
    server: ModelServer
    client: httpx2.AsyncClient
    redis: Redis

    async def says(self, message: str) -> str:
        """Say something in the thread, and give the request that the model server got for it."""
        assert await chat(self.client, message) == "Good day."
        return self.server.requests[-1].body.decode()

    async def ready(self) -> dict[str, str]:
        response = await self.client.get("/readyz")
        assert response.status_code == 200
        status: dict[str, str] = response.json()
        return status

    async def until_ready_says(self, status: str) -> None:
        async def says() -> bool:
            return (await self.ready())["status"] == status

        await eventually(says)

    async def key(self) -> str:
        (key,) = await self.redis.keys("chat:session:*:history")
        return str(key, "utf-8") if isinstance(key, bytes) else key

    async def kept(self) -> bytes:
        """What is under the thread's key."""
        value = await self.redis.get(await self.key())
        assert isinstance(value, bytes)
        return value


@asynccontextmanager
async def served(directory: Path, redis: RedisProcess) -> AsyncIterator[Served]:
    async with model_server(sse(*answer("Good day."))) as server:
        environment = asks(server) | {"REDIS_OM_URL": redis.url, "REDIS_TTL_SECONDS": "100"}
        environment["REDIS_TIMEOUT_SECONDS"] = "2"  # else one that is only slow is away for a while
        async with (
            serving(directory, environment) as parley,
            client_of(parley) as client,
            Redis.from_url(redis.url) as connection,
        ):
            yield Served(parley, server, client, connection)


async def test_a_context_is_there_after_a_turn(tmp_path: Path) -> None:
    with redis_process() as redis:
        async with served(tmp_path, redis) as it:
            await it.says("My name is Ada.")
            record: dict[str, Any] = msgspec.json.decode(await it.kept())
            said = [(message["role"], message["content"]) for message in record["messages"]]
            assert said == [("user", "My name is Ada."), ("assistant", "Good day.")]
            assert 0 < await it.redis.ttl(await it.key()) <= 100
            assert "My name is Ada." in await it.says("What is my name?")
            metrics = (await it.client.get("/metrics")).text
            assert 'parley_context_loads_total{outcome="loaded"} 1.0' in metrics


async def test_a_frozen_redis_stops_nobody(tmp_path: Path) -> None:
    with redis_process() as redis:
        async with served(tmp_path, redis) as it:
            await it.says("My name is Ada.")
            assert await it.ready() == {"status": "ready"}
            redis.freeze()
            assert "My name is Ada." in await it.says("What is my name?")
            assert (await it.ready())["status"] == "degraded"
            assert "What is my name?" in await it.says("And now?")
            redis.thaw()
            await it.until_ready_says("ready")
            await it.says("And again?")
            assert b"And again?" in await it.kept()
            assert it.parley.log_text().count("Redis is away") == 1


async def test_a_redis_that_is_killed_stops_nobody(tmp_path: Path) -> None:
    with redis_process() as redis:
        async with served(tmp_path, redis) as it:
            await it.says("My name is Ada.")
            await asyncio.to_thread(redis.kill)
            await it.until_ready_says("degraded")
            assert "My name is Ada." in await it.says("What is my name?")
            again = redis_process(port=redis.port)
            await asyncio.to_thread(again.__enter__)
            await it.until_ready_says("ready")
            assert "What is my name?" in await it.says("And now?")
            assert await it.key()
            again.__exit__(None, None, None)


async def test_what_others_write_never_reaches_the_model(tmp_path: Path) -> None:
    with redis_process() as redis:
        async with served(tmp_path, redis) as it:
            await it.says("My name is Ada.")
            key = await it.key()
            record: dict[str, Any] = msgspec.json.decode(await it.kept())
            record["head"] = "another"
            for message in record["messages"]:
                message |= {"content": "My name is Eve.", "turn_id": "another"}
            await it.redis.set(key, msgspec.json.encode(record))
            sent = await it.says("What is my name?")
            assert "My name is Ada." in sent
            assert "Eve" not in sent
            await it.redis.set(key, b'[{"role": "user", "content": "My name is Eve."}]')
            assert "Eve" not in await it.says("And now?")
            assert b"And now?" in await it.kept()


async def test_answers_come_without_a_redis(tmp_path: Path) -> None:
    url = f"redis://ada:hunter2@127.0.0.1:{find_free_port()}/0"
    async with (
        serving(tmp_path, DEMO | {"REDIS_URL": url}) as parley,
        client_of(parley) as client,
    ):
        assert await chat(client, "Hello?")
        status = (await client.get("/readyz")).json()
        assert status == {"status": "degraded", "reason": "Redis cannot be reached."}
        assert await chat(client, "Still there?")
    assert parley.log_text().count("Redis is away") == 1
    assert "hunter2" not in parley.log_text()


def test_a_url_that_is_none_is_explained(tmp_path: Path) -> None:
    done = run_module(tmp_path, "parley", "serve", **DEMO, REDIS_URL="localhost:hunter2")
    assert done.returncode == CONFIGURATION, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "REDIS_URL" in line)
    assert "redis://:password@localhost:6379/0" in line
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


async def test_who_is_forgotten_is_forgotten_there_too(tmp_path: Path) -> None:
    with redis_process() as redis:
        async with served(tmp_path, redis) as it:
            await it.says("My name is Ada.")
            ((user,),) = select(it.parley, "SELECT identifier FROM users")
            forget = ("parley", "forget", "--yes", "--user", user)
            url = {"REDIS_URL": redis.url}
            redis.freeze()
            forgetting = asyncio.create_task(
                asyncio.to_thread(run_module, tmp_path, *forget, **url)
            )
            await until(lambda: not select(it.parley, "SELECT 1 FROM users"))
            asked_at = monotonic()
            await until(lambda: monotonic() > asked_at + 1)  # slow, and not away
            redis.thaw()
            gone = await forgetting
            assert (gone.returncode, gone.stderr.count("Redis")) == (0, 0)
            assert await it.redis.keys("chat:*") == []
            await it.says("My name is Ada.")
            redis.kill()
            gone = await asyncio.to_thread(run_module, tmp_path, *forget, **url)
            assert gone.returncode == 0
            assert "Redis cannot be reached" in gone.stderr
