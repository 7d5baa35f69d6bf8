"""Threads: the pages of a user's history, and what one thread holds.

Pages are keyset pages on (last activity, id), made by the database. Deleting leaves a tombstone,
so that a late write cannot bring a thread back.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.database import Database
from data_layer.rows import AnyRow
from data_layer.tables import steps, threads, turns
from data_layer.writer import Writer
from parley.chat.errors import InvalidRequest, NotFound
from parley.chat.messages import storable_text
from parley.chat.requests import thread_name


@dataclass(frozen=True, slots=True)
class ThreadPage:
    """One page of threads, newest activity first; `next_cursor` is None on the last."""

    rows: Sequence[AnyRow]
    next_cursor: str | None


class SqlThreads:
    """Threads of one owner at a time; another's and a missing one raise the same `NotFound`."""

    def __init__(self, database: Database, writer: Writer) -> None:
        """Read through `database`, write through `writer`; closes neither."""
        self._database = database
        self._writer = writer

    async def page(
        self, owner_id: str, *, limit: int, cursor: str | None = None, search: str | None = None
    ) -> ThreadPage:
        """Read a page; raises `InvalidRequest` for a cursor that is none of ours."""
        statement = (
            sa.select(threads)
            .where(threads.c.owner_id == owner_id, threads.c.deleted_at.is_(None))
            .order_by(threads.c.last_active_at.desc(), threads.c.id.desc())
            .limit(limit + 1)
        )
        if cursor:
            place = sa.tuple_(threads.c.last_active_at, threads.c.id)
            statement = statement.where(place < _decode_cursor(cursor))
        if search:
            found = threads.c.name.icontains(storable_text(search), autoescape=True)
            statement = statement.where(found)
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        shown = rows[:limit]
        more = len(rows) > limit
        return ThreadPage(shown, _encode_cursor(shown[-1]) if more else None)

    async def thread(self, owner_id: str, thread_id: str) -> AnyRow:
        """Read one thread's row."""
        statement = sa.select(threads).where(_owned(owner_id, thread_id))
        row = await self._database.read(lambda connection: connection.execute(statement).first())
        return _found(row)

    async def steps(self, owner_id: str, thread_id: str, *, limit: int) -> Sequence[AnyRow]:
        """Read the thread's newest steps, oldest first, with the state of their turn."""
        newest = (
            sa.select(
                steps,
                turns.c.state.label("turn_state"),
                turns.c.model.label("turn_model"),
                turns.c.error_code,
                turns.c.error_message,
            )
            .join(turns, turns.c.id == steps.c.turn_id, isouter=True)
            .where(steps.c.thread_id == thread_id, steps.c.owner_id == owner_id)
            .order_by(steps.c.arrival.desc(), steps.c.ordinal.desc())
            .limit(limit)
        )
        rows = await self._database.read(lambda connection: connection.execute(newest).all())
        return list(reversed(rows))

    async def rename(self, owner_id: str, thread_id: str, name: str) -> None:
        """Give the thread another name, made fit for one."""
        statement = (
            sa.update(threads)
            .where(_owned(owner_id, thread_id))
            .values(name=thread_name(name))
            .returning(threads.c.id)
        )
        row = await self._writer.write(lambda connection: connection.execute(statement).first())
        _found(row)

    async def delete(self, owner_id: str, thread_id: str) -> None:
        """Delete all that the thread holds and leave a tombstone."""

        def delete(connection: Connection) -> None:
            buried = connection.execute(
                sa.update(threads)
                .where(_owned(owner_id, thread_id))
                .values(
                    deleted_at=datetime.now(UTC), name="", metadata={}, tags=None, head_turn_id=None
                )
            )
            if buried.rowcount == 0:
                raise NotFound("There is no such conversation.")
            for table in (steps, turns):
                connection.execute(
                    sa.delete(table).where(
                        table.c.thread_id == thread_id, table.c.owner_id == owner_id
                    )
                )

        await self._writer.write(delete)


def _owned(owner_id: str, thread_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        threads.c.id == thread_id,
        threads.c.owner_id == owner_id,
        threads.c.deleted_at.is_(None),
    )


def _found(row: AnyRow | None) -> AnyRow:
    if row is None:
        raise NotFound("There is no such conversation.")
    return row


def _encode_cursor(row: AnyRow) -> str:
    place = f"{row.last_active_at.isoformat()}|{row.id}"
    return base64.urlsafe_b64encode(place.encode()).decode()


def _decode_cursor(cursor: str) -> sa.ColumnElement[Any]:
    try:
        moment, thread_id = base64.urlsafe_b64decode(cursor.encode()).decode().split("|")
        at, thread_id = datetime.fromisoformat(moment), str(UUID(thread_id))
        at = at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest("This cursor is not one of ours. Begin at the first page.") from None
    return sa.tuple_(
        sa.literal(at, threads.c.last_active_at.type), sa.literal(thread_id, threads.c.id.type)
    )
