"""Locks: one for each key that is in use, and none for the rest."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class KeyedLocks:
    """Locks by key, for one event loop; who waits for the same key is served in order."""

    def __init__(self) -> None:
        """Make a set of locks that is empty: a lock lives while someone holds or awaits it."""
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def held(self, *key: Hashable) -> AsyncIterator[None]:
        """Hold the lock of this key."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            yield
