"""Storage: the bytes of elements, by owner and by what they are (their SHA-256).

The same content twice is one object of its owner; no object is shared between owners.
"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

Used = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Quota:
    """How much all the kept files of one user may take; `limit_name` is what sets that."""

    limit_bytes: int = 1024 * 1024 * 1024
    limit_name: str = "LIMIT_KEPT_BYTES"


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where files are kept, and how large one may be; `limit_name` is what sets that."""

    directory: Path = Path(".parley/files")
    limit_bytes: int = 50 * 1024 * 1024
    limit_name: str = "LIMIT_UPLOAD_BYTES"
    quota: Quota = Quota()

    @property
    def waiting_directory(self) -> Path:
        """Where files may wait, a directory for each session, until they belong to something."""
        return self.directory / ".waiting"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of an owner: `key` is the SHA-256 of its bytes."""

    key: str
    size_bytes: int


class Place(NamedTuple):
    """Where an object is: whose it is, and its key."""

    owner_id: str
    key: str


class Storage(Protocol):
    """Where bytes are kept. All methods raise `StorageUnavailable`."""

    def put(
        self, owner_id: str, content: AsyncIterable[bytes]
    ) -> AbstractAsyncContextManager[StoredObject]:
        """Keep a stream of bytes; raises `TooLarge`, and then nothing remains.

        Inside the block no `delete` removes the object, of another server neither: note there
        who uses it, and nothing else, since other objects may have to wait too.
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

    async def sweep(self) -> None:
        """Remove what a crash left of uploads and sessions; failing to is no error."""
        ...

    def places(self, age_s: float = 0) -> AsyncGenerator[Sequence[Place]]:
        """List all objects that have been there for so long, some at a time."""
        ...

    async def database(self) -> str | None:
        """Say which database the objects belong to; None where nobody has said so."""
        ...

    async def belong_to(self, database_id: str) -> None:
        """Say so, unless somebody was faster."""
        ...
