"""Local storage: objects as files of this machine, for the server's user alone.

``<owner>/<aa>/<sha256>``. An object is complete or not there: it is written under another name,
and gets its own when it is on the disk. Nothing here blocks the event loop. Servers may share the
directory: who settles or deletes an object holds a lock that all of them know.
"""

import errno
import hashlib
import os
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from uuid import UUID, uuid4

from typing_extensions import override

from data_layer.left_files import KEY, PARTS, mark, marked, places, remove_leftovers
from data_layer.locks import FileLock, KeyedLocks
from data_layer.off_loop import off_loop
from data_layer.storage import Place, Storage, StorageConfig, StoredObject, Used
from parley.chat.errors import NotFound, StorageUnavailable, TooLarge
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_PIECE_BYTES = 256 * 1024
_BATCH = 200
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL = "There is no room for the file. Messages without files work; ask whoever runs this server."
_BROKEN = (
    "Files cannot be kept or read at the moment. Messages without files work;"
    " ask whoever runs this server to look at STORAGE_DIRECTORY."
)
_LOCKS = ".locks"


@dataclass(frozen=True, slots=True)
class _Part:
    path: Path
    key: str
    size_bytes: int


class _Incoming:
    """A part while it is written; its methods block."""

    def __init__(self, config: StorageConfig) -> None:
        self._limit_bytes = config.limit_bytes
        self._limit_name = config.limit_name
        self._path = config.directory / PARTS / uuid4().hex
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._size = 0

    def open(self) -> None:
        _make_both_private(self._path.parent)
        opened = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(opened, "wb")

    def append(self, piece: bytes) -> None:
        assert self._file
        self._size += len(piece)
        if self._size > self._limit_bytes:
            raise TooLarge(
                f"The file is larger than {self._limit_bytes} bytes ({self._limit_name})."
            )
        self._digest.update(piece)
        self._file.write(piece)

    def finish(self) -> _Part:
        assert self._file
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return _Part(self._path, self._digest.hexdigest(), self._size)

    def discard(self) -> None:
        if self._file:
            with suppress(OSError):  # what could not be written before is not written now
                self._file.close()
            self._path.unlink(missing_ok=True)


class LocalStorage(Storage):
    """Objects in a directory of this machine; all its work is done off the event loop."""

    def __init__(self, config: StorageConfig) -> None:
        """Keep objects in the configured directory, which is made when the first one comes."""
        self._config = config
        self._locks = KeyedLocks()

    @override
    @asynccontextmanager
    async def put(
        self, owner_id: str, content: AsyncIterable[bytes]
    ) -> AsyncIterator[StoredObject]:
        part = await self._received(content)
        try:
            async with self._alone(owner_id, part.key):
                with _explained():
                    await off_loop(lambda: self._settle(owner_id, part))
                yield StoredObject(part.key, part.size_bytes)
        finally:
            await off_loop(lambda: part.path.unlink(missing_ok=True))

    @override
    async def size(self, owner_id: str, key: str) -> int:
        with _explained():
            return (await off_loop(self._path(owner_id, key).stat)).st_size

    @override
    async def read(
        self, owner_id: str, key: str, first: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes]:
        with _explained():
            async for piece in read_pieces(self._path(owner_id, key), first, length):
                yield piece

    @override
    async def delete(self, owner_id: str, key: str, used: Used) -> None:
        path = self._path(owner_id, key)
        if not await off_loop(path.exists):
            return
        async with self._alone(owner_id, key):
            if not await used():
                with _explained():
                    await off_loop(lambda: path.unlink(missing_ok=True))

    @override
    async def delete_owner(self, owner_id: str) -> None:
        directory = self._owner_directory(owner_id)
        with _explained():
            await off_loop(lambda: shutil.rmtree(directory) if directory.is_dir() else None)

    @override
    async def objects(self, owner_id: str) -> AsyncIterator[StoredObject]:
        directory = self._owner_directory(owner_id)
        with _explained():
            paths = await off_loop(lambda: sorted(directory.glob("??/*")))
        for path in paths:
            yield StoredObject(path.name, await self.size(owner_id, path.name))

    @override
    async def sweep(self) -> None:
        try:
            removed = await off_loop(lambda: remove_leftovers(self._config))
        except OSError as error:
            logger.warning("Unfinished files could not be removed", reason=error.strerror)
        else:
            if removed:
                logger.info("Unfinished files removed", count=removed)

    @override
    async def places(self, age_s: float = 0) -> AsyncGenerator[Sequence[Place]]:
        found = places(self._config.directory, age_s)
        with _explained():
            while batch := await off_loop(lambda: list(islice(found, _BATCH))):
                yield batch

    @override
    async def database(self) -> str | None:
        with _explained():
            return await off_loop(lambda: marked(self._config.directory))

    @override
    async def belong_to(self, database_id: str) -> None:
        directory = self._config.directory

        def work() -> None:
            _make_private(directory)
            mark(directory, database_id)

        with _explained():
            await off_loop(work)

    @asynccontextmanager
    async def _alone(self, owner_id: str, key: str) -> AsyncIterator[None]:
        """Let nobody else settle or delete such an object, here or in another server.

        The lock of this process comes first: who waits here asks the disk for nothing.
        """
        directory, prefix = self._owner_directory(owner_id) / _LOCKS, key[:2]
        lock = FileLock(directory / prefix)
        async with self._locks.held(owner_id, prefix):
            try:
                with _explained():
                    await off_loop(lambda: _make_both_private(directory))
                    await lock.take()
                yield
            finally:
                await lock.release()

    async def _received(self, content: AsyncIterable[bytes]) -> _Part:
        """Write the stream to a file of its own, and that file to the disk."""
        with _explained():
            incoming = _Incoming(self._config)
            try:
                await off_loop(incoming.open)
                async for piece in content:
                    await off_loop(partial(incoming.append, piece))
                return await off_loop(incoming.finish)
            except BaseException:
                await off_loop(incoming.discard)
                raise

    def _settle(self, owner_id: str, part: _Part) -> None:
        """Give a part its place; what is there already is the same."""
        path = self._path(owner_id, part.key)
        _make_both_private(path.parent)
        part.path.replace(path)
        _sync_directory(path.parent)

    def _owner_directory(self, owner_id: str) -> Path:
        return self._config.directory / str(UUID(owner_id))

    def _path(self, owner_id: str, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise ValueError("not the key of an object")
        return self._owner_directory(owner_id) / key[:2] / key


async def read_pieces(
    path: Path, first: int = 0, length: int | None = None
) -> AsyncGenerator[bytes]:
    """Read a file in pieces, off the event loop; raises `OSError`."""
    file = await off_loop(lambda: path.open("rb", buffering=0))
    try:
        await off_loop(lambda: file.seek(first))
        left = sys.maxsize if length is None else length
        while left > 0:
            piece = await off_loop(partial(file.read, min(left, _PIECE_BYTES)))
            if not piece:
                return
            left -= len(piece)
            yield piece
    finally:
        file.close()


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what the disk says into our errors; the log has its own words."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound("The file is not here any more.") from None
    except OSError as error:
        logger.error("Files cannot be kept or read", reason=error.strerror, path=error.filename)  # noqa: TRY400 - the reason is enough
        raise StorageUnavailable(_FULL if error.errno in _NO_ROOM else _BROKEN) from error


def _make_both_private(directory: Path) -> None:
    _make_private(directory.parent)
    _make_private(directory)


def _make_private(directory: Path) -> None:
    """Make a directory for the server's user alone, and write its name to the disk."""
    if directory.is_dir():
        return
    directory.mkdir(mode=0o700, exist_ok=True, parents=True)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
