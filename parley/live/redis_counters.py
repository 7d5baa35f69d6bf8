"""What has been taken, shared by the replicas: one script takes all of it or nothing.

Where Redis is away each replica counts for itself, and goes on to limit (away_counters.py).
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from parley.chat.limits import Counted, Need, Refusal, Take
from parley.live.away_counters import AwayCounters
from parley.live.memory_counters import PLACE_RETRY_S
from parley.live.redis_commands import Commands, in_one

_UNCOUNTED, _SCARCE = -1, -2
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
local reply = {0, 0}
for i = 2, #KEYS do reply[i + 1] = tonumber(redis.call('GET', KEYS[i])) end
return reply
"""
# ARGV: what the turn needs of tokens at best and at least, what it has used, and what of each key
# was taken by the asking process and not here. What it took of them grows to what it needs, or as far as there are any; else it shrinks to what it has used.
_RESERVE = """
local note = redis.call('GET', KEYS[1])
local takes = note and cjson.decode(note) or {}
local reserved, scarcest = tonumber(ARGV[1]), nil
local tokens, here = {}, cjson.decode(ARGV[4])
for _, take in ipairs(takes) do
  if take[3] == 'tokens' and take[4] then
    table.insert(tokens, take)
    local taken = tonumber(redis.call('GET', take[1]) or take[2]) + (here[take[1]] or 0)
    local room = take[4] - taken + take[2]
    if not scarcest or room < reserved then scarcest = take end
    if room < reserved then reserved = room end
  end
end
if not scarcest then return {-1} end
local refused = reserved < tonumber(ARGV[2])
for _, take in ipairs(tokens) do
  local now = math.max(take[2], reserved)
  if refused then now = math.min(take[2], tonumber(ARGV[3])) end
  if now ~= take[2] and redis.call('EXISTS', take[1]) == 1 then
    redis.call('INCRBY', take[1], string.format('%.0f', now - take[2]))
    take[2] = now
  end
end
redis.call('SET', KEYS[1], cjson.encode(takes), 'KEEPTTL')
if refused then return {-2, scarcest[1], scarcest[4], redis.call('TTL', scarcest[1])} end
return {string.format('%.0f', reserved)}
"""
# The note is taken away with what it says: a second settling finds nothing. ARGV: the tokens, and
# the life of each of the other KEYS, which have them added where there is no note.
_SETTLE = """
local note = redis.call('GET', KEYS[1])
if note then
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
end
for i = 2, #KEYS do
  redis.call('INCRBY', KEYS[i], ARGV[1])
  if redis.call('TTL', KEYS[i]) < 0 then redis.call('EXPIRE', KEYS[i], ARGV[i]) end
end
return 0
"""


class RedisCounters:
    """The `Counters` port, in Redis."""

    def __init__(self, commands: Commands) -> None:
        """Count by `commands`, in this process where they get no answer."""
        self._commands = commands
        self._away = AwayCounters()
        self._turn = asyncio.Lock()
        self._waiting: deque[tuple[_Command, asyncio.Future[Any]]] = deque()

    async def take(self, turn_id: str | None, takes: Sequence[Take]) -> Refusal | None:  # noqa: D102 - see the port
        there = [self._away.left(take) for take in takes]
        keys = [_note(turn_id or ""), *(_key(take.key) for take in there)]
        note = [(_key(t.key), t.amount, t.counted.value, t.limit) for t in takes]
        arguments: list[Any] = [msgspec.json.encode(note) if turn_id else "", _TURN_TTL_S]
        for take in there:
            life = _TURN_TTL_S if take.counted is Counted.PLACE else take.lasts_s
            arguments += [take.amount, take.limit, life]
        reply = await self._ask(_script(_TAKE, keys, arguments))
        if reply is None:
            return await self._away.take(turn_id, takes)
        which, left_s, *totals = reply
        if not which:
            self._away.heard(turn_id, takes, totals)
            await self._pay()
            return None
        refused = takes[which - 1]
        is_place = refused.counted is Counted.PLACE
        return Refusal(refused, PLACE_RETRY_S if is_place else max(1, left_s))

    async def reserve(self, turn_id: str, need: Need) -> int | Refusal | None:  # noqa: D102
        if self._away.has(turn_id):
            return await self._away.reserve(turn_id, need)
        here = {_key(key): amount for key, amount in self._away.beside(turn_id).items()}
        arguments = [need.most, need.least, need.used, msgspec.json.encode(here)]
        reply = await self._ask(_script(_RESERVE, [_note(turn_id)], arguments))
        if reply is None:
            return await self._away.reserve(turn_id, need)
        reserved, *rest = reply
        if int(reserved) == _SCARCE:
            key, limit, left_s = rest[0].decode(), int(rest[1]), int(rest[2])
            take = Take(key, 0, limit, left_s, Counted.TOKENS)
            return Refusal(take, max(1, left_s))
        if int(reserved) == _UNCOUNTED:
            return None
        self._away.grown(turn_id, int(reserved))
        return int(reserved)

    async def settle(self, turn_id: str, tokens: int | None) -> None:  # noqa: D102
        # Also where it took what it took here: Redis may have taken it too, and not been heard.
        took = self._away.tokens_of(turn_id)
        keys = [_note(turn_id), *(_key(take.key) for take in took)]
        lives = [take.lasts_s for take in took]
        reply = await self._ask(_script(_SETTLE, keys, [tokens or 0, *lives]))
        await self._away.settle(turn_id, tokens, is_paid=reply is not None)

    async def _pay(self) -> None:
        """Tell Redis of what was used while it was away."""
        owed, self._away.owed = self._away.owed, {}
        for take in owed.values():
            keys = [_note(""), _key(take.key)]
            reply = await self._ask(_script(_SETTLE, keys, [take.amount, take.lasts_s]))
            if reply is None:
                self._away.owed[take.key] = take
            else:
                self._away.paid(take)
        unsettled, self._away.unsettled = self._away.unsettled, {}
        for turn_id, (tokens, kept) in unsettled.items():
            reply = await self._ask(_script(_SETTLE, [_note(turn_id)], [tokens or 0]))
            if reply is None:
                self._away.unsettled[turn_id] = tokens, kept
            else:
                for take in kept:
                    self._away.paid(take)

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
