"""Limits: how much callers may use, counted before it is used; the ports for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from typing_extensions import override

from parley.chat.errors import RateLimited
from parley.chat.turns import TurnRequest


class Counted(StrEnum):
    """What becomes of an amount when its turn is over.

    A rate stays until its time is over, a place is free again, tokens are what was really used.
    """

    RATE = "rate"
    PLACE = "place"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class Take:
    """An amount to be taken from what `key` has, which is `limit` in `lasts_s` seconds."""

    key: str
    amount: int
    limit: int
    lasts_s: int
    counted: Counted


@dataclass(frozen=True, slots=True)
class Refusal:
    """What there is not enough of, and when to look again."""

    take: Take
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Need:
    """Tokens that a turn needs in all: at best `most`, and no fewer than `least`.

    `used` are those of its calls that are over.
    """

    used: int
    least: int
    most: int


class Counters(Protocol):
    """What has been taken; shared by the replicas where they share anything."""

    async def take(self, turn_id: str | None, takes: Sequence[Take]) -> Refusal | None:
        """Take all of it, for this turn, or nothing: then says what there is not enough of.

        No number of callers at once take more than there is.
        """
        ...

    async def reserve(self, turn_id: str, need: Need) -> int | Refusal | None:
        """Let a turn have taken what it needs of tokens, or as many as there are.

        Gives how many that are; None where the turn took no tokens, or nobody knows it any more.
        Where it is refused it gives back what it took and did not use: of many that need more at
        once some get it.
        """
        ...

    async def settle(self, turn_id: str, tokens: int | None) -> None:
        """Put the tokens that a turn used in place of what it took, once; frees its places.

        With None it never began, and gives its tokens back. Never raises.
        """
        ...


class Admission(Protocol):
    """Says whether a turn may begin."""

    async def admit(self, turn_id: str, request: TurnRequest) -> RateLimited | None:
        """Reserve what the turn will use, or say why it may not begin."""
        ...

    async def reserve(self, turn_id: str, need: Need) -> int | None:
        """Reserve the tokens that a turn needs that runs.

        Gives how many it may use, all its calls together; None where nobody counts them. Raises
        `RateLimited`.
        """
        ...

    def settle(self, turn_id: str, tokens: int | None) -> None:
        """Note what a turn used, here or on the replica before; None where it never began."""
        ...


class Unlimited(Admission):
    """For an engine that counts nothing."""

    @override
    async def admit(self, turn_id: str, request: TurnRequest) -> None:
        """Let every turn begin."""

    @override
    async def reserve(self, turn_id: str, need: Need) -> None:
        """Let every turn go on."""

    @override
    def settle(self, turn_id: str, tokens: int | None) -> None:
        """Note nothing."""


UNLIMITED = Unlimited()
