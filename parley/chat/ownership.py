"""Ownership: which turns are this replica's, and which were those of one that is dead."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Owned:
    """A running turn of this replica, as its row says it."""

    turn_id: str
    owner_id: str
    fence: int
    stop_requested: bool


@dataclass(frozen=True, slots=True)
class Orphan:
    """A running turn of a replica that is dead.

    `age_s` is for how long, as far as that is known; `beat` is what the dead one said last.
    """

    turn_id: str
    owner_id: str
    fence: int
    replica_id: str
    beat: int | None = None
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """The running turns of this replica, and those that nobody owns any more."""

    mine: Sequence[Owned]
    orphans: Sequence[Orphan]
