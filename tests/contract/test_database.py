"""Connections: what a database that is away, frozen or busy looks like."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from traceback import format_exception
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.util import await_only

from data_layer.database import Database, DatabaseConfig, normalise_url, open_database
from data_layer.tables import metadata, users
from parley.chat.errors import StorageUnavailable
from tests.services import Postgres


async def one(url: str, statement: str, **config: float) -> object:
    async with open_database(replace(DatabaseConfig(url=url), **config)) as database:  # type: ignore[arg-type]  # names of DatabaseConfig
        return await database.read(lambda c: c.execute(sa.text(statement)).scalar())


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/made/parley.db"


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("foreign_keys", 1), ("synchronous", 1)]
)
async def test_sqlite_is_set_up(sqlite_url: str, pragma: str, value: object) -> None:
    assert await one(sqlite_url, f"PRAGMA {pragma}") == value


async def test_sqlite_that_is_busy_is_unavailable(sqlite_url: str, tmp_path: Path) -> None:
    config = DatabaseConfig(url=sqlite_url, busy_timeout_s=0.01)
    async with open_database(config) as database:
        await database.write(metadata.create_all)
        with sqlite3.connect(tmp_path / "made" / "parley.db") as rival:
            rival.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageUnavailable):
                await database.write(lambda c: None)
            assert await database.read(lambda c: c.execute(sa.select(users)).all()) == []
        rival.close()
        await database.write(lambda c: None)


@pytest.mark.needs_postgres
async def test_postgres_that_does_not_answer_is_unavailable(free_port: int) -> None:
    url = f"postgresql://postgres@127.0.0.1:{free_port}/parley"
    async with open_database(DatabaseConfig(url=url)) as database:
        for method in (database.read, database.write):
            with pytest.raises(StorageUnavailable):
                await method(lambda c: None)


@pytest.mark.needs_postgres
async def test_database_that_is_missing_is_unavailable(postgres: Postgres) -> None:
    with pytest.raises(StorageUnavailable):
        await one(postgres.url("no_such_database"), "SELECT 1")


@pytest.mark.needs_postgres
async def test_statement_that_takes_too_long_is_unavailable(postgres_url: str) -> None:
    with pytest.raises(StorageUnavailable):
        await one(postgres_url, "SELECT pg_sleep(30)", command_timeout_s=0.1)


@pytest.mark.needs_postgres
async def test_lock_that_is_not_free_in_time_is_unavailable(postgres_url: str) -> None:
    async with open_database(DatabaseConfig(url=postgres_url)) as rival, held(rival, LOCK):
        with pytest.raises(StorageUnavailable):
            await one(postgres_url, LOCK, command_timeout_s=0.1)


@pytest.mark.needs_postgres
async def test_pool_that_is_empty_for_too_long_is_unavailable(postgres_url: str) -> None:
    config = DatabaseConfig(url=postgres_url, command_timeout_s=0.1, pool_size=1)
    async with open_database(config) as database:
        async with held(database, "SELECT 1"), held(database, "SELECT 1"):
            with pytest.raises(StorageUnavailable):
                await database.read(lambda c: None)
        await database.read(lambda c: None)


LOCK = "SELECT pg_advisory_xact_lock(1)"


@asynccontextmanager
async def held(database: Database, statement: str) -> AsyncIterator[None]:
    """Keep a connection of the database in a transaction that began with this statement."""
    begun, released = asyncio.Event(), asyncio.Event()

    def hold(connection: sa.Connection) -> None:
        connection.execute(sa.text(statement))
        begun.set()
        await_only(released.wait())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_told_of_timeout(database.read(hold)))
        await begun.wait()
        yield
        released.set()


async def _told_of_timeout(reading: Awaitable[None]) -> None:
    with suppress(StorageUnavailable):  # PostgreSQL ends what is idle in a transaction
        await reading


async def test_wrong_statement_stays_what_it_is(database_url: str) -> None:
    with pytest.raises((sa.exc.DBAPIError, StorageUnavailable)):
        await one(database_url, "SELEC 1")


async def test_failed_write_leaves_nothing(empty_database_url: str) -> None:
    async with open_database(DatabaseConfig(url=empty_database_url)) as database:
        await database.write(metadata.create_all)

        def fail(connection: sa.Connection) -> None:
            connection.execute(sa.insert(users), _user())
            raise KeyError

        with pytest.raises(KeyError):
            await database.write(fail)
        await database.write(lambda c: c.execute(sa.insert(users), _user()))
        assert len(await database.read(lambda c: c.execute(sa.select(users)).all())) == 1


def _user() -> dict[str, object]:
    moment = datetime.fromisoformat("2026-01-02T13:00:00+01:00")
    return {
        "id": "5f2a91c0-0000-4000-8000-000000000001",
        "identifier": "anna",
        "metadata": {},
        "created_at": moment,
    }


async def test_times_are_aware_utc(empty_database_url: str) -> None:
    async with open_database(DatabaseConfig(url=empty_database_url)) as database:
        await database.write(metadata.create_all)
        await database.write(lambda c: c.execute(sa.insert(users), _user()))
        row = await database.read(lambda c: c.execute(sa.select(users)).one())
        assert row.created_at.isoformat() == "2026-01-02T12:00:00+00:00"
        naive = _user() | {"created_at": datetime(2026, 1, 2)}  # noqa: DTZ001 - the mistake itself
        with pytest.raises(sa.exc.StatementError, match="without a zone"):
            await database.write(lambda c: c.execute(sa.insert(users), naive))


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("sqlite:///x.db", "sqlite+pysqlite"),
        ("sqlite+aiosqlite:///x.db", "sqlite+pysqlite"),
        ("postgres://h/d", "postgresql+asyncpg"),
        ("postgresql://h/d", "postgresql+asyncpg"),
        ("postgresql+psycopg://h/d", "postgresql+asyncpg"),
    ],
)
def test_usual_spellings_of_a_url_are_taken(text: str, driver: str) -> None:
    assert normalise_url(text).drivername == driver


@pytest.mark.parametrize("text", ["parley.db", "mysql://h/d", "sqlite://", "sqlite:///:memory:"])
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"database|supported|file"):
        normalise_url(text)


async def test_error_of_a_statement_does_not_tell_its_values(database: Database) -> None:
    """What users and models write stays out of the logs."""
    statement, private = sa.text("SELECT a FROM no_such_table WHERE a = :a"), uuid4().hex
    with pytest.raises((sa.exc.DBAPIError, StorageUnavailable)) as failed:
        await database.write(lambda connection: connection.execute(statement, {"a": private}))
    assert private not in "".join(format_exception(failed.value))
