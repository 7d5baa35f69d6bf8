"""What has been taken, shared by the replicas: one script takes all of it or nothing.

Where Redis is away each replica counts for itself, and goes on to limit.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from parley.chat.limits import Counted, Refusal, Take
from parley.live.memory_counters import PLACE_RETRY_S, MemoryCounters
from parley.live.redis_commands import Commands, in_one

_Command = tuple[Any, ...]
_GROUP = 100
# A turn that takes longer than this has given its places back.
_TURN_TTL_S = 2 * 24 * 60 * 60
# KEYS: where the turn's own takes are noted, then one for each take.
# ARGV: the note, its life, then amount, limit and life in seconds of each take.
_TAKE = """
for i = 2, #KEYS do
  local at = 3 * (i - 2) + 3
  local taken = tonumber(redis.call('GET', KEYS[i]) or '0')
  if taken + tonumber(ARGV[at]) > tonumber(ARGV[at + 1]) then
    return {i - 1, redis.call('TTL', KEYS[i])}
  end
end
for i = 2, #KEYS do
  local at = 3 * (i - 2) + 3
  redis.call('INCRBY', KEYS[i], ARGV[at])
  if redis.call('TTL', KEYS[i]) < 0 then redis.call('EXPIRE', KEYS[i], ARGV[at + 2]) end
end
if ARGV[1] ~= '' then redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) end
return {0, 0}
"""
# The note is taken away with what it says: a second settling finds nothing.
_SETTLE = """
local note = redis.call('GET', KEYS[1])
if not note then return 0 end
redis.call('DEL', KEYS[1])
for _, take in ipairs(cjson.decode(note)) do
  local delta = 0
  if take[3] == 'place' then delta = -take[2] end
  if take[3] == 'tokens' then delta = tonumber(ARGV[1]) - take[2] end
  if delta ~= 0 and redis.call('EXISTS', take[1]) == 1 then
    redis.call('INCRBY', take[1], string.format('%.0f', delta))
  end
end
return 1
"""


class RedisCounters:
    """The `Counters` port, in Redis."""

    def __init__(self, commands: Commands) -> None:
        """Count by `commands`, in this process where they get no answer."""
        self._commands = commands
        self._here = MemoryCounters()
        self._turn = asyncio.Lock()
        self._waiting: deque[tuple[_Command, asyncio.Future[Any]]] = deque()

    async def take(self, turn_id: str | None, takes: Sequence[Take]) -> Refusal | None:  # noqa: D102 - see the port
        keys = [_note(turn_id or ""), *(_key(take.key) for take in takes)]
        note = [(_key(t.key), t.amount, t.counted.value) for t in takes] if turn_id else None
        arguments: list[Any] = [msgspec.json.encode(note) if note else "", _TURN_TTL_S]
        for take in takes:
            life = _TURN_TTL_S if take.counted is Counted.PLACE else take.lasts_s
            arguments += [take.amount, take.limit, life]
        reply = await self._ask(_script(_TAKE, keys, arguments))
        if reply is None:
            return await self._here.take(turn_id, takes)
        which, left_s = reply
        if not which:
            return None
        refused = takes[which - 1]
        is_place = refused.counted is Counted.PLACE
        return Refusal(refused, PLACE_RETRY_S if is_place else max(1, left_s))

    async def settle(self, turn_id: str, tokens: int | None) -> None:  # noqa: D102
        if self._here.has(turn_id):
            await self._here.settle(turn_id, tokens)
            return
        await self._ask(_script(_SETTLE, [_note(turn_id)], [tokens or 0]))

    async def _ask(self, command: _Command) -> Any:
        """Run a command together with all that wait; None where Redis does not answer.

        One round trip at a time: a thousand that come at once would run into the timeout that
        each command has, and count here what should be counted there.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        async with self._turn:
            if not answer.done():
                group = [self._waiting.popleft() for _ in range(min(_GROUP, len(self._waiting)))]
                await self._run(group)
        return await answer

    async def _run(self, group: Sequence[tuple[_Command, asyncio.Future[Any]]]) -> None:
        replies: Sequence[Any] | None = None
        try:
            replies = await self._commands.tried(
                "limits", lambda redis: in_one(redis, *(command for command, _ in group))
            )
        finally:
            for (_, answer), reply in zip(group, replies or [None] * len(group), strict=True):
                if not answer.done():
                    answer.set_result(reply)


def _script(text: str, keys: Sequence[str], arguments: Sequence[Any]) -> _Command:
    return ("EVAL", text, len(keys), *keys, *arguments)


def _key(name: str) -> str:
    return f"parley:limit:{name}"


def _note(turn_id: str) -> str:
    return f"parley:turn:{turn_id}:takes"
