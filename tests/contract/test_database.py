"""Connections: what a database that is away, frozen or busy looks like."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from traceback import format_exception
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.util import await_only

from data_layer.database import Database, DatabaseConfig, open_database
from data_layer.tables import metadata, users
from parley.chat.errors import InvalidRequest, StorageUnavailable
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


async def test_write_waits_for_another_process(sqlite_url: str, tmp_path: Path) -> None:
    async with open_database(DatabaseConfig(url=sqlite_url)) as database:
        await database.write(metadata.create_all)
        with rival_writer(tmp_path) as rival:
            writing = asyncio.ensure_future(database.write(add_user))
            # A read of the same database answers meanwhile: the write is under way.
            assert await database.read(lambda c: c.execute(sa.select(users)).all()) == []
            assert not writing.done()
            rival.rollback()
            await writing
        assert len(await database.read(lambda c: c.execute(sa.select(users)).all())) == 1


async def test_write_that_waits_too_long_leaves_nothing(sqlite_url: str, tmp_path: Path) -> None:
    config = DatabaseConfig(url=sqlite_url, busy_timeout_s=0.01)
    async with open_database(config) as database:
        await database.write(metadata.create_all)
        with (
            rival_writer(tmp_path),
            pytest.raises(StorageUnavailable, match="busy"),
        ):
            await database.write(add_user)
        assert await database.read(lambda c: c.execute(sa.select(users)).all()) == []


@contextmanager
def rival_writer(directory: Path) -> Iterator[sqlite3.Connection]:
    """Another connection, as another process has it, in a write transaction."""
    with closing(sqlite3.connect(directory / "made" / "parley.db")) as rival:
        rival.execute("BEGIN IMMEDIATE")
        yield rival


def add_user(connection: sa.Connection) -> None:
    connection.execute(sa.insert(users), _user())


async def test_disk_that_is_full_is_said(sqlite_url: str) -> None:
    def grow(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # no less than there are
        connection.execute(sa.insert(users), _user() | {"identifier": "x" * 1_000_000})

    async with open_database(DatabaseConfig(url=sqlite_url)) as database:
        await database.write(metadata.create_all)
        with pytest.raises(StorageUnavailable, match="full"):
            await database.write(grow)
        assert await database.read(lambda c: c.execute(sa.select(users)).all()) == []


async def test_database_that_is_read_only_is_said(sqlite_url: str, tmp_path: Path) -> None:
    async with open_database(DatabaseConfig(url=sqlite_url)) as database:
        await database.write(metadata.create_all)
        read_only = f"sqlite:///file:{tmp_path}/made/parley.db?mode=ro&uri=true"
        async with open_database(DatabaseConfig(url=read_only)) as same:
            assert await same.read(lambda c: c.execute(sa.select(users)).all()) == []
            with pytest.raises(StorageUnavailable, match="written to"):
                await same.write(add_user)


@pytest.mark.needs_postgres
async def test_standby_is_read_only(postgres_url: str) -> None:
    async with open_database(DatabaseConfig(url=postgres_url)) as database:
        await database.write(metadata.create_all)

        def add(connection: sa.Connection) -> None:
            connection.execute(sa.text("SET TRANSACTION READ ONLY"))
            add_user(connection)

        with pytest.raises(StorageUnavailable, match="written to"):
            await database.write(add)


@pytest.mark.parametrize(
    "content", [b"no database at all, but text " * 50, b"SQLite format 3\0" * 60]
)
async def test_file_that_is_no_database_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "parley.db").write_bytes(content)
    with pytest.raises(StorageUnavailable, match=r"no SQLite database|damaged"):
        await one(f"sqlite:///{tmp_path}/parley.db", "SELECT count(*) FROM sqlite_master")


async def test_damaged_database_is_said(sqlite_url: str, tmp_path: Path) -> None:
    async with open_database(DatabaseConfig(url=sqlite_url)) as database:
        await database.write(metadata.create_all)
    path = tmp_path / "made" / "parley.db"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StorageUnavailable, match="damaged"):
        await one(sqlite_url, "SELECT count(*) FROM users")


async def test_directory_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="cannot be opened"):
        await one(f"sqlite:///{tmp_path}", "SELECT 1")


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
async def test_lone_surrogate_is_refused(database: Database, text: str) -> None:
    """The surfaces replace them: this is for a way that nobody thought of."""
    row = _user() | {"id": str(uuid4()), "identifier": text}
    with pytest.raises(InvalidRequest) as refused:
        await database.write(lambda c: c.execute(sa.insert(users), row))
    assert refused.value.__cause__ is None
    assert text not in "".join(format_exception(refused.value))


@pytest.mark.needs_postgres
@pytest.mark.parametrize("change", [{"identifier": "a\0b"}, {"metadata": {"a": "\0"}}])
async def test_nul_is_refused(postgres_url: str, change: dict[str, object]) -> None:
    async with open_database(DatabaseConfig(url=postgres_url)) as database:
        await database.write(metadata.create_all)
        with pytest.raises(InvalidRequest):
            await database.write(lambda c: c.execute(sa.insert(users), _user() | change))


@pytest.mark.needs_postgres
async def test_connection_that_the_server_ended_is_replaced(postgres_url: str) -> None:
    end = sa.text(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    config = DatabaseConfig(url=postgres_url)
    async with open_database(config) as database, open_database(config) as other:
        await database.read(lambda c: c.execute(sa.text("SELECT 1")).scalar())
        assert await other.read(lambda c: c.execute(end).scalars().all()) == [True]
        assert await database.read(lambda c: c.execute(sa.text("SELECT 1")).scalar()) == 1


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
    config = DatabaseConfig(url=postgres_url, command_timeout_s=1, pool_size=1)
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


@pytest.mark.needs_postgres
async def test_value_that_does_not_fit_stays_what_it_is(postgres_url: str) -> None:
    """Not the database's fault: to try again would not help."""
    statement = sa.select(sa.literal(2**40, sa.Integer))
    async with open_database(DatabaseConfig(url=postgres_url)) as database:
        with pytest.raises(sa.exc.DBAPIError):
            await database.read(lambda c: c.execute(statement).all())


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


async def test_error_of_a_statement_does_not_tell_its_values(database: Database) -> None:
    """What users and models write stays out of the logs."""
    statement, private = sa.text("SELECT a FROM no_such_table WHERE a = :a"), uuid4().hex
    with pytest.raises(sa.exc.DBAPIError) as failed:
        await database.write(lambda connection: connection.execute(statement, {"a": private}))
    assert private not in "".join(format_exception(failed.value))
