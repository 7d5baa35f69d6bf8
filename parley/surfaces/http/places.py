"""Places: how many sockets there may be, through every door together, and of what else there may be few."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from parley.auth.limits import counted_address
from parley.chat.errors import RateLimited
from parley.chat.turns import Owner


class Places:
    """Counts sockets: all of them, those of each owner, and those of the guests of one address.

    Each socket without a cookie is another guest: one address could hold them all.
    """

    def __init__(self, total: int = 1000, per_owner: int = 20, per_address: int = 100) -> None:
        """Let there be so many at once."""
        self._total = total
        self._per_owner = per_owner
        self._per_address = per_address
        self._of_owners: Counter[str] = Counter()
        self._of_addresses: Counter[str] = Counter()

    def are_full(self, owner: Owner) -> bool:
        """Whether there is no place for one more of this owner, from where the request comes."""
        return (
            # A Counter does not keep what it is only asked for.
            self._of_owners.total() >= self._total
            or self._of_owners[owner.id] >= self._per_owner
            or self._of_addresses[counted_address(owner)] >= self._per_address
        )

    @contextmanager
    def one(self, owner: Owner) -> Iterator[None]:
        """Hold a place; ask `are_full` first."""
        address = counted_address(owner)
        with _one_more(self._of_owners, owner.id), _one_more(self._of_addresses, address):
            yield


@contextmanager
def _one_more(counter: Counter[str], key: str) -> Iterator[None]:
    if not key:
        yield
        return
    counter[key] += 1
    try:
        yield
    finally:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]


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
