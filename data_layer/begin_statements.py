"""What `begin` asks of the database. Made once: building a statement costs more than running it.

What limits a turn is counted by the statement that writes, under a lock of its owner: however many
replicas begin turns of one owner at once, no more of them run or wait than may. A parameter `new_…`
is the value of the column of that name.
"""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from data_layer.tables import QUEUED, RUNNING, steps, threads, turns, users
from parley.chat.turns import TurnState

_DIALECTS = {"sqlite": sqlite, "postgresql": postgresql}
_OWNER = sa.bindparam("new_owner_id", type_=turns.c.owner_id.type)
_THREAD_COLUMNS = (
    "id",
    "owner_id",
    "name",
    "metadata",
    "head_turn_id",
    "last_arrival",
    "created_at",
    "last_active_at",
)
_TURN_COLUMNS = (
    "id",
    "thread_id",
    "owner_id",
    "parent_turn_id",
    "arrival",
    "key",
    "digest",
    "model",
    "sampling",
    "system_prompt",
    "extras",
    "user_step_id",
    "answer_step_id",
    "request_id",
    "replica_id",
    "fence",
    "stop_requested",
    "created_at",
)


def _new(table: sa.Table, names: Iterable[str]) -> dict[str, sa.ColumnElement[Any]]:
    return {name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in names}


def _live(state: sa.ColumnElement[str]) -> sa.ScalarSelect[int]:
    """Count the owner's turns in a state."""
    live = turns.alias("live")
    return (
        sa.select(sa.func.count())
        .where(
            live.c.owner_id == _OWNER,
            # The words of the partial index, for SQLite's sake.
            live.c.state.in_((RUNNING, QUEUED)),
            live.c.state == state,
        )
        .scalar_subquery()
    )


def _busy() -> sa.Exists:
    """Whether something runs or waits in the thread."""
    here = turns.alias("here")
    return sa.exists().where(
        here.c.thread_id == sa.bindparam("new_thread_id", type_=turns.c.thread_id.type),
        here.c.owner_id == _OWNER,
        here.c.state.in_((RUNNING, QUEUED)),
    )


_BUSY = _busy()
_MAY_RUN = _live(RUNNING) < sa.bindparam("max_running", type_=sa.Integer)
_MAY_WAIT = _live(QUEUED) < sa.bindparam("max_queued", type_=sa.Integer)


def _find_thread() -> sa.Select[*tuple[Any, ...]]:
    same_key = sa.select(turns.c.id).where(
        turns.c.thread_id == sa.bindparam("thread_id"),
        turns.c.owner_id == sa.bindparam("owner_id"),
        turns.c.key == sa.bindparam("key"),
    )
    return (
        sa.select(
            threads.c.deleted_at,
            threads.c.head_turn_id,
            threads.c.last_arrival,
            threads.c.metadata["tools"].label("tools"),
            same_key.scalar_subquery().label("same_key_turn_id"),
        )
        .select_from(threads.join(users, users.c.id == threads.c.owner_id))
        .where(
            threads.c.id == sa.bindparam("thread_id"),
            threads.c.owner_id == sa.bindparam("owner_id"),
        )
        .with_for_update(of=(threads, users), key_share=True)
    )


def _insert_turn() -> sa.Insert:
    values = _new(turns, _TURN_COLUMNS)
    values["state"] = sa.case((_BUSY, TurnState.QUEUED.value), else_=TurnState.RUNNING.value)
    values["started_at"] = sa.case((_BUSY, sa.null()), else_=values["created_at"])
    fits = sa.case((_BUSY, _MAY_WAIT), else_=_MAY_RUN)
    return (
        sa.insert(turns)
        .from_select(list(values), sa.select(*values.values()).where(fits))
        .returning(turns.c.state)
    )


def _insert_thread(dialect: str) -> sa.Insert:
    values = _new(threads, _THREAD_COLUMNS)
    inserted: sa.Insert = (
        _DIALECTS[dialect]
        .insert(threads)
        .from_select(list(values), sa.select(*values.values()).where(_MAY_RUN))
        .on_conflict_do_nothing()
    )
    return inserted


def _hold_user(dialect: str) -> sa.Insert:
    # A change that changes nothing, for its lock; SQLite has one writer anyway.
    inserted: sa.Insert = (
        _DIALECTS[dialect]
        .insert(users)
        .on_conflict_do_update(index_elements=["id"], set_={"created_at": users.c.created_at})
    )
    return inserted


# Locks the thread and its owner. Where PostgreSQL had to wait for that, it shows the rows as they
# are now, but subqueries as they were before: what must be counted is counted by the next statement.
FIND_THREAD = _find_thread()
# Inserts the owner, or locks the one who is there.
HOLD_USER = {dialect: _hold_user(dialect) for dialect in _DIALECTS}
# Makes a thread, where nobody has it and its first turn may run.
INSERT_THREAD = {dialect: _insert_thread(dialect) for dialect in _DIALECTS}
# Writes a turn that runs or waits, and says which; no row where it may do neither.
INSERT_TURN = _insert_turn()
INSERT_STEPS = sa.insert(steps)
BUSY = sa.select(_BUSY)
MAY_RUN = sa.select(_MAY_RUN)
MOVE_HEAD = (
    sa.update(threads)
    .where(threads.c.id == sa.bindparam("thread"), threads.c.owner_id == sa.bindparam("owner"))
    .values(
        head_turn_id=sa.bindparam("head"),
        last_arrival=sa.bindparam("arrival"),
        last_active_at=sa.bindparam("now"),
        # One that was made empty, without a title, is named by its first turn.
        name=sa.case(
            (threads.c.name == "", sa.bindparam("title", type_=sa.Text)), else_=threads.c.name
        ),
    )
)
