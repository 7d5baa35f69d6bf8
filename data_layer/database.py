"""Database: connections to SQLite or PostgreSQL, one way to read and one to write.

An operation is a plain function of a SQLAlchemy `Connection`. On PostgreSQL it runs on an asyncpg
connection; on SQLite in a thread, one hop for all its statements (a hop for each, as aiosqlite
does it, costs three to six times the CPU: docs/decisions/0002-sqlite-in-a-thread.md).
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any, Protocol, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from data_layer.address import driver_arguments, normalise_url
from data_layer.faults import translated
from data_layer.words import document_words

T = TypeVar("T")
Operation = Callable[[Connection], T]


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """Where the database is, how many connections it gets and how long it may take.

    `pool_size` is of connections to PostgreSQL, as many again under load, and of SQLite's readers.
    """

    url: str = "sqlite+aiosqlite:///./.parley/parley.db"
    pool_size: int = 5
    command_timeout_s: float = 5.0
    # Short: the writes of everybody wait behind the one that waits for a row. Longer than the
    # second after which PostgreSQL looks for a deadlock, which it then ends by itself.
    lock_timeout_s: float = 2.0
    busy_timeout_s: float = 5.0


class Database(Protocol):
    """One way to read, one to write; both raise `StorageUnavailable`."""

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation that writes nothing."""
        ...

    async def write(self, operation: Operation[T]) -> T:
        """Run an operation in one transaction, committed at its end."""
        ...


@asynccontextmanager
async def open_database(config: DatabaseConfig) -> AsyncIterator[Database]:
    """Open the database of the configured URL and close it at the end."""
    url = normalise_url(config.url)
    if url.get_backend_name() == "sqlite":
        async with _open_sqlite(url, config) as database:
            yield database
    else:
        async with _open_postgres(url, config) as database:
            yield database


class _Postgres:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, operation: Operation[T]) -> T:
        with translated():
            async with self._engine.connect() as connection:
                return await connection.run_sync(operation)

    async def write(self, operation: Operation[T]) -> T:
        with translated():
            async with self._engine.begin() as connection:
                return await connection.run_sync(operation)


class _Sqlite:
    """Writes queue for one thread, reads share a few: SQLite has one writer anyway."""

    def __init__(self, engine: sa.Engine, writer: ThreadPoolExecutor, readers: ThreadPoolExecutor):
        self._engine = engine
        self._writer = writer
        self._readers = readers

    async def read(self, operation: Operation[T]) -> T:
        return await self._run(self._readers, operation)

    async def write(self, operation: Operation[T]) -> T:
        def immediate(connection: Connection) -> T:
            # Takes the write lock at once: an upgrade from read to write would fail instead of
            # waiting for busy_timeout.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            result = operation(connection)
            connection.commit()
            return result

        return await self._run(self._writer, immediate)

    async def _run(self, threads: ThreadPoolExecutor, operation: Operation[T]) -> T:
        def connected() -> T:
            with self._engine.connect() as connection:
                return operation(connection)

        with translated():
            return await asyncio.get_running_loop().run_in_executor(threads, connected)


@asynccontextmanager
async def _open_postgres(url: URL, config: DatabaseConfig) -> AsyncIterator[Database]:
    timeout_ms = str(int(config.command_timeout_s * 1000))
    # Below the driver's own, so that it is the server that says why.
    statement_ms = str(int(config.command_timeout_s * 900))
    lock_ms = str(int(min(config.lock_timeout_s, config.command_timeout_s) * 1000))
    url, arguments = driver_arguments(url)
    engine = create_async_engine(
        url,
        json_serializer=_to_json,
        json_deserializer=_json,
        hide_parameters=True,  # errors reach the log; what users and models write does not
        pool_size=config.pool_size,
        max_overflow=config.pool_size,
        pool_timeout=config.command_timeout_s,
        pool_pre_ping=True,
        connect_args=arguments
        | {
            # A frozen server is not a closed one: only timeouts notice it.
            "timeout": config.command_timeout_s,
            "command_timeout": config.command_timeout_s,
            "server_settings": {
                "application_name": "parley",
                "statement_timeout": statement_ms,
                "lock_timeout": lock_ms,
                "idle_in_transaction_session_timeout": timeout_ms,
            },
        },
    )
    try:
        yield _Postgres(engine)
    finally:
        await engine.dispose()


@asynccontextmanager
async def _open_sqlite(url: URL, config: DatabaseConfig) -> AsyncIterator[Database]:
    # For its owner alone: whoever can read the file can read every conversation.
    if not str(url.database).startswith("file:"):  # SQLite's own kind of URL makes no directory
        Path(str(url.database)).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = sa.create_engine(
        url,
        json_serializer=_to_json,
        json_deserializer=_json,
        hide_parameters=True,  # as above
        connect_args={"check_same_thread": False, "timeout": config.busy_timeout_s},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    with (
        ThreadPoolExecutor(1, thread_name_prefix="sqlite-write") as writer,
        ThreadPoolExecutor(config.pool_size, thread_name_prefix="sqlite-read") as readers,
    ):
        try:
            yield _Sqlite(engine, writer, readers)
        finally:
            engine.dispose()


def _to_json(value: Any) -> str:
    """Write a JSON column: with msgspec, and what that does not take as the standard library does."""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, OverflowError, UnicodeEncodeError):
        return json.dumps(value)


def _json(text: str) -> Any:
    """Read a JSON column; most are empty objects, and decoding thousands of those takes a while."""
    return {} if text == "{}" else json.loads(text)


def _prepare_sqlite(
    connection: sa.engine.interfaces.DBAPIConnection, _: ConnectionPoolEntry
) -> None:
    # No implicit BEGIN by the driver: transactions are ours to begin.
    connection.isolation_level = None
    # What the triggers of the search index call (migrations/versions/0003_search.py).
    connection.create_function("search_words", 3, document_words, deterministic=True)
    cursor = connection.cursor()
    _use_wal(cursor)
    # Safe against the death of the process, not of the power (README, "What is safe").
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _use_wal(cursor: sa.engine.interfaces.DBAPICursor) -> None:
    """Turn the write-ahead log on, which a new file needs once.

    Where several processes open a new file at once, all but one are refused without any wait:
    busy_timeout does not hold for this statement.
    """
    for pause_s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0):
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            sleep(pause_s)  # in a thread of the database's own
        else:
            return
    cursor.execute("PRAGMA journal_mode = WAL")
