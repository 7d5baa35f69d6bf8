"""Forget: every row that is one user's deleted, and nothing of it left in the files of SQLite."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.database import Database
from data_layer.tables import QUEUED, RUNNING, feedbacks, metadata, threads, turns, users
from data_layer.writer import Writer

# Each before what it refers to. A table without an owner goes with the thread that it refers to.
_OWNED = [table for table in reversed(metadata.sorted_tables) if "owner_id" in table.c]
# What is in a thread is its owner's, and found by an index of threads; but feedback is of whoever
# gave it, and others gave theirs in this user's threads.
_OF_OTHERS_TOO = {feedbacks}


async def count_rows(database: Database, user_id: str) -> Mapping[str, int]:
    """Count what `forget_user` would delete, by table."""
    return await database.read(lambda connection: _count(connection, user_id))


async def thread_ids(database: Database, user_id: str) -> Sequence[str]:
    """Name the user's threads: other stores know them by these ids."""
    statement = sa.select(threads.c.id).where(threads.c.owner_id == user_id)
    return await database.read(lambda connection: connection.execute(statement).scalars().all())


async def unfinished_turn_ids(database: Database, user_id: str) -> Sequence[str]:
    """Name the user's turns that are not over: what there is of them is not only in the rows."""
    statement = sa.select(turns.c.id).where(
        _of(user_id, turns), turns.c.state.in_((RUNNING, QUEUED))
    )
    return await database.read(lambda connection: connection.execute(statement).scalars().all())


async def forget_user(writer: Writer, user_id: str) -> Mapping[str, int]:
    """Delete the user and all that is theirs, also what others said of it; tell what, by table.

    A turn that is being written has lost its row: it can write nothing more (`StaleFence`).
    """
    return await writer.write(lambda connection: _forget(connection, user_id))


def _forget(connection: Connection, user_id: str) -> dict[str, int]:
    # In the order of everyone else's locks: the thread first. A thread that is begun at this
    # moment waits for the user's row, and then finds none.
    for locked in (
        sa.select(users.c.id).where(users.c.id == user_id),
        sa.select(threads.c.id).where(threads.c.owner_id == user_id),
    ):
        connection.execute(locked.with_for_update()).all()
    counts = _count(connection, user_id)
    for table in _OWNED:
        connection.execute(sa.delete(table).where(_of(user_id, table)))
        if table in _OF_OTHERS_TOO:
            connection.execute(sa.delete(table).where(table.c.owner_id == user_id))
    connection.execute(sa.delete(users).where(users.c.id == user_id))
    return counts


def _count(connection: Connection, user_id: str) -> dict[str, int]:
    rows = sa.select(sa.func.count())
    return {
        table.name: connection.execute(
            rows.where(table.c.owner_id == user_id, _of(user_id, table))
        ).scalar_one()
        for table in reversed(_OWNED)
    }


def _of(user_id: str, table: sa.Table) -> sa.ColumnElement[bool]:
    """What is the user's in a table, by the index that leads to it."""
    if "thread_id" not in table.c:
        return table.c.owner_id == user_id
    mine = sa.select(threads.c.id).where(threads.c.owner_id == user_id)
    return table.c.thread_id.in_(mine)


async def scrub(database: Database) -> bool:
    """Leave nothing in the files of SQLite of what was deleted; say whether that is so.

    False where someone reads what was there before: the write-ahead log still has it then.
    PostgreSQL's files are the business of its VACUUM, its log and its operator.
    """
    return await database.read(_scrub)  # a read has no transaction on SQLite, which VACUUM demands


def _scrub(connection: Connection) -> bool:
    if connection.dialect.name != "sqlite":
        return True
    for (name,) in connection.exec_driver_sql(
        "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%fts5%'"
    ).all():
        # Without this an index keeps the words of deleted texts until its pieces happen to merge.
        connection.exec_driver_sql(f'INSERT INTO "{name}"("{name}") VALUES (\'optimize\')')  # noqa: S608 - a name of ours
    connection.exec_driver_sql("VACUUM")
    busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    return not busy
