"""Redis guard: commands that cost their caller a quarter of a second at most, and never an error.

A command runs in a task of the guard's own, which no caller's cancellation reaches: on Python 3.11
one can get lost inside the driver, and a connection is never left in the middle of an answer.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from redis.asyncio import Redis

from parley.context.breaker import Breaker
from parley.context.redis_address import RedisAddress
from parley.context.redis_client import CONNECTIONS, TIMEOUT_S, RedisClient
from parley.context.redis_faults import Trouble, trouble_of
from parley.observability.logs import get_logger

logger = get_logger(__name__)

T = TypeVar("T")
# Commands of a process that are under way or wait for a connection.
_MOST = 512
# Over several sentinels, each with its timeouts.
_PROBE_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 1.0
_BLOCKING_TIMEOUT_S = 2.0
_INSIST_S, _INSIST_PAUSE_S = 1.0, 0.1


@dataclass(slots=True, eq=False)
class _Asked(Generic[T]):
    name: str
    command: Callable[[Redis], Awaitable[T]]
    generation: int
    is_sent: bool = False


class RedisGuard:
    """Asks Redis while it answers, and says what is wrong once, not for every command."""

    def __init__(
        self, address: RedisAddress, tasks: asyncio.TaskGroup, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Run commands in `tasks`."""
        self._client = RedisClient(address, timeout_s)
        self._timeout_s = timeout_s
        self._server = address.shown
        self._tasks = tasks
        self._breaker = Breaker(address.shown)
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._under_way = 0
        self._refusals: dict[str, Trouble] = {}
        self._closing = asyncio.Event()
        # Somebody does not want to wait for the next probe.
        self._is_wanted = asyncio.Event()

    async def ask(self, name: str, command: Callable[[Redis], Awaitable[T]]) -> T | Trouble:
        """Run a command, `name` being what it is for; gives its answer, or why there is none.

        Whoever is cancelled stops to wait; the command goes on.
        """
        if self._breaker.trouble or self._closing.is_set():
            return self._breaker.trouble or Trouble.UNREACHABLE
        if self._under_way >= _MOST:
            return Trouble.BUSY
        asked: _Asked[T] = _Asked(name, command, self._breaker.generation)
        self._under_way += 1
        running = self._run(asked)  # a line of its own: mypy would look for another T
        task = self._tasks.create_task(running)
        await asyncio.wait({task}, timeout=self._timeout_s)
        if task.done():
            return task.result()
        if not asked.is_sent:
            return Trouble.BUSY
        self._open(Trouble.TIMEOUT, asked.generation)
        return Trouble.TIMEOUT

    async def tried(self, name: str, command: Callable[[Redis], Awaitable[T]]) -> T | None:
        """Run a command as `ask` does; None where there is no answer."""
        reply = await self.ask(name, command)
        return None if isinstance(reply, Trouble) else reply

    async def insisted(self, name: str, command: Callable[[Redis], Awaitable[T]]) -> T | None:
        """Run a command as `tried` does; for a second it asks a Redis that was away anew."""
        give_up_at = monotonic() + _INSIST_S
        while True:
            reply = await self.tried(name, command)
            if reply is not None or self._closing.is_set() or monotonic() > give_up_at:
                return reply
            self._is_wanted.set()
            await asyncio.sleep(_INSIST_PAUSE_S)

    async def trouble(self) -> str | None:
        """Ask Redis whether it is there, and say what is wrong with it, if something is."""
        await self.ask("ping", _ping)
        troubles = (self._breaker.trouble, *self._refusals.values())
        return next((trouble.words for trouble in troubles if trouble), None)

    def close(self) -> None:
        """Begin nothing more; what is under way ends by itself."""
        self._closing.set()
        self._is_wanted.set()

    async def aclose(self) -> None:
        """Close the connections, once nothing is under way."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._quietly(self._client.aclose())

    async def _run(self, asked: _Asked[T]) -> T | Trouble:
        try:
            async with self._slots:
                if asked.generation != self._breaker.generation:
                    return self._breaker.trouble or Trouble.TIMEOUT
                asked.is_sent = True
                reply = await asked.command(self._client.redis)
        except Exception as error:  # noqa: BLE001 - the boundary: without Redis a turn goes on
            return await self._failed(asked, error)
        finally:
            self._under_way -= 1
        if self._refusals.pop(asked.name, None):
            logger.info("Redis takes commands again", server=self._server, command=asked.name)
        return reply

    async def _failed(self, asked: _Asked[T], error: Exception) -> Trouble:
        trouble = trouble_of(error)
        if trouble.is_away:
            self._open(trouble, asked.generation)
            return trouble
        if trouble is not Trouble.WRONG_TYPE and self._refusals.get(asked.name) != trouble:
            self._refusals[asked.name] = trouble
            logger.warning(
                trouble.words,
                server=self._server,
                command=asked.name,
                trouble=trouble.value,
                error=type(error).__name__,
            )
        if trouble is Trouble.READ_ONLY:
            # A name that leads to another server now: only a new connection finds it.
            await self._quietly(self._client.drop_idle())
        return trouble

    def _open(self, trouble: Trouble, generation: int) -> None:
        if self._breaker.open(trouble, generation) and not self._closing.is_set():
            self._tasks.create_task(self._probe())

    async def _probe(self) -> None:
        """Ask until Redis answers, then let commands through again."""
        while not self._closing.is_set():
            self._is_wanted.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._breaker.next_pause_s()):
                    await self._is_wanted.wait()
            if self._closing.is_set():
                return
            await self._quietly(self._client.drop_idle())
            trouble = await self._probed()
            if trouble is None:
                self._breaker.close()
                return
            self._breaker.stay_open(trouble)

    async def _probed(self) -> Trouble | None:
        """Say why Redis is still away; a refusal is an answer too."""
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                await _ping(self._client.redis)
        except Exception as error:  # noqa: BLE001 - the boundary: the driver may say anything
            trouble = trouble_of(error)
            return trouble if trouble.is_away else None
        return None

    async def _quietly(self, closing: Awaitable[None]) -> None:
        """Close connections that may be broken: how is of no interest."""
        with suppress(Exception):
            await closing


@asynccontextmanager
async def open_redis(
    address: RedisAddress, timeout_s: float = TIMEOUT_S
) -> AsyncIterator[RedisGuard]:
    """Use a Redis, there or not; on leaving, what is under way is waited for."""
    async with asyncio.TaskGroup() as tasks:
        guard = RedisGuard(address, tasks, timeout_s)
        await guard.trouble()  # said at the start and not at somebody's first message
        try:
            yield guard
        finally:
            guard.close()
    await guard.aclose()


@asynccontextmanager
async def open_blocking_redis(address: RedisAddress) -> AsyncIterator[Redis]:
    """Give a client of its own for commands that wait in Redis, each for half a second or so."""
    client = RedisClient(address, timeout_s=_BLOCKING_TIMEOUT_S)
    try:
        yield client.redis
    finally:
        with suppress(Exception):  # a connection that may be broken: how is of no interest
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await client.aclose()


async def _ping(redis: Redis) -> object:
    return await redis.execute_command("PING")  # type: ignore[no-untyped-call] # ping()'s type is wrong
