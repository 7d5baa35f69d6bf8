"""An export: one JSON object with all that is the user's, and nothing that is another's."""

import json
import tracemalloc
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from data_layer.database import Database, DatabaseConfig, open_database
from data_layer.export import export_files, export_user, find_user
from data_layer.local_storage import LocalStorage
from data_layer.migrate import migrate
from data_layer.storage import StorageConfig
from data_layer.tables import metadata, steps, threads, users
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.chat.errors import NotFound
from parley.chat.turns import Owner
from tests.contract.filling import MOMENT, fill, id_in, row_of, written
from tests.contract.support import a_turn, an_end, an_owner

# What holds nothing that the user wrote and is not elsewhere too.
LEFT_OUT = {
    "tombstones",
    "search_documents",
    "databases",
    "replicas",
    "sign_in_states",
    "adoptions",
}
NOT_TOLD = {"owner_id", "digest", "sealed_token"}


async def exported(database: Database, who: str) -> dict[str, Any]:
    user = await find_user(database, who)
    text = "".join([piece async for piece in export_user(database, user)])
    value: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return value


async def filled(database: Database, word: str = "word") -> str:
    user_id = str(uuid4())
    await database.write(lambda c: fill(c, metadata.sorted_tables, user_id, word + user_id))
    return user_id


async def test_every_column_of_every_table_is_there(database: Database) -> None:
    user_id = await filled(database)
    told = await exported(database, user_id)
    (thread,) = told["threads"]
    rows = {name: thread.pop(name)[0] for name in ("turns", "steps", "elements")}
    rows |= {"users": told["user"], "threads": thread}
    rows |= {name: told[name][0] for name in ("feedbacks", "sign_ins", "api_keys")}
    wanted = {table.name: table for table in metadata.sorted_tables if table.name not in LEFT_OUT}
    assert rows.keys() == wanted.keys()
    for name, table in wanted.items():
        row = row_of(table, user_id, "word" + user_id)
        row = {name: value for name, value in row.items() if name not in NOT_TOLD}
        assert rows[name].keys() == row.keys()
        told_row = {k: v for k, v in rows[name].items() if not isinstance(row[k], datetime)}
        assert told_row == {k: row[k] for k in told_row}


async def test_says_its_version_and_utc_times(database: Database) -> None:
    told = await exported(database, await filled(database))
    assert told["version"] == 1
    assert told["exported_at"].endswith("Z")
    assert told["user"]["created_at"] == "2026-01-02T12:30:15.000250Z"
    assert datetime.fromisoformat(told["user"]["created_at"]) == MOMENT


async def test_all_branches_and_receipts_are_there(
    database: Database, writer: Writer, owner: Owner, thread_id: str
) -> None:
    store = SqlTurnStore(database, writer)
    first = (await store.begin(a_turn(owner, thread_id, "one"))).turn
    await store.finish(first, an_end("eins"))
    await store.begin(a_turn(owner, thread_id, "two", replaces=first.id))
    (thread,) = (await exported(database, owner.identifier))["threads"]
    assert [turn["parent_turn_id"] for turn in thread["turns"]] == [None, None]
    assert [step["output"] for step in thread["steps"]] == ["one", "eins", "two", ""]
    assert thread["turns"][0]["receipt"] == {"version": 1}
    assert thread["turns"][0]["usage"]["input_tokens"] == 1
    assert thread["turns"][0]["attempts"][0]["provider"] == "p"


async def test_nothing_of_others_is_there(database: Database) -> None:
    user_id, other_id = await filled(database, "mine"), await filled(database, "theirs")
    told = json.dumps(await exported(database, user_id))
    assert f"mine{user_id}" in told
    assert "theirs" not in told
    assert other_id not in told


async def test_user_is_found_by_identifier_or_id(database: Database, writer: Writer) -> None:
    owner = an_owner()
    await SqlTurnStore(database, writer).begin(a_turn(owner, str(uuid4())))
    for who in (owner.id, owner.identifier, owner.id.upper()):
        assert (await find_user(database, who)).id == owner.id


@pytest.mark.parametrize(
    "who", ["nobody", "", "\0", "\ud800", "8c7c2bd0-4f0a-4b0e-9d51-7f6f7b1f2a10", "%"]
)
async def test_nobody_is_not_found(database: Database, who: str) -> None:
    with pytest.raises(NotFound, match="no user"):
        await find_user(database, who)


async def test_identifier_that_is_an_id_of_another_is_refused(database: Database) -> None:
    one, other = str(uuid4()), str(uuid4())
    for user_id, identifier in ((one, "i" + one), (other, one)):
        row = row_of(users, user_id, "x") | {"identifier": identifier}
        await written(database, sa.insert(users), row)
    with pytest.raises(NotFound):
        await find_user(database, one)


async def test_what_a_user_deleted_is_not_there(database: Database) -> None:
    user_id = await filled(database)
    gone = sa.update(threads).where(threads.c.owner_id == user_id).values(deleted_at=MOMENT)
    await written(database, gone)
    assert (await exported(database, user_id))["threads"] == []


async def test_what_json_has_not_is_replaced(tmp_path: Path) -> None:
    """SQLite takes what Python calls JSON."""
    user_id, odd = str(uuid4()), {"number": float("nan"), "text": "a\ud800", "nul": "\0"}
    row = row_of(users, user_id, "word") | {"metadata": odd}
    async with open_database(DatabaseConfig(url=f"sqlite:///{tmp_path}/parley.db")) as database:
        await migrate(database)
        await written(database, sa.insert(users), row)
        told = (await exported(database, user_id))["user"]["metadata"]
    assert told == {"number": None, "text": "a\N{REPLACEMENT CHARACTER}", "nul": "\0"}


async def test_pages_neither_lose_nor_repeat_rows(database: Database) -> None:
    user_id = await filled(database)
    row = row_of(steps, user_id, "word")
    more = [row | {"id": str(uuid4()), "ordinal": n // 3, "output": str(n)} for n in range(170)]
    await written(database, sa.insert(steps), more)
    (thread,) = (await exported(database, user_id))["threads"]
    ids = [step["id"] for step in thread["steps"]]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id_in("steps", user_id), *(one["id"] for one in more)}


async def test_memory_does_not_grow_with_a_thread(database: Database) -> None:
    user_id, text = await filled(database), "x" * 100_000
    row = row_of(steps, user_id, "word") | {"type": "run"}
    for _ in range(10):
        more = [row | {"id": str(uuid4()), "output": text} for _ in range(50)]
        await written(database, sa.insert(steps), more)
    user = await find_user(database, user_id)
    tracemalloc.start()
    size = 0
    async for piece in export_user(database, user):
        size += len(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 500 * len(text)
    assert peak < size / 2


async def test_files_come_with_their_bytes(database: Database, tmp_path: Path) -> None:
    user = await find_user(database, await filled(database))
    storage = LocalStorage(StorageConfig(tmp_path / "kept"))

    async def content() -> Any:
        yield b"bytes"

    async with storage.put(user.id, content()) as kept:
        pass
    assert await export_files(storage, user, tmp_path / "out") == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        kept.key: b"bytes"
    }
