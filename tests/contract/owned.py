"""Owned: whether a statement names the owner of every row that it reads or changes.

Read from the statement's structure, not from its text: each table that has an owner, wherever it
stands in a statement, must be held to one owner by a condition that always holds (`AND`, never
`OR`). What says so is the owner itself, the row of another table that is held already, a running
turn's fence, or, for what everybody may read, that the thread is shared.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList, ColumnElement, Grouping
from sqlalchemy.sql.selectable import (
    CompoundSelect,
    Exists,
    FromGrouping,
    Join,
    SelectBase,
    SelectStatementGrouping,
)

import data_layer
from data_layer.tables import metadata

OWNED = {table for table in metadata.tables.values() if "owner_id" in table.c}
# A user's own row is named by what it is found by.
_OWNERS = {"users": {"id", "identifier"}}
_HOLDING = {operators.eq, operators.in_op, operators.between_op}
# These are not of one owner: what each does is said where it is.
EXEMPT = {
    ("ownership", "_look"),  # a replica looks for turns whose replica is dead
    ("heartbeats", "_clean"),  # and for replicas that left no turn behind
    ("export", "_named"),  # the operator names a user by one of two words
    ("sign_ins", "_found"),  # who it is, is the question
    ("api_keys", "_found"),
    ("sign_ins", "_sign_ins_over"),  # which of many open connections are to be closed
    ("api_keys", "keys_over"),
    ("adopting", "_pending"),  # which guests signed in
    ("guest_sweep", "_idle_guests"),  # and which did not come back
    ("administration", "_usage"),  # what everybody used
    ("forget", "_forget"),  # what others said of the user's threads goes too
}

_Froms = frozenset[sa.FromClause]


def unowned(statement: Any) -> list[str]:
    """Name the tables of a statement that no condition holds to one owner."""
    if isinstance(statement, sa.Insert):
        return _unowned_insert(statement)
    if isinstance(statement, sa.Update | sa.Delete):
        conditions = list(_conditions(statement.whereclause))
        held = _held({statement.table}, conditions, frozenset())
        is_held = statement.table in held or not _is_owned(statement.table)
        missing = [] if is_held else [str(statement.table)]
        return missing + _unowned_below(statement, held)
    if isinstance(statement, CompoundSelect):
        return [name for one in statement.selects for name in unowned(one)]
    return _unowned_select(statement, frozenset()) if isinstance(statement, sa.Select) else []


def _unowned_insert(statement: sa.Insert) -> list[str]:
    if statement.table not in OWNED:
        return []
    conflict = statement._post_values_clause
    condition = getattr(conflict, "update_whereclause", None)
    updates = conflict is not None and hasattr(conflict, "update_values_to_set")
    missing = []
    if updates and not _held({statement.table}, list(_conditions(condition)), frozenset()):
        missing.append(f"{statement.table.name} (on conflict)")
    source = statement.select
    return missing + (unowned(source) if source is not None else [])


def _unowned_select(select: sa.Select[*tuple[Any, ...]], outer: _Froms) -> list[str]:
    joined: list[ColumnElement[bool]] = []
    froms: set[sa.FromClause] = set()
    for one in select.get_final_froms():
        froms |= set(_flat(one, joined))
    conditions = [part for one in [select.whereclause, *joined] for part in _conditions(one)]
    held = _held(froms, conditions, outer)
    missing = [getattr(one, "name", "") for one in froms if _is_owned(one) and one not in held]
    for one in froms - held:
        inside = getattr(one, "element", None)
        if isinstance(inside, SelectBase):
            missing += unowned(inside)
    return missing + _unowned_below(select, held)


def _unowned_below(statement: Any, held: _Froms) -> list[str]:
    """Look at the selects in conditions and columns, which see the tables around them."""
    return [
        name
        for part in _parts(statement)
        for one in sa.sql.visitors.iterate(part)
        if isinstance(inside := _inside(one), sa.Select)
        for name in _unowned_select(inside, held)
    ]


def _inside(one: Any) -> Any:
    if not isinstance(one, sa.ScalarSelect | Exists):
        return None
    while isinstance(one, Exists | Grouping | sa.ScalarSelect | SelectStatementGrouping):
        one = one.element
    return one


def _parts(statement: Any) -> Iterator[Any]:
    if statement.whereclause is not None:
        yield statement.whereclause
    if isinstance(statement, sa.Select):
        yield from statement.get_final_froms()
        yield from statement.selected_columns
    else:
        yield from statement._returning
    if isinstance(statement, sa.Update):
        yield from (v for v in (statement._values or {}).values() if isinstance(v, ColumnElement))


def _flat(one: sa.FromClause, joined: list[ColumnElement[bool]]) -> Iterator[sa.FromClause]:
    if isinstance(one, FromGrouping):
        yield from _flat(one.element, joined)
    elif isinstance(one, Join):
        joined.append(one.onclause)  # type: ignore[arg-type]  # ours all have one
        yield from _flat(one.left, joined)
        yield from _flat(one.right, joined)
    else:
        yield one


def _is_owned(one: sa.FromClause) -> bool:
    table = getattr(one, "element", one) if isinstance(one, sa.Alias) else one
    return table in OWNED or table is metadata.tables["users"]


def _conditions(clause: Any) -> Iterator[ColumnElement[bool]]:
    """Give the conditions that must all hold."""
    if clause is None:
        return
    while isinstance(clause, Grouping):
        clause = clause.element
    if isinstance(clause, BooleanClauseList) and clause.operator is operators.and_:
        for one in clause.clauses:
            yield from _conditions(one)
    else:
        yield clause


def _held(
    froms: set[sa.FromClause], conditions: list[ColumnElement[bool]], outer: _Froms
) -> _Froms:
    """Give those of `froms` that are held to an owner, and those that are around them."""
    held: set[sa.FromClause] = {one for one in froms if one in outer}
    while True:
        more = {
            one
            for one in froms - held
            if any(_holds(condition, one, held | outer) for condition in conditions)
        }
        if not more:
            return frozenset(held | outer)
        held |= more


def _holds(condition: Any, one: sa.FromClause, held: set[sa.FromClause] | _Froms) -> bool:
    if not isinstance(condition, BinaryExpression):
        return False
    left, right = condition.left, condition.right
    if condition.operator is operators.is_not and _column(left, one) == "shared_at":
        return True
    if condition.operator not in _HOLDING:
        return False
    return any(
        _column(a, one) in _names(one) and not _is_free(b, held)
        for a, b in ((left, right), (right, left))
    )


def _names(one: sa.FromClause) -> set[str]:
    return _OWNERS.get(getattr(one, "name", ""), {"owner_id", "fence"})


def _column(side: Any, one: sa.FromClause) -> str | None:
    return (
        side.name if isinstance(side, sa.Column | sa.ColumnClause) and side.table is one else None
    )


def _is_free(side: Any, held: set[sa.FromClause] | _Froms) -> bool:
    """Whether this is a column of a row that nothing holds."""
    if not isinstance(side, sa.Column | sa.ColumnClause):
        return False
    # What an upsert would have inserted has the owner who writes.
    return side.table not in held and getattr(side.table, "name", "") != "excluded"


def _emitter() -> tuple[str, str] | None:
    """Name the module and the function of the data layer that executes; None for a test's own."""
    home = str(Path(data_layer.__file__).parent)
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        if file.startswith(home):
            return (Path(file).stem, function) if "migrations" not in file else None
        if "/tests/contract/" in file and file != __file__:
            return None
        frame = frame.f_back
    return None


@contextmanager
def watched() -> Iterator[list[str]]:
    """Note every statement of the data layer, of any engine, that names no owner."""
    faults: list[str] = []

    def look(*arguments: Any) -> None:
        emitter = _emitter()
        if emitter is None or emitter in EXEMPT:
            return
        if missing := unowned(arguments[1]):
            faults.append(f"{'.'.join(emitter)} names no owner of {missing}:\n{arguments[1]}")

    event.listen(sa.Engine, "before_execute", look)
    try:
        yield faults
    finally:
        event.remove(sa.Engine, "before_execute", look)
