"""Pages: a user's threads in pages, the newest activity first.

Keyset pages: a cursor names the place of the last row that was shown, and the database goes on
from there by an index; a page costs the same at 100 and at 100,000 threads.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.rows import AnyRow
from data_layer.tables import feedbacks, threads
from parley.chat.errors import InvalidRequest

LARGEST_PAGE = 100
# What a list shows: metadata may have a megabyte in each thread.
LISTED_COLUMNS = tuple(
    threads.c[name] for name in ("id", "name", "tags", "created_at", "last_active_at", "shared_at")
)
# Of this many a page is sorted; where there are more, they are met soon on the way through all.
FEW = 1000


@dataclass(frozen=True, slots=True)
class ThreadPage:
    """One page of threads; `next_cursor` is None on the last."""

    rows: Sequence[AnyRow]
    next_cursor: str | None


def read_page(
    connection: Connection,
    owner_id: str,
    *,
    limit: int,
    cursor: str | None = None,
    feedback: int | None = None,
    few: int = FEW,
) -> ThreadPage:
    """Read a page; raises `InvalidRequest` for a cursor that is none of ours.

    With `feedback`, threads in which this owner rated a step so: where they are `few`, by their
    ids. A page has 1 to 100 rows.
    """
    size = page_size(limit)
    if feedback is None:
        statement = page_statement(owner_id, size, cursor)
    elif (ids := _rated_few(connection, owner_id, feedback, few)) is not None:
        statement = page_statement(owner_id, size, cursor, among=ids)
    else:
        statement = page_statement(owner_id, size, cursor).where(is_rated(owner_id, feedback))
    rows = connection.execute(statement).all()
    more = len(rows) > size
    return ThreadPage(rows[:size], _cursor_after(rows[size - 1]) if more else None)


def page_statement(
    owner_id: str, limit: int, cursor: str | None = None, *, among: Sequence[str] | None = None
) -> sa.Select[*tuple[Any, ...]]:
    """Select a page, of `among` alone if given, and one row more: is there a next page?"""
    # Said as a range where the ids lead to the rows: SQLite would else walk through all threads.
    mine = threads.c.owner_id == owner_id
    if among is not None:
        mine = threads.c.owner_id.between(owner_id, owner_id) & threads.c.id.in_(among)
    statement = (
        sa.select(*LISTED_COLUMNS)
        .where(mine, threads.c.deleted_at.is_(None))
        .order_by(threads.c.last_active_at.desc(), threads.c.id.desc())
        .limit(limit + 1)
    )
    if cursor:
        place = sa.tuple_(threads.c.last_active_at, threads.c.id)
        statement = statement.where(place < _place_of(cursor))
    return statement


def is_rated(owner_id: str, value: int) -> sa.ColumnElement[bool]:
    """Whether this owner rated a step of the thread so; 0 is a value like any other."""
    return sa.exists().where(
        feedbacks.c.owner_id == owner_id,
        feedbacks.c.value == value,
        feedbacks.c.thread_id == threads.c.id,
    )


def page_size(limit: int) -> int:
    """Bound what a client asks for."""
    return max(1, min(limit, LARGEST_PAGE))


def encode_cursor(*parts: str) -> str:
    """Make a cursor; what is in it is nobody's business but ours."""
    return base64.urlsafe_b64encode("|".join(parts).encode()).decode()


def decode_cursor(cursor: str) -> list[str]:
    """Read the parts of a cursor, whatever they are; raises `InvalidRequest`."""
    try:
        return base64.urlsafe_b64decode(cursor.encode()).decode().split("|")
    except (ValueError, binascii.Error):
        raise not_ours() from None


def not_ours() -> InvalidRequest:
    """Make the error of a cursor that was tampered with."""
    return InvalidRequest("This cursor is not one of ours. Begin at the first page.")


def _rated_few(
    connection: Connection, owner_id: str, value: int, most: int
) -> Sequence[str] | None:
    """Read which threads were rated so; None where they are many."""
    statement = (
        sa.select(feedbacks.c.thread_id)
        .where(feedbacks.c.owner_id == owner_id, feedbacks.c.value == value)
        .limit(most + 1)
    )
    few = connection.execute(statement).scalars().all()
    return few if len(few) <= most else None


def _cursor_after(row: AnyRow) -> str:
    return encode_cursor(row.last_active_at.isoformat(), row.id)


def _place_of(cursor: str) -> sa.ColumnElement[Any]:
    try:
        moment, thread_id = decode_cursor(cursor)
        at, thread_id = datetime.fromisoformat(moment).astimezone(UTC), str(UUID(thread_id))
    except (ValueError, OverflowError):
        raise not_ours() from None
    return sa.tuple_(
        sa.literal(at, threads.c.last_active_at.type), sa.literal(thread_id, threads.c.id.type)
    )
