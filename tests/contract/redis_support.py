"""What the suites of the Redis store share: records, stores, and what the metrics say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis

from parley.chat.turns import ContextRecord, Exchange
from parley.context.redis_address import read_redis_url
from parley.context.redis_store import RedisConfig, RedisContextStore, open_redis_store
from parley.observability.metrics import REGISTRY
from tests.patience import PATIENCE_S

THREAD = "thread"
KEY = f"chat:session:{THREAD}:history"
TTL_S = 100
# What ends a test that would wait for ever: no measure of how long anything takes.
PONG = b"+PONG\r\n"


def record(*answers: str) -> ContextRecord:
    ids = [str(uuid4()) for _ in (None, *answers)]
    turns = zip(ids[1:], (None, *ids[1:]), answers, strict=False)
    exchanges = tuple(Exchange(id, parent, "question", answer) for id, parent, answer in turns)
    return ContextRecord(ids[-1], exchanges)


@asynccontextmanager
async def store_at(url: str, timeout_s: float = PATIENCE_S) -> AsyncIterator[RedisContextStore]:
    """A store that waits for a Redis which is slow; `TIMEOUT_S` where a test is about one that is silent."""
    async with open_redis_store(RedisConfig(read_redis_url(url), TTL_S, timeout_s)) as store:
        yield store


def outcomes(operation: str) -> dict[str, float]:
    """How often loads or saves ended in which way, so far in this process."""
    return {
        sample.labels["outcome"]: sample.value
        for metric in REGISTRY.collect()
        if metric.name == f"parley_context_{operation}"
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


def since(before: dict[str, float], operation: str) -> dict[str, float]:
    """What came to those outcomes since."""
    now = outcomes(operation)
    return {k: v - before.get(k, 0) for k, v in now.items() if v != before.get(k, 0)}


async def is_well(store: RedisContextStore) -> bool:
    return await store.trouble() is None


async def calls(redis: Redis) -> dict[str, int]:
    """How many commands of each kind the server has run."""
    stats: dict[str, Any] = await redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}


async def command(redis: Redis, words: str) -> Any:
    """Send a command as it is written."""
    return await redis.execute_command(*words.split())  # type: ignore[no-untyped-call]  # untyped


@asynccontextmanager
async def answering(*replies: bytes) -> AsyncIterator[str]:
    """A server that answers PING like a Redis, and whatever else with these, the last repeating.

    After an empty one it hangs up.
    """
    left = list(replies)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while command := await reader.read(65536):
                reply = PONG if b"PING" in command else left.pop(0) if left[1:] else left[0]
                writer.write(reply)
                if not reply:
                    break
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1")
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


def bulk(data: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(data), data)
