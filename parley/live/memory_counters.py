"""What has been taken, in this process.

A rate is counted as in Redis: from the first that was taken, until its time is over.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from parley.chat.limits import Counted, Need, Refusal, Take

# What is retried for a place: nobody knows when one is free.
PLACE_RETRY_S = 5.0
_SWEEP_EVERY = 1000


class MemoryCounters:
    """The `Counters` port; nothing in here waits, so nobody comes in between."""

    def __init__(self) -> None:
        """Count from nothing."""
        self._sums: dict[str, tuple[int, float]] = {}
        self._taken: dict[str, Sequence[Take]] = {}
        self._until_sweep = _SWEEP_EVERY

    async def take(self, turn_id: str | None, takes: Sequence[Take]) -> Refusal | None:  # noqa: D102 - see the port
        for take in takes:
            if refusal := self._refusal(take):
                return refusal
        for take in takes:
            self._add(take, take.amount)
        if turn_id is not None:
            self._taken[turn_id] = takes
        self._sweep()
        return None

    async def reserve(self, turn_id: str, need: Need) -> int | Refusal | None:  # noqa: D102
        tokens = [t for t in self._taken.get(turn_id, ()) if t.counted is Counted.TOKENS]
        if not tokens:
            return None
        scarcest = min(tokens, key=self._room)
        reserved = min(need.most, self._room(scarcest))
        if reserved >= need.least:
            self._take_in_all(turn_id, lambda amount: max(amount, reserved))
            return reserved
        refusal = Refusal(scarcest, self._sum(scarcest.key)[1] - _now())
        self._take_in_all(turn_id, lambda amount: min(amount, need.used))
        return refusal

    def _take_in_all(self, turn_id: str, changed: Callable[[int], int]) -> None:
        """Change what a turn took of tokens."""
        takes = []
        for take in self._taken[turn_id]:
            now = changed(take.amount) if take.counted is Counted.TOKENS else take.amount
            self._add(take, now - take.amount)
            takes.append(replace(take, amount=now))
        self._taken[turn_id] = takes

    async def settle(self, turn_id: str, tokens: int | None) -> None:  # noqa: D102
        for take in self._taken.pop(turn_id, ()):
            if take.counted is Counted.PLACE:
                self._add(take, -take.amount)
            elif take.counted is Counted.TOKENS:
                self._add(take, (tokens or 0) - take.amount)

    def has(self, turn_id: str) -> bool:
        """Whether a turn took something here."""
        return turn_id in self._taken

    def taken(self, turn_id: str) -> Sequence[Take]:
        """Give what a turn took."""
        return self._taken.get(turn_id, ())

    def limit(self, turn_id: str, limits: Mapping[str, int]) -> None:
        """Change the limits of what a turn took, by key, from now on."""
        takes = self._taken.get(turn_id, ())
        self._taken[turn_id] = [replace(t, limit=limits.get(t.key, t.limit)) for t in takes]

    def sum_of(self, key: str) -> int:
        """Say how much is taken of what `key` has."""
        return self._sum(key)[0]

    def give_back(self, take: Take) -> None:
        """Have taken so much less."""
        self._add(take, -take.amount)

    def _room(self, take: Take) -> int:
        """How much the turn of a take may have of it, with what it has."""
        return take.limit - self._sum(take.key)[0] + take.amount

    def _refusal(self, take: Take) -> Refusal | None:
        taken, until = self._sum(take.key)
        if taken + take.amount <= take.limit:
            return None
        is_place = take.counted is Counted.PLACE
        return Refusal(take, PLACE_RETRY_S if is_place else until - _now())

    def _add(self, take: Take, amount: int) -> None:
        taken, until = self._sum(take.key)
        # A place is held by turns of this process alone: its end is theirs.
        lasts_until = max(until, _now() + take.lasts_s) if not taken else until
        self._sums[take.key] = (max(0, taken + amount), lasts_until)

    def _sum(self, key: str) -> tuple[int, float]:
        taken, until = self._sums.get(key, (0, 0.0))
        return (taken, until) if until > _now() or key.startswith("place:") else (0, 0.0)

    def _sweep(self) -> None:
        """Forget, now and then, what counts no more."""
        self._until_sweep -= 1
        if self._until_sweep > 0:
            return
        self._until_sweep = _SWEEP_EVERY
        now = _now()
        kept = {k: v for k, v in self._sums.items() if v[0] and (v[1] > now or k[:6] == "place:")}
        self._sums = kept


def _now() -> float:
    return time.time()
