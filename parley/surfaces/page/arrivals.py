"""Arrivals: how many files come at once, of everybody and of one owner, and how slowly each may."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.types import Message, Receive

from parley.chat.errors import InvalidRequest, ParleyError, RateLimited
from parley.surfaces.http.places import one_of

# Of one owner: being received, and waiting for that. A page sends all files of a message at once.
_OWNERS_AT_ONCE = 2
_OWNERS_WAITING = 18
# For their own files to arrive an owner may wait longer; no file takes more than this.
_OWNERS_SLOT_S = 600.0
_LEAST_BYTES_PER_S = 100_000
_MANY = "Too many files are arriving. Try again."


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a file waits for its place, may say nothing, and has, longer for all that came of it."""

    slot_s: float = 30.0
    idle_s: float = 30.0
    first_s: float = 60.0


class Slots:
    """Places for files that are being received."""

    def __init__(self, at_once: int, patience: Patience) -> None:
        """Receive so many at once, of all owners."""
        self._slot_s = patience.slot_s
        self._all = asyncio.Semaphore(at_once)
        self._own: dict[str, asyncio.Semaphore] = {}
        self._asking: Counter[str] = Counter()

    @asynccontextmanager
    async def one(self, owner_id: str) -> AsyncIterator[None]:
        """Hold a place; raises `RateLimited`, at once where the owner waits for many already."""
        if self._asking[owner_id] >= _OWNERS_AT_ONCE + _OWNERS_WAITING:
            raise RateLimited("Too many files of yours are arriving. Try again.", retry_after_s=5)
        self._asking[owner_id] += 1
        own = self._own.setdefault(owner_id, asyncio.Semaphore(_OWNERS_AT_ONCE))
        try:
            async with one_of(own, _OWNERS_SLOT_S, _MANY), one_of(self._all, self._slot_s, _MANY):
                yield
        finally:
            self._asking[owner_id] -= 1
            if not self._asking[owner_id]:
                del self._asking[owner_id], self._own[owner_id]


def bounded(
    receive: Receive, limit_bytes: int, too_large: Callable[[], ParleyError], patience: Patience
) -> Receive:
    """Count what arrives, whatever was announced; refuse what is too much or too slow."""
    now = asyncio.get_running_loop().time
    began, arrived = now(), 0

    async def next_message() -> Message:
        nonlocal arrived
        end = began + patience.first_s + arrived / _LEAST_BYTES_PER_S
        try:
            async with asyncio.timeout_at(min(end, now() + patience.idle_s)):
                message = await receive()
        except TimeoutError:
            raise InvalidRequest("The file arrives too slowly, or not at all.") from None
        arrived += len(message.get("body", b""))
        if arrived > limit_bytes:
            raise too_large()
        return message

    return next_message
