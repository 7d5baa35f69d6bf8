"""Locks: one for each key that is in use, and none for the rest; and of files, across processes."""

import asyncio
import errno
import fcntl
import os
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from weakref import WeakValueDictionary

from data_layer.off_loop import off_loop

_PAUSE_S = 0.01
# Longer than the database may take; a server that is frozen does not freeze the others for good.
_PATIENCE_S = 30.0


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


class FileLock:
    """A file's lock, which one holds of all processes that have its directory.

    It is asked for again and again: a thread that waits in the kernel could not be called back,
    and enough of them would keep those who hold a lock from the threads that they need.
    """

    def __init__(self, path: Path) -> None:
        """Prepare the lock of a file, in a directory that is there."""
        self._path = path
        self._opened: int | None = None

    async def take(self) -> None:
        """Wait for the lock; raises `OSError`. To be released whatever came of it."""
        end = monotonic() + _PATIENCE_S
        while not await off_loop(self._is_taken):
            if monotonic() > end:
                raise TimeoutError(
                    errno.ETIMEDOUT, "another server holds the lock", str(self._path)
                )
            await asyncio.sleep(_PAUSE_S)

    async def release(self) -> None:
        """Let the next one have it."""
        await off_loop(self._close)

    def _is_taken(self) -> bool:
        self._opened = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            return False
        if os.fstat(self._opened).st_nlink:
            return True
        self._close()  # the file was deleted meanwhile, and others lock a new one
        return False

    def _close(self) -> None:
        if self._opened is not None:
            opened, self._opened = self._opened, None
            os.close(opened)
