"""The turn log that several processes share: Redis Streams, and tapes for who reads here."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from redis.asyncio import Redis

from parley.chat.events import Event
from parley.chat.ports import Claimed
from parley.live.redis_commands import FENCE, LOG_TTL_S, Commands, in_one, log_key
from parley.live.redis_reader import RedisReader, put_on
from parley.live.redis_writer import RedisWriter
from parley.live.tape import Tape


class RedisTurnLog:
    """The `TurnLog` port; Redis that is away costs other replicas the live text, and no turn."""

    def __init__(self, commands: Commands, writer: RedisWriter, reader: RedisReader) -> None:
        """Write by `writer`; `reader` has the tapes, and feeds them with what others write."""
        self._commands = commands
        self._writer = writer
        self._reader = reader
        self._tapes = reader.tapes
        # Turns of which nothing may be read any more, unless they go on elsewhere.
        self._withdrawn: set[str] = set()

    def begin(self, turn_id: str, *, shared: bool = True) -> None:  # noqa: D102 - see the port
        tape = self._tapes.begin(turn_id)
        if shared and not self._writer.has(turn_id):
            self._writer.begin(turn_id, tape)

    def append(self, turn_id: str, events: Sequence[Event]) -> None:  # noqa: D102
        if not self.holds(turn_id):
            self.begin(turn_id)
        if self._writer.has(turn_id):
            self._writer.write(turn_id, events)
        else:
            self._tapes.written[turn_id].add(events)

    def holds(self, turn_id: str) -> bool:  # noqa: D102
        return turn_id in self._tapes.written

    def follow(  # noqa: D102
        self, turn_id: str, after: int, *, merge: bool = True
    ) -> AsyncGenerator[Event]:
        return self._tapes.follow(turn_id, after, merge=merge)

    @property
    def is_shared(self) -> bool:  # noqa: D102
        return not self._reader.is_away

    async def failed(self) -> None:  # noqa: D102
        await self._writer.failed()

    async def claim(self, turn_id: str, fence: int) -> Claimed:  # noqa: D102
        self._writer.end(turn_id)
        replies = await self._commands.insisted(
            "claim", lambda redis: _claim(redis, log_key(turn_id), fence)
        )
        # What was read here before Redis lost it is on the tape.
        seen, tape = Tape(), self._tapes.begin(turn_id)
        if replies:
            put_on(seen, turn_id, replies[-1])
        tape.add(seen.events)
        is_there = bool(seen.events) and seen.events == tape.events
        tape.claim(fence)
        self._writer.begin(turn_id, tape, is_there=is_there)
        return Claimed(tuple(tape.events), is_whole=is_there)

    def withdraw(self, turn_id: str) -> None:  # noqa: D102
        self._writer.end(turn_id)
        self._withdrawn.add(turn_id)

    async def leave(self, turn_id: str) -> None:  # noqa: D102
        await self._writer.written()
        self._writer.end(turn_id)
        self._withdrawn.discard(turn_id)
        self._tapes.leave(turn_id)

    def forget(self, turn_id: str) -> None:  # noqa: D102
        if self._writer.has(turn_id) or turn_id in self._withdrawn:
            self._withdrawn.discard(turn_id)
            self._writer.remove(turn_id)
        self._tapes.written.pop(turn_id, None)


async def _claim(redis: Redis, key: str, fence: int) -> list[Any]:
    """Say who writes from here on, then read what was written before that."""
    mark = ("XADD", key, "*", FENCE, fence)
    return await in_one(redis, mark, ("EXPIRE", key, LOG_TTL_S), ("XRANGE", key, "-", "+"))
