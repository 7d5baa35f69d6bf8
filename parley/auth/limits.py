"""Limits: what users, guests, addresses and all together may use.

A guest is counted by address too, or a script could be a new guest for each turn; this machine's
own addresses are not, since a proxy or a developer is behind them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from typing_extensions import override

from parley.auth.addresses import household, is_loopback
from parley.chat.errors import RateLimited
from parley.chat.limits import Admission, Counted, Counters, Need, Refusal, Take
from parley.chat.owner import current_address
from parley.chat.turns import Owner, TurnRequest

_MINUTE_S, _DAY_S = 60, 24 * 60 * 60
# Of text that nobody has counted yet: on the safe side for most languages.
_BYTES_PER_TOKEN = 3
_GUESTS = ("guest:", "session:", "anonymous")


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one may use; None is without a limit."""

    requests_a_minute: int | None = None
    turns_a_minute: int | None = None
    running_turns: int | None = None
    tokens_a_day: int | None = None


@dataclass(frozen=True, slots=True)
class LimitConfig:
    """Allowances of each user, of each guest and address, and of all together.

    A turn is expected to need `expected_tokens` beside its own message, until it says what it
    used.
    """

    user: Allowance = field(default_factory=Allowance)
    guest: Allowance = field(default_factory=Allowance)
    everyone: Allowance = field(default_factory=Allowance)
    expected_tokens: int = 5000


@asynccontextmanager
async def open_limits(config: LimitConfig, counters: Counters) -> AsyncIterator["Limits"]:
    """Count by `counters`; on leaving what ended is settled."""
    async with asyncio.TaskGroup() as tasks:
        yield Limits(config, counters, tasks)


class Limits(Admission):
    """Lets turns and requests begin that there is enough left for."""

    def __init__(self, config: LimitConfig, counters: Counters, tasks: asyncio.TaskGroup) -> None:
        """Settle in `tasks`."""
        self._config = config
        self._counters = counters
        self._tasks = tasks

    @override
    async def admit(self, turn_id: str, request: TurnRequest) -> RateLimited | None:
        size = sum(len(m.text.encode()) for m in request.earlier) + len(request.text.encode())
        tokens = size // _BYTES_PER_TOKEN + self._config.expected_tokens
        tokens = max(tokens, request.sampling.max_tokens or 0)
        takes = [
            take
            for who, allowance in self._counted(request.owner)
            for take in _of_turn(who, allowance, tokens)
        ]
        refusal = await self._counters.take(turn_id, takes) if takes else None
        return _explained(refusal) if refusal else None

    @override
    async def reserve(self, turn_id: str, need: Need) -> int | None:
        config = self._config
        allowances = (config.user, config.guest, config.everyone)
        if not any(allowance.tokens_a_day for allowance in allowances):
            return None
        reserved = await self._counters.reserve(turn_id, need)
        if isinstance(reserved, Refusal):
            raise _explained(reserved)
        return reserved

    @override
    def settle(self, turn_id: str, tokens: int | None) -> None:
        self._tasks.create_task(self._counters.settle(turn_id, tokens))

    async def check_request(self, owner: Owner | None, count: int = 1) -> None:
        """Count a request, or what is as much as several: half of a minute's at most.

        Raises `RateLimited`.
        """
        takes = [
            _rate(f"requests:{who}", limit, min(count, max(1, limit // 2)))
            for who, allowance in self._counted(owner)
            if (limit := allowance.requests_a_minute)
        ]
        if takes and (refusal := await self._counters.take(None, takes)):
            raise _explained(refusal)

    def _counted(self, owner: Owner | None) -> Iterator[tuple[str, Allowance]]:
        """Give by whom it is counted, and what each may use."""
        config = self._config
        if owner is not None:
            yield f"owner:{owner.id}", config.guest if _is_guest(owner) else config.user
        if address := counted_address(owner):
            yield f"address:{address}", config.guest
        yield "everyone", config.everyone


def counted_address(owner: Owner | None) -> str:
    """Give by which address, beside themselves, a guest or nobody is counted; empty for all others."""
    address = current_address.get()
    is_counted = address and _is_guest(owner) and not is_loopback(address)
    return household(address) if is_counted else ""


def _is_guest(owner: Owner | None) -> bool:
    return owner is None or owner.identifier.startswith(_GUESTS)


def _of_turn(who: str, allowance: Allowance, tokens: int) -> Iterator[Take]:
    if allowance.turns_a_minute:
        yield _rate(f"turns:{who}", allowance.turns_a_minute)
    if allowance.running_turns:
        yield Take(f"place:{who}", 1, allowance.running_turns, _DAY_S, Counted.PLACE)
    if allowance.tokens_a_day:
        now = datetime.now(UTC)
        midnight_in_s = _DAY_S - (now.hour * 3600 + now.minute * 60 + now.second)
        key = f"tokens:{who}:{now:%Y-%m-%d}"
        # What would be more than all of it needs all of it.
        amount = min(tokens, allowance.tokens_a_day)
        yield Take(key, amount, allowance.tokens_a_day, midnight_in_s, Counted.TOKENS)


def _rate(key: str, limit: int, amount: int = 1) -> Take:
    return Take(key, amount, limit, _MINUTE_S, Counted.RATE)


def _explained(refusal: Refusal) -> RateLimited:
    take, retry_after_s = refusal.take, refusal.retry_after_s
    together = "All users together have" if ":everyone" in take.key else "You have"
    what = {
        Counted.RATE: f"done this {take.limit} times in a minute",
        Counted.PLACE: f"{take.limit} answers being written or waiting",
        Counted.TOKENS: f"too few tokens left today, of {take.limit}",
    }[take.counted]
    return RateLimited(
        f"{together} {what}, which is the limit. {_again(retry_after_s)}",
        retry_after_s=max(1.0, retry_after_s),
    )


def _again(retry_after_s: float) -> str:
    if retry_after_s < 2 * _MINUTE_S:
        return f"Try again in {max(1, round(retry_after_s))} seconds."
    at = datetime.fromtimestamp(time.time() + retry_after_s, UTC)
    return f"Try again after {at:%H:%M} UTC."
