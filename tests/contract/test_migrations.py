"""Migrations: the schema that they make is the one that the code means."""

import asyncio
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from data_layer.database import DatabaseConfig, open_database
from data_layer.migrate import alembic_config, check_schema, migrate
from data_layer.tables import metadata
from parley.chat.errors import StorageUnavailable

ROOT = Path(__file__).parents[2]
MIGRATE = """
import asyncio, sys
from data_layer.database import DatabaseConfig, open_database
from data_layer.migrate import migrate

async def main():
    async with open_database(DatabaseConfig(url=sys.argv[1])) as database:
        print("ready", flush=True)
        sys.stdin.readline()
        await migrate(database)

asyncio.run(main())
"""


def tables(connection: sa.Connection) -> set[str]:
    return set(sa.inspect(connection).get_table_names())


async def test_up_and_down_again(empty_database_url: str) -> None:
    async with open_database(DatabaseConfig(url=empty_database_url)) as database:
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
    async with open_database(DatabaseConfig(url=empty_database_url)) as database:
        await migrate(database)

        def differences(connection: sa.Connection) -> list[object]:
            options = {"compare_type": True, "compare_server_default": True}
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


async def test_newer_database_is_refused(empty_database_url: str) -> None:
    async with open_database(DatabaseConfig(url=empty_database_url)) as database:
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
    async with open_database(DatabaseConfig(url=empty_database_url)) as database:
        await check_schema(database)


async def _replica(url: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    replica = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MIGRATE, url, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT
    )
    assert replica.stdout is not None
    await replica.stdout.readline()
    return replica
