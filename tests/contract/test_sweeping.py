"""Sweeping: what a crash left goes, and nothing else, of no other database either."""

import asyncio
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from data_layer.database import Database
from data_layer.elements import SqlElements
from data_layer.local_storage import LocalStorage
from data_layer.storage import StorageConfig
from data_layer.sweeping import sweeping
from data_layer.threads import SqlThreads
from data_layer.writer import Writer
from parley.chat.turns import Owner
from tests.contract.support import an_owner
from tests.contract.test_elements import an_element, content_of, kept_keys
from tests.contract.test_storage import put

TWO_HOURS_S = 2 * 3600


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def storage(directory: Path) -> LocalStorage:
    return LocalStorage(StorageConfig(directory))


@pytest.fixture
async def elements(database: Database, writer: Writer, storage: LocalStorage) -> SqlElements:
    elements = SqlElements(database, writer, storage)
    await elements.sweep()  # as a first start does
    return elements


def age(directory: Path) -> None:
    for path in directory.glob("*/??/*"):
        os.utime(path, (0, path.stat().st_mtime - TWO_HOURS_S))


async def test_bytes_without_a_row_go_when_they_are_old(
    elements: SqlElements, storage: LocalStorage, directory: Path, owner: Owner, thread_id: str
) -> None:
    new, other = an_element(thread_id), an_owner()
    await elements.put(owner, new)
    await put(storage, owner.id, b"never committed")
    await put(storage, other.id, b"bytes")
    age(directory)
    young = await put(storage, owner.id, b"on its way")
    await elements.sweep()
    assert await content_of(elements, owner, new.id) == b"bytes"
    assert young in await kept_keys(storage, owner)
    assert [len(await kept_keys(storage, one)) for one in (owner, other)] == [2, 0]


async def test_bytes_that_a_crash_kept_from_deletion_go(
    elements: SqlElements,
    database: Database,
    writer: Writer,
    storage: LocalStorage,
    directory: Path,
    owner: Owner,
    thread_id: str,
) -> None:
    await elements.put(owner, an_element(thread_id))
    assert await SqlThreads(database, writer).delete(owner.id, thread_id)
    age(directory)
    await elements.sweep()
    assert await kept_keys(storage, owner) == set()


async def test_nobody_waits_for_a_sweep() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with sweeping(endless):
        await begun.wait()
    assert ended.is_set()


async def test_more_files_than_a_batch_are_looked_at(
    elements: SqlElements, storage: LocalStorage, directory: Path, owner: Owner, thread_id: str
) -> None:
    new = an_element(thread_id)
    await elements.put(owner, new)
    for number in range(250):
        path = directory / owner.id / f"{number:02x}" / f"{number:02x}".ljust(64, "0")
        path.parent.mkdir(exist_ok=True)
        path.touch()
    age(directory)
    await elements.sweep()
    assert len(await kept_keys(storage, owner)) == 1


async def test_files_of_another_database_stay(
    elements: SqlElements, storage: LocalStorage, directory: Path, owner: Owner
) -> None:
    await put(storage, owner.id, b"another's")
    (directory / ".database").write_text("another")
    age(directory)
    with capture_logs() as lines:
        await elements.sweep()
    assert await kept_keys(storage, owner)
    assert ["another database" in line["event"] for line in lines] == [True]


@pytest.mark.parametrize("has_a_row", [True, False])
async def test_unmarked_directory_is_whose_rows_know_it(
    elements: SqlElements,
    storage: LocalStorage,
    directory: Path,
    owner: Owner,
    thread_id: str,
    *,
    has_a_row: bool,
) -> None:
    (directory / ".database").unlink()
    await put(storage, owner.id, b"without a row")
    if has_a_row:
        await elements.put(owner, an_element(thread_id))
    age(directory)
    await elements.sweep()
    assert len(await kept_keys(storage, owner)) == 1
    assert (directory / ".database").exists() == has_a_row


async def test_sweep_that_fails_is_only_told(
    database: Database, writer: Writer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    elements = SqlElements(database, writer, LocalStorage(StorageConfig(tmp_path / "file")))
    with capture_logs() as lines:
        await elements.sweep()
    assert "Files that nothing needs may remain" in [line["event"] for line in lines]
