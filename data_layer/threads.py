"""Threads: the pages of a user's history, and what one thread holds.

Pages are keyset pages on (last activity, id), made by the database. Deleting leaves a tombstone,
so that a late write cannot bring a thread back.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.database import Database
from data_layer.elements import delete_elements_of
from data_layer.pages import FEW, ThreadPage, read_page
from data_layer.people import merge
from data_layer.rows import AnyRow
from data_layer.search import SearchPage, search_threads
from data_layer.storable import check_size, storable_json
from data_layer.tables import feedbacks, steps, threads, turns
from data_layer.thread_lock import lock_thread, new_thread
from data_layer.writer import Writer
from parley.chat.errors import NotFound
from parley.chat.messages import storable_text
from parley.chat.news import Changed, Deleted, Named, ThreadNews
from parley.chat.requests import thread_name
from parley.chat.turns import Owner
from parley.observability.audit import audit

_NO_THREAD = "There is no such conversation."
# Sessions write their copy of these back at every disconnect: sharing.py has the say.
_SHARING_KEYS = frozenset({"is_shared", "shared_at"})

Tell = Callable[[ThreadNews], None]


def untold(_: ThreadNews) -> None:
    """Tell nobody."""


class SqlThreads:
    """Threads of one owner at a time; another's and a missing one raise the same `NotFound`."""

    def __init__(
        self, database: Database, writer: Writer, few: int = FEW, tell: Tell = untold
    ) -> None:
        """Read through `database`, write through `writer`; closes neither.

        Of so `few` threads a page is sorted. Once a name is saved, or a thread deleted, `tell` hears of it.
        """
        self._tell = tell
        self._database = database
        self._writer = writer
        self._few = few

    async def page(
        self,
        owner_id: str,
        *,
        limit: int,
        cursor: str | None = None,
        search: str | None = None,
        feedback: int | None = None,
    ) -> ThreadPage:
        """Read a page of all threads, see `read_page`, or of those that a search finds.

        Raises `InvalidRequest` for a cursor that is not ours.
        """
        if search:
            found = await self.search(
                owner_id, search, limit=limit, cursor=cursor, feedback=feedback
            )
            return ThreadPage([hit.thread for hit in found.hits], found.next_cursor)
        return await self._database.read(
            lambda connection: read_page(
                connection,
                owner_id,
                limit=limit,
                cursor=cursor,
                feedback=feedback,
                few=self._few,
            )
        )

    async def search(
        self,
        owner_id: str,
        text: str,
        *,
        limit: int,
        cursor: str | None = None,
        feedback: int | None = None,
    ) -> SearchPage:
        """Find threads by their words; raises `InvalidRequest` for a cursor that is not ours."""
        return await self._database.read(
            lambda connection: search_threads(
                connection, owner_id, text, limit=limit, cursor=cursor, feedback=feedback
            )
        )

    async def thread(self, owner_id: str, thread_id: str) -> AnyRow:
        """Read one thread's row."""
        statement = sa.select(threads).where(_owned(owner_id, thread_id))
        row = await self._database.read(lambda connection: connection.execute(statement).first())
        return _found(row)

    async def rename(self, owner_id: str, thread_id: str, name: str) -> None:
        """Give the thread another name by hand, made fit for one."""
        statement = (
            sa.update(threads)
            .where(_owned(owner_id, thread_id))
            .values(name=thread_name(name), named_at=datetime.now(UTC))
            .returning(threads.c.id)
        )
        row = await self._writer.write(lambda connection: connection.execute(statement).first())
        _found(row)
        self._tell(Named(owner_id, thread_id))

    async def retitle(self, owner_id: str, thread_id: str, before: str, name: str) -> bool:
        """Give it another name, if nobody has named it, and it still has the one from `before`."""
        statement = (
            sa.update(threads)
            .where(
                _owned(owner_id, thread_id),
                threads.c.name == before,
                threads.c.named_at.is_(None),
            )
            .values(name=thread_name(name))
        )
        changed = await self._writer.write(
            lambda connection: connection.execute(statement).rowcount
        )
        if changed:
            self._tell(Named(owner_id, thread_id))
        return changed == 1

    async def put(
        self, owner: Owner, thread_id: str, *, name: str | None, tags: Sequence[str] | None
    ) -> None:
        """Name and tag a thread, and make it where a step has not yet; None leaves as it is."""
        values: dict[str, Any] = {}
        if name is not None and (line := thread_name(name)):
            values |= {"name": line, "named_at": datetime.now(UTC)}
        if tags is not None:
            values["tags"] = [storable_text(str(tag)) for tag in tags]
        await self._writer.write(lambda connection: _put(connection, owner, thread_id, values))
        if "name" in values:
            self._tell(Named(owner.id, thread_id))

    async def merge_metadata(self, owner_id: str, thread_id: str, patch: Mapping[str, Any]) -> None:
        """Merge metadata, None taking a key away; never makes a thread.

        Raises `TooLarge` where more than 1 MiB would be kept.
        """
        wanted = {
            key: value for key, value in storable_json(patch).items() if key not in _SHARING_KEYS
        }
        has_changed = await self._writer.write(
            lambda connection: _merge_metadata(connection, owner_id, thread_id, wanted)
        )
        if has_changed:
            self._tell(Changed(owner_id, thread_id))

    async def delete(self, owner_id: str, thread_id: str) -> Sequence[str]:
        """Delete all that the thread holds and leave a tombstone.

        Gives the keys of the bytes that its elements had, to be discarded now.
        """
        keys = await self._writer.write(lambda connection: _delete(connection, owner_id, thread_id))
        audit("conversation_deleted", user_id=owner_id, conversation_id=thread_id)
        self._tell(Deleted(owner_id, thread_id))
        return keys


def _put(connection: Connection, owner: Owner, thread_id: str, values: dict[str, Any]) -> None:
    there = lock_thread(connection, owner.id, thread_id)
    there = there or new_thread(connection, owner, thread_id, datetime.now(UTC), **values)
    if there and values:
        connection.execute(sa.update(threads).where(_owned(owner.id, thread_id)).values(values))


def _merge_metadata(
    connection: Connection, owner_id: str, thread_id: str, patch: Mapping[str, Any]
) -> bool:
    row = _found(lock_thread(connection, owner_id, thread_id))
    merged = merge(row.metadata, patch)
    check_size(merged, "metadata of the conversation")
    if merged != row.metadata:
        owned = _owned(owner_id, thread_id)
        connection.execute(sa.update(threads).where(owned).values(metadata=merged))
    return bool(merged != row.metadata)


def _delete(connection: Connection, owner_id: str, thread_id: str) -> Sequence[str]:
    buried = connection.execute(
        sa.update(threads)
        .where(_owned(owner_id, thread_id))
        .values(
            deleted_at=datetime.now(UTC),
            name="",
            metadata={},
            tags=None,
            head_turn_id=None,
            shared_at=None,
        )
    )
    if buried.rowcount == 0:
        raise NotFound(_NO_THREAD)
    keys = delete_elements_of(connection, owner_id, thread_id)
    for table in (feedbacks, steps, turns):
        inside = sa.and_(table.c.thread_id == thread_id, table.c.owner_id == owner_id)
        connection.execute(sa.delete(table).where(inside))
    return keys


def _owned(owner_id: str, thread_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        threads.c.id == thread_id,
        threads.c.owner_id == owner_id,
        threads.c.deleted_at.is_(None),
    )


def _found(row: AnyRow | None) -> AnyRow:
    if row is None:
        raise NotFound(_NO_THREAD)
    return row
