"""What a process counts while Redis is away: on from where that was when it was last heard of.

What is taken here meanwhile is owed to Redis, and until it is paid there is so much less of it.
What one cannot know is taken as used: a reply that got lost leaves less, never more. Rates and
places begin from nothing: they are over in a moment.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from parley.chat.limits import Counted, Need, Refusal, Take
from parley.live.memory_counters import MemoryCounters

_MOST = 10_000


class AwayCounters:
    """Tokens of one process, beside those in Redis."""

    def __init__(self) -> None:
        """Owe nothing."""
        self._here = MemoryCounters()
        self._seen: OrderedDict[str, int] = OrderedDict()
        # What turns of this process have taken of tokens in Redis.
        self._there: dict[str, Sequence[Take]] = {}
        # And what they may have of it in all, where they took it here.
        self._limits: dict[str, dict[str, int]] = {}
        self.owed: dict[str, Take] = {}
        # Turns of which Redis was not told that they are over; what of theirs is kept here till then.
        self.unsettled: dict[str, tuple[int | None, Sequence[Take]]] = {}

    def has(self, turn_id: str) -> bool:
        """Whether a turn took something here."""
        return self._here.has(turn_id)

    def left(self, take: Take) -> Take:
        """Give a take for Redis, where there is less by what was taken here."""
        return _less(take, self._here.sum_of(take.key))

    def beside(self, turn_id: str) -> dict[str, int]:
        """Say how much was taken here of what a turn took tokens of in Redis."""
        takes = self._there.get(turn_id, ())
        return {take.key: amount for take in takes if (amount := self._here.sum_of(take.key))}

    def heard(self, turn_id: str | None, takes: Sequence[Take], totals: Iterable[int]) -> None:
        """Take note of what a turn took in Redis, and of what is taken there in all."""
        if turn_id is not None:
            self._there[turn_id] = _tokens(takes)
            if len(self._there) > _MOST:  # of turns that ended on another replica
                del self._there[next(iter(self._there))]
        for take, total in zip(takes, totals, strict=True):
            if take.counted is Counted.TOKENS:
                self._see(take.key, total)

    def grown(self, turn_id: str, amount: int) -> None:
        """Take note that a turn has so much in Redis now, or more."""
        now = [replace(t, amount=max(amount, t.amount)) for t in self._there.get(turn_id, ())]
        for before, take in zip(self._there.get(turn_id, ()), now, strict=True):
            self._see_more(replace(take, amount=take.amount - before.amount))
        self._there[turn_id] = now

    async def take(self, turn_id: str | None, takes: Sequence[Take]) -> Refusal | None:
        """Take here, as in Redis."""
        less = [_less(take, self._seen.get(take.key, 0)) for take in takes]
        refusal = await self._here.take(turn_id, less)
        if turn_id is not None and not refusal:
            self._limits[turn_id] = {take.key: take.limit for take in _tokens(takes)}
        return refusal and Refusal(takes[less.index(refusal.take)], refusal.retry_after_s)

    async def reserve(self, turn_id: str, need: Need) -> int | Refusal | None:
        """Reserve here; a turn that took its tokens in Redis begins again, here."""
        if not self.has(turn_id):
            if turn_id not in self._there:
                return need.most  # of another process: nobody here knows what it took
            nothing = [replace(take, amount=0) for take in self._there[turn_id]]
            if not nothing or await self.take(turn_id, nothing):
                return None
        limits = self._limits[turn_id]
        now = {key: limit - self._seen.get(key, 0) for key, limit in limits.items()}
        self._here.limit(turn_id, now)
        reserved = await self._here.reserve(turn_id, need)
        if not isinstance(reserved, Refusal):
            return reserved
        take = replace(reserved.take, limit=limits[reserved.take.key])
        return Refusal(take, reserved.retry_after_s)

    async def settle(self, turn_id: str, tokens: int | None, *, is_paid: bool) -> None:
        """Settle a turn, whose tokens Redis was told of, or are owed to it."""
        self._limits.pop(turn_id, None)
        is_there = self._there.pop(turn_id, None) is not None
        took = self.tokens_of(turn_id)
        used = [replace(take, amount=tokens or 0) for take in took]
        await self._here.settle(turn_id, 0 if is_paid else tokens)
        if is_paid:
            for take in used:
                self._see_more(take)
        elif is_there or not took:
            if len(self.unsettled) < _MOST:
                self.unsettled[turn_id] = tokens, used
        else:
            for take in used:
                before = self.owed.get(take.key)
                amount = take.amount + (before.amount if before else 0)
                self.owed[take.key] = replace(take, amount=amount)

    def tokens_of(self, turn_id: str) -> Sequence[Take]:
        """Give what a turn took of tokens here."""
        return _tokens(self._here.taken(turn_id))

    def paid(self, take: Take) -> None:
        """Take note that Redis was told of what was owed."""
        self._here.give_back(take)
        self._see_more(take)

    def _see_more(self, take: Take) -> None:
        self._see(take.key, self._seen.get(take.key, 0) + take.amount)

    def _see(self, key: str, total: int) -> None:
        self._seen[key] = total
        self._seen.move_to_end(key)
        while len(self._seen) > _MOST:
            self._seen.popitem(last=False)


def _tokens(takes: Iterable[Take]) -> list[Take]:
    return [take for take in takes if take.counted is Counted.TOKENS]


def _less(take: Take, amount: int) -> Take:
    return replace(take, limit=take.limit - amount) if take.counted is Counted.TOKENS else take
