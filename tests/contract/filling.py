"""A row in every table, whatever tables there are: for what has to hold for all of them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import sqlalchemy as sa

from data_layer.database import Database

MOMENT = datetime(2026, 1, 2, 12, 30, 15, 250, UTC)
# What today's code wants to see where any other value of the column's type would not do.
_MEANT: Mapping[tuple[str, str], object] = {
    ("turns", "state"): "completed",
    ("turns", "sampling"): {"max_tokens": 5, "temperature": None, "top_p": None, "stop": []},
    ("steps", "type"): "user_message",
    ("turns", "finish_reason"): "stop",
}
# Columns without a foreign key that name a row of another table.
_NAMES = {
    "owner_id": "users",
    "thread_id": "threads",
    "turn_id": "turns",
    "head_turn_id": "turns",
    "step_id": "steps",
    "user_step_id": "steps",
    "answer_step_id": "steps",
}

_UNIQUE = {("users", "identifier"), ("sign_ins", "digest"), ("api_keys", "digest")}
# Rows that belong to no user, and go by themselves.
_OF_NOBODY = {"sign_in_states"}


def id_in(table: str, seed: str) -> str:
    return str(uuid5(UUID(seed), table))


def fill(
    connection: sa.Connection, tables: Iterable[sa.Table], user_id: str, word: str = "word"
) -> None:
    """Insert a row of this user into each of the tables, with the word in every text.

    The tables in the order in which they refer to each other; one that a trigger fills is left.
    """
    for table in tables:
        if not rows_of(connection, table, user_id):
            connection.execute(sa.insert(table), row_of(table, user_id, word))


async def written(database: Database, statement: sa.Executable, rows: Any = None) -> None:
    await database.write(lambda connection: connection.execute(statement, rows))


async def rows_in(database: Database, table: sa.Table, user_id: str) -> list[dict[str, object]]:
    return await database.read(lambda connection: rows_of(connection, table, user_id))


def row_of(table: sa.Table, user_id: str, word: str) -> dict[str, object]:
    return {column.name: _value(column, user_id, word) for column in table.c}


def rows_of(connection: sa.Connection, table: sa.Table, user_id: str) -> list[dict[str, object]]:
    """Read what is the user's; all that there is where the table names no owner."""
    names = [table.c[name] for name in ("owner_id",) if name in table.c]
    if table.name == "users":
        names = [table.c.id]
    statement = sa.select(table).where(*(name == user_id for name in names))
    return [dict(row) for row in connection.execute(statement).mappings()]


def _value(column: sa.Column[object], user_id: str, word: str) -> object:
    place = (column.table.name, column.name)
    if place in _MEANT:
        return _MEANT[place]
    if column.name in _NAMES or place == ("users", "id"):
        name = _NAMES.get(column.name, "users")
        return user_id if name == "users" else id_in(name, user_id)
    if place in _UNIQUE:
        return f"{word} {user_id}"
    if column.name in {"id", "guest_id"}:
        return id_in(column.table.name, user_id)
    if column.nullable and not isinstance(column.type, sa.Text):
        return None
    return _of_type(column.type, "of nobody" if column.table.name in _OF_NOBODY else word)


def _of_type(kind: sa.types.TypeEngine[object], word: str) -> object:
    values: list[tuple[type[sa.types.TypeEngine[Any]], object]] = [
        (sa.JSON, {"said": word}),
        (sa.Boolean, False),
        (sa.Integer, 1),
        (sa.DateTime, MOMENT),
    ]
    bare = kind.impl if isinstance(kind, sa.TypeDecorator) else kind
    return next((value for of, value in values if isinstance(bare, of)), word)
