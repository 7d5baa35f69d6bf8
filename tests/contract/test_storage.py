"""Bytes in a directory: complete or not there, private, and nobody else's."""

import asyncio
import hashlib
import os
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_layer.local_storage import LocalStorage
from data_layer.storage import StorageConfig
from parley.chat.errors import NotFound, StorageUnavailable, TooLarge

LIMIT = 1024 * 1024
DAY_S = 24 * 3600


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def storage(directory: Path) -> LocalStorage:
    return LocalStorage(StorageConfig(directory, LIMIT))


@pytest.fixture
def owner_id() -> str:
    return str(uuid4())


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


async def put(storage: LocalStorage, owner_id: str, *content: bytes) -> str:
    async with storage.put(owner_id, pieces(*content)) as stored:
        return stored.key


async def read(storage: LocalStorage, owner_id: str, key: str, *place: int) -> bytes:
    return b"".join([piece async for piece in storage.read(owner_id, key, *place)])


async def unused() -> bool:
    return False


async def used() -> bool:
    return True


def everything(directory: Path) -> list[Path]:
    return [directory, *directory.rglob("*")]


def files(directory: Path) -> list[Path]:
    """What is kept, without the files that are only locked."""
    kept = (path for path in everything(directory) if path.parent.name != ".locks")
    return [path for path in kept if path.is_file()]


async def test_bytes_come_back_as_they_were(storage: LocalStorage, owner_id: str) -> None:
    content = os.urandom(600_000)
    key = await put(storage, owner_id, content[:10], content[10:])
    assert key == hashlib.sha256(content).hexdigest()
    assert await storage.size(owner_id, key) == len(content)
    assert await read(storage, owner_id, key) == content
    assert await read(storage, owner_id, key, 5, 300_000) == content[5:300_005]
    assert await read(storage, owner_id, key, 599_990, 100) == content[599_990:]


async def test_no_bytes_are_an_object_too(storage: LocalStorage, owner_id: str) -> None:
    key = await put(storage, owner_id)
    assert await storage.size(owner_id, key) == 0
    assert await read(storage, owner_id, key) == b""


async def test_same_content_is_one_object_of_its_owner(
    storage: LocalStorage, directory: Path, owner_id: str
) -> None:
    key, other = await put(storage, owner_id, b"twice"), str(uuid4())
    assert await put(storage, owner_id, b"tw", b"ice") == key
    assert len(files(directory)) == 1
    with pytest.raises(NotFound):
        await storage.size(other, key)
    await put(storage, other, b"twice")
    await storage.delete_owner(other)
    assert await read(storage, owner_id, key) == b"twice"
    assert [found async for found in storage.objects(other)] == []


async def test_only_the_servers_user_may_look(
    storage: LocalStorage, directory: Path, owner_id: str
) -> None:
    await put(storage, owner_id, b"mine")
    for path in everything(directory):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


async def test_too_much_leaves_nothing(
    storage: LocalStorage, directory: Path, owner_id: str
) -> None:
    taken = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            taken.append(b"x" * 1000)
            yield taken[-1]

    with pytest.raises(TooLarge, match="LIMIT_UPLOAD_BYTES"):
        async with storage.put(owner_id, endless()):
            pytest.fail("it was kept")
    assert sum(map(len, taken)) <= LIMIT + 1000
    assert files(directory) == []
    assert await put(storage, owner_id, b"x" * LIMIT)


async def test_stream_that_breaks_leaves_nothing(
    storage: LocalStorage, directory: Path, owner_id: str
) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"half"
        raise EOFError

    with pytest.raises(EOFError):
        async with storage.put(owner_id, breaks()):
            pytest.fail("it was kept")
    assert files(directory) == []


async def test_who_stops_waiting_leaves_nothing(
    storage: LocalStorage, directory: Path, owner_id: str
) -> None:
    begun = asyncio.Event()

    async def never_ends() -> AsyncIterator[bytes]:
        yield b"half"
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(storage.put(owner_id, never_ends()).__aenter__())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(directory) == []


@pytest.mark.parametrize("servers", [1, 2])
async def test_delete_waits_for_the_put_of_the_same_content(
    storage: LocalStorage, directory: Path, owner_id: str, servers: int
) -> None:
    key, rows = await put(storage, owner_id, b"same"), list[str]()
    other = storage if servers == 1 else LocalStorage(StorageConfig(directory, LIMIT))

    async def is_used() -> bool:
        return key in rows

    async with asyncio.TaskGroup() as tasks, storage.put(owner_id, pieces(b"same")):
        deleting = tasks.create_task(other.delete(owner_id, key, is_used))
        await put(other, owner_id, b"other")
        assert not deleting.done()
        rows.append(key)
    assert await read(storage, owner_id, key) == b"same"


async def test_put_waits_for_the_delete_by_another_server(
    storage: LocalStorage, directory: Path, owner_id: str
) -> None:
    other = LocalStorage(StorageConfig(directory, LIMIT))
    key, looking, go_on = await put(storage, owner_id, b"same"), asyncio.Event(), asyncio.Event()

    async def is_used() -> bool:
        looking.set()
        await go_on.wait()
        return False

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(other.delete(owner_id, key, is_used))
        await looking.wait()
        putting = tasks.create_task(put(storage, owner_id, b"same"))
        await put(storage, owner_id, b"other")
        assert not putting.done()
        go_on.set()
    assert await read(storage, owner_id, key) == b"same"


async def test_who_stops_waiting_for_a_lock_leaves_it_to_others(
    storage: LocalStorage, directory: Path, owner_id: str
) -> None:
    other = LocalStorage(StorageConfig(directory, LIMIT))
    async with storage.put(owner_id, pieces(b"same")) as stored:
        waiting = asyncio.ensure_future(put(other, owner_id, b"same"))
        await put(other, owner_id, b"other")
        waiting.cancel()
        await asyncio.wait([waiting])
    await other.delete(owner_id, stored.key, unused)
    assert [found.key async for found in storage.objects(owner_id)] != [stored.key]


async def test_lock_whose_file_was_deleted_is_made_again(
    storage: LocalStorage, directory: Path, owner_id: str
) -> None:
    async with storage.put(owner_id, pieces(b"same")):
        await storage.delete_owner(owner_id)
    key = await put(storage, owner_id, b"same")
    assert await read(storage, owner_id, key) == b"same"


async def test_used_bytes_stay_and_others_go(storage: LocalStorage, owner_id: str) -> None:
    key = await put(storage, owner_id, b"x")
    await storage.delete(owner_id, key, used)
    assert await storage.size(owner_id, key) == 1
    await storage.delete(owner_id, key, unused)
    await storage.delete(owner_id, key, unused)
    with pytest.raises(NotFound):
        await read(storage, owner_id, key)


async def test_objects_are_listed_and_go_with_their_owner(
    storage: LocalStorage, directory: Path, owner_id: str
) -> None:
    keys = {await put(storage, owner_id, content) for content in (b"", b"1", b"22")}
    listed = {found.key: found.size_bytes async for found in storage.objects(owner_id)}
    assert set(listed) == keys
    assert sorted(listed.values()) == [0, 1, 2]
    await storage.delete_owner(owner_id)
    await storage.delete_owner(owner_id)
    assert files(directory) == []


@contextmanager
def disk_of(size_bytes: int) -> Iterator[None]:
    """The kernel refuses to write more into a file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_full_disk_is_said_and_leaves_nothing(
    storage: LocalStorage, directory: Path, owner_id: str
) -> None:
    with disk_of(64 * 1024), pytest.raises(StorageUnavailable, match="no room"):
        await put(storage, owner_id, b"x" * 300_000, b"y" * 300_000)
    assert files(directory) == []
    assert await put(storage, owner_id, b"x" * 300_000)


async def test_directory_that_cannot_be_made_is_said(tmp_path: Path, owner_id: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    storage = LocalStorage(StorageConfig(tmp_path / "file" / "files", LIMIT))
    with pytest.raises(StorageUnavailable, match="STORAGE_DIRECTORY"):
        await put(storage, owner_id, b"x")
    await storage.sweep()


async def test_what_a_crash_left_is_swept(
    storage: LocalStorage, directory: Path, owner_id: str
) -> None:
    key = await put(storage, owner_id, b"kept")
    for name, old in ((".parts/old", True), (".parts/new", False), (".waiting/a/old", True)):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        for aged in (path, path.parent) if old else ():
            os.utime(aged, (0, path.stat().st_mtime - 2 * DAY_S))
    await storage.sweep()
    left = {str(path.relative_to(directory)) for path in files(directory)}
    assert left == {".parts/new", f"{owner_id}/{key[:2]}/{key}"}


@given(st.text())
def test_no_key_leads_out_of_the_owners_directory(key: str) -> None:
    storage = LocalStorage(StorageConfig(Path("/nowhere"), LIMIT))
    with pytest.raises(ValueError, match="not the key"):
        asyncio.run(storage.size(str(uuid4()), key))


async def test_no_owner_leads_out_of_the_directory(storage: LocalStorage) -> None:
    with pytest.raises(ValueError, match="UUID"):
        await storage.delete_owner("../..")
