"""Places: how many sockets there may be, through every door together, and of what else there may be few."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from parley.chat.errors import RateLimited


class Places:
    """Counts sockets: all of them, and those of each owner."""

    def __init__(self, total: int = 1000, per_owner: int = 20) -> None:
        """Let there be so many at once."""
        self._total = total
        self._per_owner = per_owner
        self._taken: Counter[str] = Counter()

    def are_full(self, owner_id: str) -> bool:
        """Whether there is no place for one more of this owner."""
        # A Counter does not keep what it is only asked for.
        return self._taken.total() >= self._total or self._taken[owner_id] >= self._per_owner

    @contextmanager
    def one(self, owner_id: str) -> Iterator[None]:
        """Hold a place; ask `are_full` first."""
        self._taken[owner_id] += 1
        try:
            yield
        finally:
            self._taken[owner_id] -= 1
            if not self._taken[owner_id]:
                del self._taken[owner_id]


@asynccontextmanager
async def one_of(places: asyncio.Semaphore, within_s: float, refusal: str) -> AsyncIterator[None]:
    """Hold one of a few places; raises `RateLimited`, which says `refusal`, where none is free in time."""
    try:
        async with asyncio.timeout(within_s):
            await places.acquire()
    except TimeoutError:
        raise RateLimited(refusal, retry_after_s=5) from None
    try:
        yield
    finally:
        places.release()
