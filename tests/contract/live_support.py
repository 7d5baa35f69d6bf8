"""What is live in Redis, as one replica of several has it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

from parley.chat.ports import Live
from parley.context.redis_address import read_redis_url
from parley.context.redis_guard import open_blocking_redis, open_redis
from parley.live.redis import open_redis_live
from tests.patience import PATIENCE_S

WINDOW_S = 0.02


def always() -> bool:
    return True


@asynccontextmanager
async def live_at(
    url: str, is_fresh: Callable[[], bool] = always, timeout_s: float = PATIENCE_S
) -> AsyncIterator[Live]:
    """Wait for a Redis which is slow; `TIMEOUT_S` where a test is about one that is silent."""
    address = read_redis_url(url)
    async with (
        open_redis(address, timeout_s) as commands,
        open_blocking_redis(address) as blocking,
        open_redis_live(commands, blocking, uuid4().hex, WINDOW_S, is_fresh) as live,
    ):
        yield live
