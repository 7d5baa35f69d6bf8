"""Quota: what the files of one user may take in all."""

import asyncio
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from data_layer.database import Database
from data_layer.elements import SqlElements
from data_layer.local_storage import LocalStorage
from data_layer.storage import Quota, StorageConfig
from data_layer.writer import Writer, open_writer
from parley.chat.errors import TooLarge
from parley.chat.turns import Owner
from tests.contract.support import an_owner
from tests.contract.test_elements import an_element


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(StorageConfig(tmp_path))


async def test_files_of_an_owner_have_a_limit_in_all(
    database: Database, writer: Writer, storage: LocalStorage, owner: Owner, thread_id: str
) -> None:
    elements = SqlElements(database, writer, storage, Quota(10))
    await elements.put(owner, an_element(thread_id, b"sixsix"))
    with pytest.raises(TooLarge, match="more than 10 bytes in all"):
        await elements.put(owner, an_element(str(uuid4()), b"fives"))
    # Nothing of it is left; others have a limit of their own.
    assert [kept.size_bytes async for kept in storage.objects(owner.id)] == [6]
    await elements.put(an_owner(), an_element(str(uuid4()), b"fives"))
    await elements.put(owner, an_element(thread_id, b"sixsix"))  # the same is kept once
    last = an_element(thread_id, b"four")
    await elements.put(owner, last)
    with pytest.raises(TooLarge):
        await elements.put(owner, an_element(thread_id, _never_read()))  # full: not a byte is read
    await elements.put(owner, an_element(thread_id, None))
    await elements.put(owner, replace(last, content=b"rest"))


async def test_two_servers_keep_one_limit(
    database: Database, writer: Writer, storage: LocalStorage, owner: Owner
) -> None:
    async with open_writer(database) as other:
        two = [SqlElements(database, one, storage, Quota(10)) for one in (writer, other)]
        puts = [
            elements.put(owner, an_element(str(uuid4()), bytes([number] * 3)))
            for number in range(4)
            for elements in two
        ]
        await asyncio.gather(*puts, return_exceptions=True)
    kept = [one.size_bytes async for one in storage.objects(owner.id)]
    assert kept == [3, 3, 3]


def _never_read() -> Path:
    """A file that is not there: to open it would be another error."""
    return Path("/nowhere")
