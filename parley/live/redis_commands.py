"""Redis as `live` uses it: handed in by app.py, which opens two clients of it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from redis.asyncio import Redis

T = TypeVar("T")

# What several replicas tell each other; each entry is one piece of news.
NEWS_KEY = "parley:news"
# How many entries it keeps: whoever was away for longer looks at the rows.
NEWS_KEPT = 1000
# A log that nobody takes away, since its writer died, is gone after a day.
LOG_TTL_S = 24 * 60 * 60
EVENTS, FENCE, NEWS = b"e", b"f", b"n"


def log_key(turn_id: str) -> str:
    """Name the stream with the events of a turn."""
    return f"parley:turn:{turn_id}:log"


def wake_key(replica_id: str) -> str:
    """Name the stream that ends a replica's waiting, for it to wait for more."""
    return f"parley:replica:{replica_id}:wake"


class Commands(Protocol):
    """Commands that cost a quarter of a second at most."""

    async def tried(self, name: str, command: Callable[[Redis], Awaitable[T]]) -> T | None:
        """Run a command, `name` being what it is for; None where Redis does not answer."""
        ...

    async def insisted(self, name: str, command: Callable[[Redis], Awaitable[T]]) -> T | None:
        """Run a command as `tried` does, for a second again and again where Redis is away."""
        ...


async def forget_logs(commands: Commands, turn_ids: Sequence[str]) -> bool:
    """Delete the logs of turns whose writers are gone with their rows; says whether they are."""
    keys = [log_key(turn_id) for turn_id in turn_ids]
    return not keys or await commands.tried("forget", lambda r: r.unlink(*keys)) is not None


async def in_one(redis: Redis, *commands: tuple[Any, ...], transaction: bool = False) -> list[Any]:
    """Run commands in one round trip, and give the reply of each."""
    pipe: Any = redis.pipeline(transaction=transaction)
    async with pipe:
        for command in commands:
            pipe.execute_command(*command)
        replies: list[Any] = await pipe.execute()
        return replies
