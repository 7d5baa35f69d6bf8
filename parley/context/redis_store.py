"""The active contexts in Redis: a cache that outlives the process, and no more than a cache.

What is there and is no record of this thread is a miss, and the next save writes over it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from parley.chat.turns import ContextRecord
from parley.context.record_json import Unreadable, decode_record, encode_record
from parley.context.redis_address import RedisAddress
from parley.context.redis_client import TIMEOUT_S
from parley.context.redis_faults import Trouble
from parley.context.redis_guard import RedisGuard, open_redis
from parley.observability.metrics import CONTEXT_LOADS, CONTEXT_SAVES

_KEYS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class RedisConfig:
    """Where Redis is, how long a context that nobody uses stays there, and how long a command may take."""

    address: RedisAddress
    ttl_s: int = 24 * 60 * 60
    timeout_s: float = TIMEOUT_S


class RedisContextStore:
    """The `ContextStore` port: one GETEX for a load, one SET for a save."""

    def __init__(self, redis: RedisGuard, ttl_s: int) -> None:
        """Keep contexts for `ttl_s` after their last use."""
        self._redis = redis
        self._ttl_s = ttl_s

    async def load(self, thread_id: str) -> ContextRecord | None:  # noqa: D102 - see the port
        found = await self._found(thread_id)
        outcome = found.value if isinstance(found, Unreadable | Trouble) else "loaded"
        CONTEXT_LOADS.labels("miss" if found is None else outcome).inc()
        return found if isinstance(found, ContextRecord) else None

    async def save(self, thread_id: str, record: ContextRecord) -> None:  # noqa: D102
        data = encode_record(thread_id, record)
        if data is None:
            CONTEXT_SAVES.labels("too_large").inc()
            return
        reply = await self._redis.ask(
            "save", lambda redis: redis.set(_key(thread_id), data, ex=self._ttl_s)
        )
        CONTEXT_SAVES.labels(reply.value if isinstance(reply, Trouble) else "saved").inc()

    async def forget(self, thread_ids: Sequence[str]) -> bool:  # noqa: D102
        keys = [_key(thread_id) for thread_id in thread_ids]
        for first in range(0, len(keys), _KEYS_AT_ONCE):
            if not await self._unlink(keys[first : first + _KEYS_AT_ONCE]):
                return False
        return True

    async def trouble(self) -> str | None:
        """Say what is wrong with Redis, if something is."""
        return await self._redis.trouble()

    async def _unlink(self, keys: Sequence[str]) -> bool:
        reply = await self._redis.ask("forget", lambda redis: redis.unlink(*keys))
        return not isinstance(reply, Trouble)

    async def _found(self, thread_id: str) -> ContextRecord | Unreadable | Trouble | None:
        reply = await self._redis.ask(
            "load", lambda redis: redis.getex(_key(thread_id), ex=self._ttl_s)
        )
        if isinstance(reply, Trouble):
            return Unreadable.FOREIGN if reply is Trouble.WRONG_TYPE else reply
        return decode_record(thread_id, reply) if isinstance(reply, bytes) else None


@asynccontextmanager
async def open_redis_store(config: RedisConfig) -> AsyncIterator[RedisContextStore]:
    """Keep contexts in a Redis, whether it is there already or not."""
    async with open_redis(config.address, config.timeout_s) as redis:
        yield RedisContextStore(redis, config.ttl_s)


def _key(thread_id: str) -> str:
    return f"chat:session:{thread_id}:history"
