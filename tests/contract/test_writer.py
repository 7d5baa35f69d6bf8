"""The writer: what waits together shares a transaction, and nobody pays for another's mistake."""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.util import await_only

from data_layer.begin import ensure_user
from data_layer.database import Database, DatabaseConfig, Operation, open_database
from data_layer.tables import metadata, users
from data_layer.writer import Writer, open_writer
from parley.chat.errors import Conflict, ShuttingDown, StorageBusy, StorageUnavailable
from parley.chat.turns import Owner
from tests.contract.support import an_owner

T = TypeVar("T")


class Watched:
    """A database whose transactions are counted, and can be held up."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.transactions = 0
        self.open = asyncio.Event()
        self.entered = asyncio.Event()
        self.down = False

    async def read(self, operation: Operation[T]) -> T:
        return await self._database.read(operation)

    async def write(self, operation: Operation[T]) -> T:
        self.transactions += 1
        self.entered.set()
        await self.open.wait()
        if self.down:
            raise StorageUnavailable("The database cannot be reached.")
        return await self._database.write(operation)

    async def has(self, *owners: Owner) -> list[bool]:
        found = await self._database.read(lambda c: set(c.execute(sa.select(users.c.id)).scalars()))
        return [owner.id in found for owner in owners]


@pytest.fixture
def watched(database: Database) -> Watched:
    return Watched(database)


def add(owner: Owner) -> Operation[str]:
    def insert(connection: sa.Connection) -> str:
        ensure_user(connection, owner, datetime.now(UTC))
        return owner.id

    return insert


def add_twice(owner: Owner) -> Operation[None]:
    def insert(connection: sa.Connection) -> None:
        now = datetime.now(UTC)
        row = {"id": owner.id, "identifier": owner.identifier, "metadata": {}, "created_at": now}
        for _ in range(2):
            connection.execute(sa.insert(users), row)

    return insert


def refuse(connection: sa.Connection) -> None:
    raise Conflict("not now")


async def together(
    watched: Watched, writer: Writer, operations: Iterable[Operation[object]]
) -> list[object]:
    """Write all of them behind one write that is held up, so that they form a group."""
    first = asyncio.ensure_future(writer.write(add(an_owner())))
    await watched.entered.wait()
    rest = asyncio.gather(*map(writer.write, operations), return_exceptions=True)
    await asyncio.sleep(0)
    watched.open.set()
    await first
    return list(await rest)


async def test_lone_write_is_one_transaction(watched: Watched) -> None:
    watched.open.set()
    async with open_writer(watched) as writer:
        owner = an_owner()
        assert await writer.write(add(owner)) == owner.id
        assert (watched.transactions, await watched.has(owner)) == (1, [True])


async def test_what_waits_shares_a_transaction(watched: Watched) -> None:
    owners = [an_owner() for _ in range(20)]
    async with open_writer(watched) as writer:
        results = await together(watched, writer, map(add, owners))
    assert results == [owner.id for owner in owners]
    assert watched.transactions == 2
    assert all(await watched.has(*owners))


async def test_large_crowd_is_divided(watched: Watched) -> None:
    owners = [an_owner() for _ in range(401)]
    async with open_writer(watched) as writer:
        await together(watched, writer, map(add, owners))
    assert watched.transactions == 4
    assert all(await watched.has(*owners))


async def test_bad_write_hurts_only_its_caller(watched: Watched) -> None:
    good, bad, other = [an_owner() for _ in range(3)]
    async with open_writer(watched) as writer:
        results = await together(watched, writer, [add(good), add_twice(bad), add(other)])
    assert results[0] == good.id
    assert isinstance(results[1], IntegrityError)
    assert results[2] == other.id
    assert await watched.has(good, bad, other) == [True, False, True]


async def test_refusal_does_not_undo_the_group(watched: Watched) -> None:
    good, other = an_owner(), an_owner()
    async with open_writer(watched) as writer:
        results = await together(watched, writer, [add(good), refuse, add(other)])
    assert isinstance(results[1], Conflict)
    assert watched.transactions == 2
    assert await watched.has(good, other) == [True, True]


async def test_lone_refusal_reaches_its_caller(watched: Watched) -> None:
    watched.open.set()
    async with open_writer(watched) as writer:
        with pytest.raises(Conflict):
            await writer.write(refuse)


async def test_group_is_told_at_once_that_the_database_is_gone(watched: Watched) -> None:
    """One by one, each would wait for its own timeout."""
    async with open_writer(watched) as writer:
        first = asyncio.ensure_future(writer.write(add(an_owner())))
        await watched.entered.wait()
        rest = asyncio.gather(
            *(writer.write(add(an_owner())) for _ in range(20)), return_exceptions=True
        )
        await asyncio.sleep(0)
        watched.down = True
        watched.open.set()
        with pytest.raises(StorageUnavailable):
            await first
        assert {type(error) for error in await rest} == {StorageUnavailable}
    assert watched.transactions == 2


async def test_write_of_a_caller_that_left_is_done(watched: Watched) -> None:
    owner = an_owner()
    async with open_writer(watched) as writer:
        caller = asyncio.ensure_future(writer.write(add(owner)))
        await watched.entered.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        watched.open.set()
    assert await watched.has(owner) == [True]


async def test_closing_writes_what_waits(watched: Watched) -> None:
    owners = [an_owner() for _ in range(3)]
    async with open_writer(watched) as writer:
        waiting = [asyncio.ensure_future(writer.write(add(owner))) for owner in owners]
        await watched.entered.wait()
        watched.open.set()
    await asyncio.gather(*waiting)
    assert all(await watched.has(*owners))
    with pytest.raises(ShuttingDown):
        await writer.write(add(an_owner()))


async def test_leaving_by_an_error_writes_what_waits(watched: Watched) -> None:
    owner = an_owner()
    opened = open_writer(watched)
    writer = await opened.__aenter__()
    waiting = asyncio.ensure_future(writer.write(add(owner)))
    await watched.entered.wait()
    watched.open.set()
    error = ValueError()
    assert await opened.__aexit__(ValueError, error, None) is False, "the error itself goes on"
    await waiting
    assert await watched.has(owner) == [True]


class _Rival(Exception):
    sqlstate = "40001"


@pytest.mark.parametrize(("failures", "succeeds"), [(2, True), (3, False)])
async def test_rival_transaction_is_tried_again(
    watched: Watched, failures: int, *, succeeds: bool
) -> None:
    left = [DBAPIError("UPDATE", {}, _Rival()) for _ in range(failures)]

    def operation(connection: sa.Connection) -> str:
        if left:
            raise left.pop()
        return "done"

    watched.open.set()
    async with open_writer(watched) as writer:
        if succeeds:
            assert await writer.write(operation) == "done"
        else:
            with pytest.raises(DBAPIError):
                await writer.write(operation)


@pytest.mark.needs_postgres
async def test_deadlock_of_two_replicas_costs_neither_its_write(postgres_url: str) -> None:
    """Each has one user's row and wants the other's: PostgreSQL ends one of them."""
    config, tries = DatabaseConfig(url=postgres_url), list[str]()
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(open_database(config)) for _ in range(2)]
        await databases[0].write(metadata.create_all)
        one, other = an_owner(), an_owner()
        await databases[0].write(lambda c: (add(one)(c), add(other)(c)))
        writers = [await stack.enter_async_context(open_writer(each)) for each in databases]
        both_hold_one = asyncio.Barrier(2)

        def rename(first: Owner, second: Owner, name: str) -> Operation[str]:
            def operation(connection: sa.Connection) -> str:
                tries.append(name)
                set_name(connection, first, name)
                if len(tries) <= 2:
                    await_only(both_hold_one.wait())
                set_name(connection, second, name)
                return name

            return operation

        told = await asyncio.gather(
            writers[0].write(rename(one, other, "a")), writers[1].write(rename(other, one, "b"))
        )
        assert [*told] == ["a", "b"]
        assert len(tries) > 2, "one was ended, and run again until the other had both rows"
        left = await databases[0].read(
            lambda c: c.execute(sa.select(users.c.metadata)).scalars().all()
        )
        assert [*left] in [[{"name": name}] * 2 for name in told], "the whole of the last one"


@pytest.mark.needs_postgres
async def test_row_that_someone_holds_hurts_only_its_writer(postgres_url: str) -> None:
    config = DatabaseConfig(url=postgres_url, lock_timeout_s=0.1)
    held, others = an_owner(), [an_owner() for _ in range(20)]
    async with open_database(config) as database, open_database(config) as rival:
        await database.write(metadata.create_all)
        await database.write(add(held))
        is_held, may_go = asyncio.Event(), asyncio.Event()

        def hold(connection: sa.Connection) -> None:
            set_name(connection, held, "rival")
            is_held.set()
            await_only(may_go.wait())

        async with asyncio.TaskGroup() as tasks, open_writer(database) as writer:
            tasks.create_task(rival.write(hold))
            await is_held.wait()
            blocked = writer.write(lambda c: set_name(c, held, "mine"))
            told = await asyncio.gather(
                *(writer.write(add(owner)) for owner in others[:10]),
                blocked,
                *(writer.write(add(owner)) for owner in others[10:]),
                return_exceptions=True,
            )
            may_go.set()
        failed = [error for error in told if isinstance(error, Exception)]
        assert [type(error) for error in failed] == [StorageBusy]
        assert isinstance(told[10], StorageBusy)


def set_name(connection: sa.Connection, owner: Owner, name: str) -> None:
    mine = sa.update(users).where(users.c.id == owner.id)
    connection.execute(mine.values(metadata={"name": name}))


@pytest.mark.needs_postgres
async def test_serialization_failure_is_run_again(postgres_url: str) -> None:
    """The write has seen a row that another changed meanwhile."""
    config, tries, owner = DatabaseConfig(url=postgres_url), list[str](), an_owner()
    async with open_database(config) as database, open_database(config) as rival:
        await database.write(metadata.create_all)
        await database.write(add(owner))

        def operation(connection: sa.Connection) -> None:
            connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            connection.execute(sa.select(users)).all()
            tries.append("")
            if len(tries) == 1:
                await_only(rival.write(lambda c: set_name(c, owner, "theirs")))
            set_name(connection, owner, "mine")

        async with open_writer(database) as writer:
            await writer.write(operation)
        assert len(tries) == 2
