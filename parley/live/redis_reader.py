"""Redis reader: one task and one connection wait for all that this replica wants to hear.

That is the news, and the logs of turns that are followed here and written elsewhere. Whatever goes
wrong, it begins anew: a tape takes no event twice.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from redis.asyncio import Redis

from parley.chat.news import News
from parley.live.event_bytes import decode_events, decode_news
from parley.live.redis_commands import (
    EVENTS,
    FENCE,
    NEWS,
    NEWS_KEY,
    Commands,
    in_one,
    log_key,
    wake_key,
)
from parley.live.tape import Tape
from parley.live.tapes import Tapes
from parley.observability.logs import get_logger

logger = get_logger(__name__)

# How long one command waits, how long a silent turn is not asked after, and a failure rests.
_BLOCK_MS = 500
_SILENCE_S = 1.0
_AWAY_PAUSE_S = 0.5
# While Redis is away, whoever has a thread open looks at its rows this often.
_MISSED_S = 3.0
_WAKE_TTL_S = 60
_FIRST = b"0-0"

_Entries = list[tuple[bytes, dict[bytes, bytes]]]


class _Mirror:
    """A tape that gets what another replica writes."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.read_up_to = _FIRST
        self.heard_at = monotonic()


class RedisReader:
    """Feeds tapes and listeners with what other replicas write."""

    def __init__(
        self,
        redis: Redis,
        commands: Commands,
        replica_id: str,
        hear: Callable[[News | None], None],
    ) -> None:
        """Read by `redis`, whose commands may block; `hear` gets the news of others."""
        self._redis = redis
        self._commands = commands
        self._me = replica_id
        self._hear = hear
        self._tapes = Tapes(self._await)
        self._mirrors: dict[str, _Mirror] = {}
        self._news_up_to: bytes | None = None
        self._woken_up_to = _FIRST
        self._wants_more = asyncio.Event()
        self._closing = asyncio.Event()
        self.is_away = False
        self._missed_at = 0.0

    @property
    def tapes(self) -> Tapes:
        """The tapes of this replica's turns, and of those that it reads."""
        return self._tapes

    async def read_forever(self) -> None:
        """Read, again and again, until it is closed.

        It is never cancelled: a cancellation that lands in a command may get lost (Python 3.11).
        """
        while not self._closing.is_set():
            try:
                await self._read()
                self.is_away = False
            except Exception as error:  # noqa: BLE001 - the boundary: without Redis a turn goes on
                await self._rest(error)
            self._ask_after_the_silent()

    def close(self) -> None:
        """Let `read_forever` end, soon."""
        self._closing.set()
        self._wants_more.set()

    async def wake_forever(self) -> None:
        """End the waiting of the other task when there is more to wait for."""
        while True:
            await self._wants_more.wait()
            self._wants_more.clear()
            await self._commands.tried("wake", self._wake)

    async def _wake(self, redis: Redis) -> object:
        key = wake_key(self._me)
        wake = ("XADD", key, "MAXLEN", 1, "*", "w", "")
        return await in_one(redis, wake, ("EXPIRE", key, _WAKE_TTL_S))

    def _await(self, turn_id: str, tape: Tape) -> None:
        self._mirrors[turn_id] = _Mirror(tape)
        self._wants_more.set()

    async def _read(self) -> None:
        if self._news_up_to is None:
            newest: Any = await self._redis.xrevrange(NEWS_KEY, count=1)
            self._news_up_to = newest[0][0] if newest else _FIRST
            self._hear(None)
        self._drop_what_is_ours()
        keys = {log_key(turn_id): turn_id for turn_id in self._mirrors}
        wanted: dict[Any, Any] = {
            NEWS_KEY: self._news_up_to,
            wake_key(self._me): self._woken_up_to,
            **{key: self._mirrors[turn_id].read_up_to for key, turn_id in keys.items()},
        }
        found: Any = await self._redis.xread(wanted, block=_BLOCK_MS)
        for name, entries in found or ():
            key = name.decode()
            if key == NEWS_KEY:
                self._take_news(entries)
            elif turn_id := keys.get(key):
                self._take_events(turn_id, entries)
            else:
                self._woken_up_to = entries[-1][0]

    def _drop_what_is_ours(self) -> None:
        """Read no more what is written here now, or what nobody waits for."""
        for turn_id, mirror in list(self._mirrors.items()):
            if self._tapes.awaited.get(turn_id) is not mirror.tape:
                del self._mirrors[turn_id]

    def _take_news(self, entries: _Entries) -> None:
        for entry_id, fields in entries:
            self._news_up_to = entry_id
            try:
                teller, news = decode_news(fields.get(NEWS, b""))
            except ValueError:
                continue  # another version's, or nobody's
            if teller != self._me:
                self._hear(news)

    def _take_events(self, turn_id: str, entries: _Entries) -> None:
        mirror = self._mirrors[turn_id]
        mirror.heard_at = monotonic()
        mirror.read_up_to = entries[-1][0]
        put_on(mirror.tape, turn_id, entries)

    def _ask_after_the_silent(self) -> None:
        """Let readers look at the rows of a turn of which nothing is heard."""
        now = monotonic()
        for turn_id, mirror in list(self._mirrors.items()):
            if now - mirror.heard_at >= _SILENCE_S:
                mirror.heard_at = now
                if not self._tapes.still_awaited(turn_id, mirror.tape):
                    del self._mirrors[turn_id]

    async def _rest(self, error: Exception) -> None:
        """Redis is away: begin anew when it is back, it may be another one then."""
        if not self.is_away:
            self.is_away = True
            logger.warning("Nothing is heard of other servers", error=type(error).__name__)
        self._news_up_to, self._woken_up_to = None, _FIRST
        for mirror in self._mirrors.values():
            mirror.read_up_to = _FIRST
        if monotonic() - self._missed_at >= _MISSED_S:
            self._missed_at = monotonic()
            self._hear(None)
        with suppress(TimeoutError):
            async with asyncio.timeout(_AWAY_PAUSE_S):
                await self._closing.wait()


def put_on(tape: Tape, turn_id: str, entries: _Entries) -> None:
    """Put what a stream has of a turn on a tape, as its owners wrote it."""
    for _, fields in entries:
        if FENCE in fields:
            tape.claim(int(fields[FENCE]))
        try:
            tape.add(decode_events(turn_id, fields[EVENTS]) if EVENTS in fields else ())
        except ValueError:
            logger.warning("A log holds something that is no event", turn_id=turn_id)
