"""Databases for the contract suites: one for a module, migrated; tests use owners of their own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from uuid import uuid4

import pytest

from data_layer.database import Database, DatabaseConfig, open_database
from data_layer.migrate import migrate, patient
from data_layer.threads import SqlThreads
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer, open_writer
from parley.chat.limits import Counters
from parley.chat.ports import TurnStore
from parley.chat.turns import Owner
from parley.context.redis_address import read_redis_url
from parley.context.redis_guard import open_redis
from parley.live.memory_counters import MemoryCounters
from parley.live.redis_counters import RedisCounters
from tests.contract.owned import watched
from tests.contract.support import an_owner
from tests.fakes.turn_store import MemoryTurnStore
from tests.patience import PATIENCE_S
from tests.services import Postgres

COUNTERS = ("memory", pytest.param("redis", marks=pytest.mark.needs_redis))
DATABASES = ("sqlite", pytest.param("postgres", marks=pytest.mark.needs_postgres))


@pytest.fixture(scope="module", params=COUNTERS)
async def counters(request: pytest.FixtureRequest) -> AsyncIterator[Counters]:
    if request.param == "memory":
        yield MemoryCounters()
        return
    url: str = request.getfixturevalue("redis_of_session")
    async with open_redis(read_redis_url(url), PATIENCE_S) as guard:
        yield RedisCounters(guard)


@pytest.fixture(autouse=True)
def unowned_statements() -> Iterator[list[str]]:
    """Whatever a contract test makes the data layer do, every statement names its owner."""
    with watched() as faults:
        yield faults
    assert not faults, "\n\n".join(faults)


def _url(
    name: str, request: pytest.FixtureRequest, stack: ExitStack, directories: pytest.TempPathFactory
) -> str:
    if name == "sqlite":
        return f"sqlite+aiosqlite:///{directories.mktemp('database')}/parley.db"
    server: Postgres = request.getfixturevalue("postgres")
    return stack.enter_context(server.database())


@pytest.fixture(scope="module", params=DATABASES)
def database_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A new database for the module, of each kind."""
    with ExitStack() as stack:
        yield _url(request.param, request, stack, tmp_path_factory)


@pytest.fixture(params=DATABASES)
def empty_database_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A new database for one test, of each kind."""
    with ExitStack() as stack:
        yield _url(request.param, request, stack, tmp_path_factory)


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(patient(DatabaseConfig(url=database_url))) as database:
        await migrate(database)
        yield database


@pytest.fixture(scope="module")
async def writer(database: Database) -> AsyncIterator[Writer]:
    async with open_writer(database) as writer:
        yield writer


@pytest.fixture
def owner() -> Owner:
    return an_owner()


@pytest.fixture
def thread_id() -> str:
    return str(uuid4())


@dataclass(frozen=True)
class Kept:
    """A `TurnStore`, and how to delete a thread beside it."""

    turns: TurnStore
    delete_thread: Callable[[str, str], Awaitable[object]]


@pytest.fixture(
    scope="module",
    params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.needs_postgres)],
)
def turn_store_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str | None]:
    """A new database for the module, of each kind, and None for the fake of the unit tests."""
    if request.param == "memory":
        yield None
    elif request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('turns')}/parley.db"
    else:
        server: Postgres = request.getfixturevalue("postgres")
        with server.database() as url:
            yield url


@pytest.fixture(scope="module")
async def kept(turn_store_url: str | None) -> AsyncIterator[Kept]:
    if turn_store_url is None:
        fake = MemoryTurnStore()
        yield Kept(fake, fake.delete_thread)
        return
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(DatabaseConfig(url=turn_store_url))
        )
        await migrate(database)
        writer = await stack.enter_async_context(open_writer(database))
        yield Kept(SqlTurnStore(database, writer), SqlThreads(database, writer).delete)


@pytest.fixture
def turns(kept: Kept) -> TurnStore:
    return kept.turns
