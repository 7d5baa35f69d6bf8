"""Export: all that is one user's as JSON, a few rows at a time.

Left out is what holds nothing of theirs, such as tombstones of what they deleted and the index of
the search, and what a key or a sign-in is found by.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from data_layer.database import Database
from data_layer.rows import AnyRow
from data_layer.storage import Storage
from data_layer.tables import (
    api_keys,
    elements,
    feedbacks,
    sign_ins,
    steps,
    threads,
    turns,
    users,
)
from parley.chat.errors import NotFound
from parley.chat.messages import storable_text

VERSION = 1
# Rows in memory at a time: each may hold an answer of a megabyte.
_PAGE = 50
# What a thread holds, in the order in which it is read.
_PARTS = (
    (turns, (turns.c.arrival, turns.c.id)),
    (steps, (steps.c.arrival, steps.c.ordinal, steps.c.id)),
    (elements, (elements.c.created_at, elements.c.id)),
)
# What lets one in stays where it is.
_NOT_TOLD = {"owner_id", "digest", "sealed_token"}
_Order = tuple[sa.ColumnElement[Any], ...]


async def find_user(database: Database, who: str) -> AnyRow:
    """Read the row of the user with this identifier or id; raises `NotFound`."""
    who = storable_text(who)
    found = await database.read(lambda connection: _named(connection, who))
    if len(found) != 1:  # two: someone's identifier is another's id
        raise NotFound(f"There is no user {who!r}: neither an identifier nor an id is that.")
    return found[0]


async def export_user(database: Database, user: AnyRow) -> AsyncIterator[str]:
    """Give the pieces of one JSON object; times are RFC 3339 in UTC."""
    yield f'{{"version":{VERSION},"exported_at":{_json(datetime.now(UTC))},\n"user":{_object(user)},\n'
    yield '"threads":['
    mine = sa.and_(threads.c.owner_id == user.id, threads.c.deleted_at.is_(None))
    order = (threads.c.created_at, threads.c.id)
    separator = "\n"
    async for thread in _rows(database, threads, mine, order):
        yield separator
        separator = ",\n"
        async for piece in _thread(database, thread):
            yield piece
    yield '],\n"feedbacks":'
    given = feedbacks.c.owner_id == user.id
    order = (feedbacks.c.created_at, feedbacks.c.id)
    async for piece in _array(_rows(database, feedbacks, given, order)):
        yield piece
    for table in (sign_ins, api_keys):
        yield f',\n"{table.name}":'
        of_theirs = table.c.owner_id == user.id
        order = (table.c.created_at, table.c.id)
        async for piece in _array(_rows(database, table, of_theirs, order)):
            yield piece
    yield "}\n"


async def export_files(storage: Storage, user: AnyRow, directory: Path) -> int:
    """Copy the bytes of the user's elements, each file named by its `object_key`; count them."""
    await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True, exist_ok=True)
    count = 0
    async for kept in storage.objects(user.id):
        with (directory / kept.key).open("wb") as file:
            async for piece in storage.read(user.id, kept.key):
                file.write(piece)
        count += 1
    return count


def _named(connection: sa.Connection, who: str) -> Sequence[AnyRow]:
    same = users.c.identifier == who
    if _is_id(who):
        same = sa.or_(same, users.c.id == str(UUID(who)))
    return connection.execute(sa.select(users).where(same)).all()


async def _thread(database: Database, thread: AnyRow) -> AsyncIterator[str]:
    yield _object(thread)[:-1]
    for table, order in _PARTS:
        yield f',\n "{table.name}":'
        inside = sa.and_(
            table.c.thread_id == thread.id,
            table.c.owner_id == thread.owner_id,
        )
        async for piece in _array(_rows(database, table, inside, order)):
            yield piece
    yield "}"


async def _array(rows: AsyncIterator[AnyRow]) -> AsyncIterator[str]:
    yield "["
    separator = "\n  "
    async for row in rows:
        yield f"{separator}{_object(row)}"
        separator = ",\n  "
    yield "]"


async def _rows(
    database: Database, table: sa.Table, condition: sa.ColumnElement[bool], order: _Order
) -> AsyncIterator[AnyRow]:
    """Read a page after the other, each from where the one before ended."""
    page_statement = sa.select(table).where(condition).order_by(*order).limit(_PAGE)
    statement = page_statement
    while True:
        rows = await database.read(_all(statement))
        for row in rows:
            yield row
        if len(rows) < _PAGE:
            return
        last = [sa.literal(rows[-1]._mapping[column], column.type) for column in order]
        statement = page_statement.where(sa.tuple_(*order) > sa.tuple_(*last))


def _all(statement: sa.Select[*tuple[Any, ...]]) -> Callable[[sa.Connection], list[AnyRow]]:
    return lambda connection: list(connection.execute(statement).all())


def _object(row: AnyRow) -> str:
    return _json({name: value for name, value in row._mapping.items() if name not in _NOT_TOLD})


def _json(value: object) -> str:
    """Render as JSON that every reader takes: no lone surrogate, no NaN."""
    try:
        text = json.dumps(value, default=_rfc_3339, ensure_ascii=False, allow_nan=False)
    except ValueError:
        value = json.loads(json.dumps(value, default=_rfc_3339), parse_constant=lambda _: None)
        text = json.dumps(value, ensure_ascii=False)
    return storable_text(text)


def _rfc_3339(value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"no JSON for {type(value).__name__}")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
