"""Administration: what administrators see of others, and the port for it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class UserUsage:
    """What a user used in some days: numbers, no word of theirs."""

    user_id: str
    identifier: str
    turns: int
    input_tokens: int
    output_tokens: int
    last_turn_at: datetime


class Administration(Protocol):
    """Reads across users. All methods raise `StorageUnavailable`."""

    async def usage(self, since: datetime, limit: int) -> Sequence[UserUsage]:
        """Read what users used since then, the one who used most first."""
        ...

    async def conversations(self, user_id: str) -> AsyncIterator[str]:
        """Give, in pieces of one JSON document, all that is a user's; raises `NotFound`."""
        ...
