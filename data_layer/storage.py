"""Storage: the bytes of elements, by owner and by what they are (their SHA-256).

The same content twice is one object of its owner; no object is shared between owners.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Used = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where files are kept, and how large one may be."""

    directory: Path = Path(".parley/files")
    limit_bytes: int = 50 * 1024 * 1024

    @property
    def waiting_directory(self) -> Path:
        """Where files may wait, a directory for each session, until they belong to something."""
        return self.directory / ".waiting"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of an owner: `key` is the SHA-256 of its bytes."""

    key: str
    size_bytes: int


class Storage(Protocol):
    """Where bytes are kept. All methods raise `StorageUnavailable`."""

    def put(
        self, owner_id: str, content: AsyncIterable[bytes]
    ) -> AbstractAsyncContextManager[StoredObject]:
        """Keep a stream of bytes; raises `TooLarge`, and then nothing remains.

        Inside the block no `delete` removes the object: note there who uses it.
        """
        ...

    async def size(self, owner_id: str, key: str) -> int:
        """Say how long an object is; raises `NotFound`."""
        ...

    def read(
        self, owner_id: str, key: str, first: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes]:
        """Read an object in pieces, or `length` bytes of it from the `first` on."""
        ...

    async def delete(self, owner_id: str, key: str, used: Used) -> None:
        """Delete an object unless `used` says that something still needs it."""
        ...

    async def delete_owner(self, owner_id: str) -> None:
        """Delete all objects of an owner."""
        ...

    def objects(self, owner_id: str) -> AsyncIterator[StoredObject]:
        """List the objects of an owner."""
        ...
