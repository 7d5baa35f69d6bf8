"""Migrations: the schema that they make is the one that the code means."""

import asyncio
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event

from data_layer.database import Database, DatabaseConfig, open_database
from data_layer.migrate import Migration, alembic_config, check_schema, migrate, patient
from data_layer.tables import Id, UtcTime, metadata
from data_layer.threads import SqlThreads
from data_layer.turns import SqlTurnStore
from data_layer.writer import open_writer
from parley.chat.errors import InvalidRequest, StorageUnavailable
from tests.contract.filling import fill, id_in, rows_of

ROOT = Path(__file__).parents[2]
SCRIPTS = ScriptDirectory.from_config(alembic_config())
REVISIONS = [script.revision for script in SCRIPTS.walk_revisions()][::-1]
NEWEST = REVISIONS[-1]
MIGRATE = """
import asyncio, sys
from data_layer.database import DatabaseConfig, open_database
from data_layer.migrate import migrate, patient

async def main():
    async with open_database(patient(DatabaseConfig(url=sys.argv[1]))) as database:
        print("ready", flush=True)
        sys.stdin.readline()
        migration = await migrate(database)
        print(migration.before, migration.after)

asyncio.run(main())
"""


def tables(connection: sa.Connection) -> set[str]:
    names = set(sa.inspect(connection).get_table_names())
    if connection.dialect.name == "sqlite":
        # An FTS5 table and the ones in which it keeps itself.
        made_by = "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'"
        virtual = tuple(connection.exec_driver_sql(made_by).scalars())
        names = {name for name in names if not name.startswith(virtual)} if virtual else names
    return names


async def test_up_and_down_again(empty_database_url: str) -> None:
    async with open_database(patient(DatabaseConfig(url=empty_database_url))) as database:
        with pytest.raises(StorageUnavailable, match="at revision None"):
            await check_schema(database)
        await migrate(database)
        await check_schema(database)
        assert await database.read(tables) == {*metadata.tables, "alembic_version"}
        await database.write(lambda c: command.downgrade(alembic_config(c), "base"))
        assert await database.read(tables) == {"alembic_version"}
        await migrate(database)
        await migrate(database)
        await check_schema(database)


async def test_schema_is_what_the_tables_say(empty_database_url: str) -> None:
    async with open_database(patient(DatabaseConfig(url=empty_database_url))) as database:
        await migrate(database)

        def differences(connection: sa.Connection) -> list[object]:
            ours = {*tables(connection), *metadata.tables}
            # What PostgreSQL alone has; SQLite's is a virtual table.
            elsewhere = "ix_search_documents_words" if connection.dialect.name == "sqlite" else ""
            options = {
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, _: kind != "table" or name in ours,
                "include_object": lambda _object, name, *_: name != elsewhere,
            }
            context = MigrationContext.configure(connection, opts=options)
            return list(compare_metadata(context, metadata))

        assert await database.read(differences) == []
        assert await database.read(_names) == await _names_of_tables(empty_database_url)


def _names(connection: sa.Connection) -> dict[str, set[str | None]]:
    """Names of keys and indexes, which `compare_metadata` does not look at on SQLite."""
    inspector = sa.inspect(connection)
    return {
        table: {one["name"] for one in inspector.get_indexes(table)}
        | {one["name"] for one in inspector.get_unique_constraints(table)}
        | {one["name"] for one in inspector.get_foreign_keys(table)}
        | {inspector.get_pk_constraint(table)["name"]}
        for table in metadata.tables
    }


async def _names_of_tables(url: str) -> dict[str, set[str | None]]:
    """The same names in a schema that is made from tables.py."""
    async with open_database(DatabaseConfig(url=url)) as database:
        await database.write(lambda c: command.downgrade(alembic_config(c), "base"))
        await database.write(metadata.create_all)
        return await database.read(_names)


@pytest.mark.parametrize("revision", REVISIONS)
async def test_what_is_there_survives_up_and_down(empty_database_url: str, revision: str) -> None:
    user_id = str(uuid4())
    async with open_database(patient(DatabaseConfig(url=empty_database_url))) as database:
        await migrate(database, revision)
        there = await database.read(reflected)
        await database.write(lambda c: fill(c, there, user_id))
        before = await database.read(lambda c: contents(c, there, user_id))
        assert all(before.values())
        assert (await migrate(database)).after == NEWEST
        assert await database.read(lambda c: contents(c, there, user_id)) == before
        await assert_readable(database, user_id)
        assert (await migrate(database, revision)).after == revision
        assert await database.read(lambda c: contents(c, there, user_id)) == before
        again = await database.read(reflected)
        assert [table.name for table in again] == [table.name for table in there]


def reflected(connection: sa.Connection) -> list[sa.Table]:
    """The tables as they are, in an order in which rows can be inserted."""
    found = sa.MetaData()
    event.listen(found, "column_reflect", _as_meant)
    found.reflect(connection, only=[*tables(connection) - {"alembic_version"}])
    return found.sorted_tables


def _as_meant(_inspector: object, _table: sa.Table, column: dict[str, Any]) -> None:
    if isinstance(column["type"], sa.CHAR | sa.Uuid):
        column["type"] = Id
    elif isinstance(column["type"], sa.DateTime):
        column["type"] = UtcTime()


def contents(
    connection: sa.Connection, there: list[sa.Table], user_id: str
) -> dict[str, list[dict[str, object]]]:
    return {table.name: rows_of(connection, table, user_id) for table in there}


async def assert_readable(database: Database, user_id: str) -> None:
    """Today's code reads what an earlier one wrote."""
    async with open_writer(database) as writer:
        thread_id, turn_id = id_in("threads", user_id), id_in("turns", user_id)
        threads = SqlThreads(database, writer)
        assert (await threads.thread(user_id, thread_id)).name == "word"
        assert (await threads.page(user_id, limit=5)).rows[0].id == thread_id
        assert (await SqlTurnStore(database, writer).turn(user_id, turn_id)).text == "word"


async def test_migration_that_fails_changes_nothing(empty_database_url: str) -> None:
    """The second revision meets a table of its name, after it has added columns."""
    user_id = str(uuid4())
    async with open_database(patient(DatabaseConfig(url=empty_database_url))) as database:
        await migrate(database, "0001")
        there = await database.read(reflected)
        await database.write(lambda c: fill(c, there, user_id))
        await database.write(lambda c: c.execute(sa.text("CREATE TABLE elements (id INTEGER)")))
        with pytest.raises(StorageUnavailable, match=r"from revision 0001 to .* nothing.*elements"):
            await migrate(database)
        names = await database.read(lambda c: sa.inspect(c).get_columns("threads"))
        assert "shared_at" not in {column["name"] for column in names}
        assert await database.read(lambda c: contents(c, there, user_id))
        await database.write(lambda c: c.execute(sa.text("DROP TABLE elements")))
        assert await migrate(database) == Migration("0001", NEWEST)


async def test_revision_that_nobody_knows_is_refused(empty_database_url: str) -> None:
    async with open_database(patient(DatabaseConfig(url=empty_database_url))) as database:
        with pytest.raises(InvalidRequest, match="known are 0001, 0002"):
            await migrate(database, "4711")
        assert await database.read(tables) == set()


async def test_newer_database_is_refused(empty_database_url: str) -> None:
    async with open_database(patient(DatabaseConfig(url=empty_database_url))) as database:
        await migrate(database)
        newer = sa.text("UPDATE alembic_version SET version_num = '9999'")
        await database.write(lambda c: c.execute(newer))
        with pytest.raises(StorageUnavailable, match=r"9999.*newer version"):
            await migrate(database)
        with pytest.raises(StorageUnavailable, match="9999"):
            await check_schema(database)


async def test_replicas_migrate_at_once(empty_database_url: str) -> None:
    replicas = await asyncio.gather(*(_replica(empty_database_url) for _ in range(3)))
    outcomes = await asyncio.gather(*(replica.communicate(b"\n") for replica in replicas))
    assert [(r.returncode, err) for r, (_, err) in zip(replicas, outcomes, strict=True)] == [
        (0, b"")
    ] * 3
    did = sorted(out.decode().splitlines()[-1] for out, _ in outcomes)
    assert did == [f"{NEWEST} {NEWEST}"] * 2 + [f"None {NEWEST}"], "it is done once"
    async with open_database(patient(DatabaseConfig(url=empty_database_url))) as database:
        await check_schema(database)


async def _replica(url: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    replica = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MIGRATE, url, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT
    )
    assert replica.stdout is not None
    await replica.stdout.readline()
    return replica
