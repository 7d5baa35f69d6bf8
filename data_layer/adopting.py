"""Adopting: what a guest made becomes the user's that they signed in as.

A thread in which an answer is being written stays the guest's until it is there: the turn names
its owner in every statement. So it is noted who adopts whom, and looked at again until nothing is
left. The cookie of the guest leads to nothing then.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from typing_extensions import override

from data_layer.database import Database
from data_layer.rows import AnyRow
from data_layer.storage import Storage
from data_layer.tables import (
    QUEUED,
    RUNNING,
    Id,
    adoptions,
    elements,
    feedbacks,
    search_documents,
    steps,
    threads,
    tombstones,
    turns,
    users,
)
from data_layer.writer import Writer
from parley.chat.errors import NotFound, ParleyError, StorageUnavailable
from parley.chat.identities import Adopter
from parley.chat.ports import ContextStore
from parley.chat.turns import Owner
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_AGAIN_S = 5.0
# In one transaction, which holds everybody's writes up.
_MOST_THREADS = 50
_INSERT_OR_IGNORE = {
    "sqlite": sqlite.insert(adoptions).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(adoptions).on_conflict_do_nothing(),
}


class SqlAdopter(Adopter):
    """Moves rows and files from guests to users."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        storage: Storage,
        contexts: ContextStore | None = None,
    ) -> None:
        """Move rows through `writer` and bytes within `storage`; closes neither."""
        self._database = database
        self._writer = writer
        self._storage = storage
        self._contexts = contexts

    @override
    async def adopt(self, guest: Owner, owner: Owner) -> None:
        with _logged():
            await self._writer.write(lambda connection: _note(connection, guest.id, owner.id))
            await self._move(guest.id, owner.id)

    async def run(self) -> None:
        """Move what could not be moved before, again and again."""
        while True:
            with _logged():
                await self.catch_up()
            await asyncio.sleep(_AGAIN_S)

    async def catch_up(self) -> None:
        """Move what can be moved by now; what cannot keeps nobody else waiting."""
        for row in await self._database.read(_pending):
            with _logged():
                await self._move(row.guest_id, row.owner_id)

    async def _move(self, guest_id: str, owner_id: str) -> None:
        keys = await self._database.read(lambda connection: _object_keys(connection, guest_id))
        for key in keys:
            await self._copy_file(guest_id, owner_id, key)
        while moved := await self._writer.write(
            lambda connection: _move_threads(connection, guest_id, owner_id, keys)
        ):
            if self._contexts:
                await self._contexts.forget(moved)
        if await self._writer.write(lambda connection: _finish(connection, guest_id, owner_id)):
            await self._delete_files(guest_id)

    async def _copy_file(self, guest_id: str, owner_id: str, key: str) -> None:
        """Keep it twice for a moment: a crash here loses nothing, and a sweep finds what is left."""
        try:
            async with (
                aclosing(self._storage.read(guest_id, key)) as content,
                self._storage.put(owner_id, content),
            ):
                pass
        except NotFound:  # lost, or moved by another server: the conversation goes without it
            logger.warning("A file of a guest is not there any more", key=key)

    async def _delete_files(self, guest_id: str) -> None:
        try:
            await self._storage.delete_owner(guest_id)
        except StorageUnavailable as error:
            logger.warning("Files of a guest remain, twice", code=error.code)


@contextmanager
def _logged() -> Iterator[None]:
    """Go on where something cannot be moved: it is tried again."""
    try:
        yield
    except ParleyError as error:
        logger.warning("What a guest made is not theirs yet", code=error.code)


def _note(connection: Connection, guest_id: str, owner_id: str) -> int:
    values = {"guest_id": guest_id, "owner_id": owner_id, "created_at": datetime.now(UTC)}
    return connection.execute(_INSERT_OR_IGNORE[connection.dialect.name], values).rowcount


def _pending(connection: Connection) -> Sequence[AnyRow]:
    return connection.execute(sa.select(adoptions).order_by(adoptions.c.created_at)).all()


def _object_keys(connection: Connection, guest_id: str) -> Sequence[str]:
    statement = (
        sa.select(elements.c.object_key)
        .where(elements.c.owner_id == guest_id, elements.c.object_key.is_not(None))
        .distinct()
    )
    return connection.execute(statement).scalars().all()


def _move_threads(
    connection: Connection, guest_id: str, owner_id: str, keys: Sequence[str]
) -> Sequence[str]:
    """Move some threads in which nothing is being written, and whose files are there already."""
    live = sa.exists().where(
        turns.c.thread_id == threads.c.id,
        turns.c.owner_id == guest_id,
        turns.c.state.in_((RUNNING, QUEUED)),
    )
    unmoved_file = sa.exists().where(
        elements.c.thread_id == threads.c.id,
        elements.c.owner_id == guest_id,
        elements.c.object_key.is_not(None),
        elements.c.object_key.not_in(keys),
    )
    chosen = (
        sa.select(threads.c.id)
        .where(threads.c.owner_id == guest_id, ~live, ~unmoved_file)
        .order_by(threads.c.id)
        .limit(_MOST_THREADS)
        .with_for_update()
    )
    ids = connection.execute(chosen).scalars().all()
    if ids:
        # The thread first: a turn that begins at this moment waits for its row.
        _give(connection, threads, threads.c.id.in_(ids), guest_id, owner_id)
        for table in (turns, steps, elements, feedbacks):
            _give(connection, table, table.c.thread_id.in_(ids), guest_id, owner_id)
        _index_again(connection, guest_id, owner_id, ids)
    return ids


def _give(
    connection: Connection,
    table: sa.Table,
    which: sa.ColumnElement[bool],
    guest_id: str,
    owner_id: str,
) -> None:
    of_guest = sa.and_(which, table.c.owner_id == guest_id)
    connection.execute(sa.update(table).where(of_guest).values(owner_id=owner_id))


def _index_again(
    connection: Connection, guest_id: str, owner_id: str, thread_ids: Sequence[str]
) -> None:
    """Have the search find them: its words name the owner."""
    documents = search_documents
    owner = sa.literal(owner_id, Id)
    for kind, text, which in (
        ("t", _name_of_thread(owner_id), documents.c.step_id.is_(None)),
        ("m", _output_of_step(owner_id), documents.c.step_id.is_not(None)),
    ):
        words: sa.Function[Any] = sa.func.search_words(owner, kind, text)
        connection.execute(
            sa.update(documents)
            .where(documents.c.owner_id == guest_id)
            .where(documents.c.thread_id.in_(thread_ids), which)
            .values(owner_id=owner_id, words=words)
        )


def _name_of_thread(owner_id: str) -> sa.ScalarSelect[str]:
    same = sa.and_(threads.c.id == search_documents.c.thread_id, threads.c.owner_id == owner_id)
    return sa.select(threads.c.name).where(same).scalar_subquery()


def _output_of_step(owner_id: str) -> sa.ScalarSelect[str]:
    same = sa.and_(steps.c.id == search_documents.c.step_id, steps.c.owner_id == owner_id)
    return sa.select(steps.c.output).where(same).scalar_subquery()


def _finish(connection: Connection, guest_id: str, owner_id: str) -> bool:
    """Forget the guest, if nothing is theirs any more; says whether that is so."""
    left = sa.select(sa.exists().where(threads.c.owner_id == guest_id))
    if connection.execute(left).scalar_one():
        return False
    connection.execute(sa.delete(tombstones).where(tombstones.c.owner_id == guest_id))
    given = sa.delete(feedbacks).where(feedbacks.c.owner_id == guest_id)
    connection.execute(given)
    connection.execute(sa.delete(users).where(users.c.id == guest_id))
    done = sa.and_(adoptions.c.guest_id == guest_id, adoptions.c.owner_id == owner_id)
    connection.execute(sa.delete(adoptions).where(done))
    return True
