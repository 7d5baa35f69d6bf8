"""Sweeping: bytes that no row has, as a crash leaves them or a disk that failed, removed at a start.

Only in a directory that belongs to this database: elsewhere no row has them either. A directory
that nobody has marked belongs to the database that has rows for some of its files.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.database import Database
from data_layer.storage import Place, Storage
from data_layer.tables import databases, elements
from parley.observability.logs import get_logger

logger = get_logger(__name__)

Discard = Callable[[str, Sequence[str]], Awaitable[None]]

# A younger file's row may be on its way, from another server.
_AGE_S = 3600
# Not pairs: for those SQLite reads the whole index. What this finds beyond them does no harm.
_KNOWN = (
    sa.select(elements.c.owner_id, elements.c.object_key)
    .where(
        elements.c.owner_id.in_(sa.bindparam("owners", expanding=True)),
        elements.c.object_key.in_(sa.bindparam("keys", expanding=True)),
    )
    .distinct()
)


async def sweep_files(database: Database, storage: Storage, discard: Discard) -> None:
    """Remove what nothing needs, some at a time; failing to is only logged.

    `discard` looks once more, under the lock of who adds and removes.
    """
    try:
        await storage.sweep()
        if await _is_ours(database, storage):
            await _discard_unknown(database, storage, discard)
    except Exception as error:  # noqa: BLE001 - the boundary: nobody waits, no start fails for it
        logger.warning("Files that nothing needs may remain", error=type(error).__name__)


@asynccontextmanager
async def sweeping(sweep: Callable[[], Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Sweep beside the block, so that it need not wait; its end stops that."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(sweep())
        try:
            yield
        finally:
            running.cancel()


async def _is_ours(database: Database, storage: Storage) -> bool:
    ours: str = await database.read(lambda one: one.execute(sa.select(databases.c.id)).scalar_one())
    if await storage.database() is None and await _may_be_ours(database, storage):
        await storage.belong_to(ours)
    is_ours = await storage.database() == ours
    if not is_ours:
        logger.warning(
            "The directory of files is another database's: nothing was removed from it. Give each"
            " its own; if this is the only one, delete the file .database in STORAGE_DIRECTORY"
        )
    return is_ours


async def _may_be_ours(database: Database, storage: Storage) -> bool:
    """Whether there are no files, or some of ours among the first."""
    async with aclosing(storage.places()) as found:
        async for places in found:
            return bool(await database.read(lambda one: _known(one, places)))  # noqa: B023 - run now
    return True


async def _discard_unknown(database: Database, storage: Storage, discard: Discard) -> None:
    count = 0
    async with aclosing(storage.places(_AGE_S)) as found:
        async for places in found:
            known = await database.read(lambda one: _known(one, places))  # noqa: B023 - run now
            for owner_id, key in set(places) - known:
                await discard(owner_id, [key])
                count += 1
    if count:
        logger.info("Files that nothing needs were found, and are removed", count=count)


def _known(connection: Connection, places: Sequence[Place]) -> set[Place]:
    owners, keys = ({place[part] for place in places} for part in (0, 1))
    found = connection.execute(_KNOWN, {"owners": sorted(owners), "keys": sorted(keys)})
    return {Place(*row) for row in found}.intersection(places)
