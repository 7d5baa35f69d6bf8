"""Forgetting: no row, no file and no page of a file is left of the user, and nothing of others."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from data_layer.database import Database, DatabaseConfig, open_database
from data_layer.forget import count_rows, forget_user, scrub
from data_layer.migrate import migrate
from data_layer.tables import feedbacks, metadata, steps, users
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer, open_writer
from parley.chat.errors import NotFound, StaleFence
from parley.chat.turns import Owner
from tests.contract.filling import fill, id_in, row_of, rows_in, written
from tests.contract.support import a_turn, an_end


async def add(database: Database, user_id: str, word: str = "word") -> None:
    await database.write(lambda c: fill(c, metadata.sorted_tables, user_id, word))


def everything(connection: sa.Connection) -> str:
    """All rows of all tables, as text."""
    tables = sa.inspect(connection).get_table_names()
    return repr([connection.execute(sa.select(sa.text(f'* FROM "{t}"'))).all() for t in tables])


async def test_nothing_names_the_user_afterwards(database: Database, writer: Writer) -> None:
    """A table that comes later has to be handled too: it is in `metadata`, and filled here."""
    user_id, other_id, word = str(uuid4()), str(uuid4()), f"word{uuid4().hex}"
    await add(database, user_id, word)
    await add(database, other_id, uuid4().hex)
    assert word in await database.read(everything)
    counts = await count_rows(database, user_id)
    assert all(counts.values())
    assert await forget_user(writer, user_id) == counts
    assert await scrub(database)
    left = await database.read(everything)
    assert word not in left
    assert user_id not in left
    assert user_id.replace("-", "") not in left
    for table in metadata.sorted_tables:
        assert await rows_in(database, table, other_id), table.name


async def test_feedback_of_others_goes_too(database: Database, writer: Writer) -> None:
    user_id, rater_id = str(uuid4()), str(uuid4())
    await add(database, user_id)
    await add(database, rater_id)
    on_theirs = row_of(feedbacks, rater_id, "nice") | {
        "id": str(uuid4()),
        "thread_id": id_in("threads", user_id),
        "step_id": id_in("steps", user_id),
    }
    await written(database, sa.insert(feedbacks), on_theirs)
    await forget_user(writer, user_id)
    left = await rows_in(database, feedbacks, rater_id)
    assert [row["step_id"] for row in left] == [id_in("steps", rater_id)]


async def test_feedback_that_they_gave_goes_too(database: Database, writer: Writer) -> None:
    user_id, other_id = str(uuid4()), str(uuid4())
    await add(database, user_id)
    await add(database, other_id)
    on_others = row_of(feedbacks, user_id, "bad") | {
        "id": str(uuid4()),
        "thread_id": id_in("threads", other_id),
        "step_id": id_in("steps", other_id),
    }
    await written(database, sa.insert(feedbacks), on_others)
    await forget_user(writer, user_id)
    assert await rows_in(database, feedbacks, user_id) == []
    assert await rows_in(database, feedbacks, other_id)


async def test_running_turn_can_write_nothing_more(
    database: Database, writer: Writer, owner: Owner, thread_id: str
) -> None:
    store = SqlTurnStore(database, writer)
    turn = (await store.begin(a_turn(owner, thread_id))).turn
    queued = (await store.begin(a_turn(owner, thread_id))).turn
    await forget_user(writer, owner.id)
    for write in (store.checkpoint, store.finish):
        with pytest.raises(StaleFence):
            await write(turn, an_end())
    with pytest.raises(NotFound):
        await store.request_stop(owner.id, queued.id)
    assert not any((await count_rows(database, owner.id)).values())


async def test_turn_that_begins_meanwhile_leaves_no_half(
    database_url: str, database: Database, writer: Writer
) -> None:
    """It is gone with the rest, or it is whole, of someone who came again."""
    async with (
        open_database(DatabaseConfig(url=database_url)) as other,
        open_writer(other) as its_writer,
    ):
        store = SqlTurnStore(other, its_writer)
        for _round in range(10):
            owner, thread_id = Owner(str(uuid4()), uuid4().hex), str(uuid4())
            await store.begin(a_turn(owner, thread_id))
            await asyncio.gather(
                forget_user(writer, owner.id),
                *(store.begin(a_turn(owner, thread_id)) for _ in range(3)),
                return_exceptions=True,
            )
            counts = await count_rows(database, owner.id)
            assert counts["steps"] == 2 * counts["turns"]
            assert bool(counts["turns"]) == bool(counts["threads"])
            there = await rows_in(database, users, owner.id)
            assert len(there) >= min(counts["threads"], 1)


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(DatabaseConfig(url=f"sqlite:///{tmp_path}/parley.db")) as database:
        await migrate(database)
        yield database


def on_disk(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.glob("parley.db*")).lower()


async def test_files_of_sqlite_hold_no_word_of_it(sqlite: Database, tmp_path: Path) -> None:
    """Not in free pages, where an answer grew checkpoint by checkpoint, nor in the log or index."""
    user_id, word = str(uuid4()), f"word{uuid4().hex}"
    await add(sqlite, user_id, word)
    await add(sqlite, str(uuid4()), "other")
    for length in (10, 2_000, 50):
        grown = (
            sa.update(steps).where(steps.c.owner_id == user_id).values(output=f"{word} " * length)
        )
        await written(sqlite, grown)
    assert on_disk(tmp_path).count(word.encode()) > 10
    async with open_writer(sqlite) as writer:
        await forget_user(writer, user_id)
    assert await scrub(sqlite)
    assert word.encode() not in on_disk(tmp_path)
    assert b"other" in on_disk(tmp_path)


async def test_reader_of_what_was_there_is_told_of(sqlite: Database, tmp_path: Path) -> None:
    config = replace(DatabaseConfig(url=f"sqlite:///{tmp_path}/parley.db"), busy_timeout_s=0.01)
    async with open_database(config) as database:
        await add(database, str(uuid4()))
        with closing(sqlite3.connect(tmp_path / "parley.db")) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM users").fetchall()
            assert not await scrub(database)
    assert await scrub(sqlite)
