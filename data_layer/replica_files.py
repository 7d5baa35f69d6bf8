"""Replica files: on SQLite a process lives as long as it holds the lock of a file of its own.

The kernel lets go of it when the process ends, however it does: nobody has to wait to see that.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class ReplicaFiles:
    """The locks of the processes that use one database, in a directory beside it."""

    def __init__(self, directory: Path, replica_id: str) -> None:
        """Look into `directory`, on behalf of this replica."""
        self._directory = directory
        self._replica_id = replica_id

    @contextmanager
    def held(self) -> Iterator[None]:
        """Live, for as long as this is entered."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / self._replica_id
        opened = _locked(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(opened)

    def others(self) -> list[str]:
        """Name the other replicas that live; what the dead have left is removed."""
        return [path.name for path in self._directory.iterdir() if self._lives(path)]

    def _lives(self, path: Path) -> bool:
        if path.name == self._replica_id:
            return False
        with suppress(FileNotFoundError):
            opened = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
            except BlockingIOError:
                return True
            finally:
                os.close(opened)
        return False


def _locked(path: Path) -> int:
    """Make the file and lock it; whoever looked in between took it for one of a dead process."""
    while True:
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(opened, fcntl.LOCK_EX)
        if os.fstat(opened).st_nlink:
            return opened
        os.close(opened)
