"""Begin: a turn and its two steps written, running or queued, before anything is shown."""

from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from data_layer.branches import mark_branch
from data_layer.rows import AnyRow, load_turn
from data_layer.tables import QUEUED, RUNNING, steps, threads, tombstones, turns, users
from parley.chat.errors import Conflict, NotFound, RateLimited
from parley.chat.extras import extras_json, with_tools_of
from parley.chat.requests import begun_turn, too_many_running
from parley.chat.turns import Begun, NewTurn, Owner, Turn, TurnState

_NO_THREAD = "There is no such conversation."
_USER_ORDINAL, _ANSWER_ORDINAL = 0, 1


def _find_thread_statement() -> sa.Select[*tuple[Any, ...]]:
    """Lock the thread and read, in one statement, what may refuse the new turn.

    Where it had to wait for the lock, PostgreSQL shows the thread as it is now, but counts as they
    were before: good enough for limits, not for the turn's state (see `_INSERT_TURN`).
    """
    live = turns.alias("live")
    same_key = sa.select(turns.c.id).where(
        turns.c.thread_id == sa.bindparam("thread_id"),
        turns.c.owner_id == sa.bindparam("owner_id"),
        turns.c.key == sa.bindparam("key"),
    )
    live_here = sa.select(sa.func.count()).where(
        live.c.thread_id == sa.bindparam("thread_id"),
        live.c.owner_id == sa.bindparam("owner_id"),
        live.c.state.in_((RUNNING, QUEUED)),
    )
    queued = sa.select(sa.func.count()).where(
        live.c.owner_id == sa.bindparam("owner_id"),
        live.c.state.in_((RUNNING, QUEUED)),  # the words of the partial index, for SQLite's sake
        live.c.state == QUEUED,
    )
    return (
        sa.select(
            threads.c.deleted_at,
            threads.c.head_turn_id,
            threads.c.last_arrival,
            threads.c.metadata["tools"].label("tools"),
            same_key.scalar_subquery().label("same_key_turn_id"),
            live_here.scalar_subquery().label("live_here"),
            queued.scalar_subquery().label("queued"),
        )
        .where(
            threads.c.id == sa.bindparam("thread_id"),
            threads.c.owner_id == sa.bindparam("owner_id"),
        )
        .with_for_update(of=threads)
    )


# Made once: building a statement costs more than running it.
_FIND_THREAD = _find_thread_statement()
_MOVE_HEAD = (
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


def _insert_turn_statement() -> sa.Insert:
    """Decide, under the lock of the thread, whether the turn runs or waits."""
    live = turns.alias("live")
    busy = sa.exists().where(
        live.c.thread_id == sa.bindparam("thread"),
        live.c.owner_id == sa.bindparam("owner"),
        live.c.state.in_((RUNNING, QUEUED)),
    )
    now = sa.bindparam("now", type_=turns.c.created_at.type)
    return (
        sa.insert(turns)
        .values(
            state=sa.case((busy, TurnState.QUEUED.value), else_=TurnState.RUNNING.value),
            started_at=sa.case((busy, sa.null()), else_=now),
        )
        .returning(turns.c.state)
    )


_INSERT_TURN = _insert_turn_statement()
_INSERT_STEPS = sa.insert(steps)
_INSERT_OR_IGNORE: dict[tuple[str, str], sa.Insert] = {
    (table.name, name): dialect.insert(table).on_conflict_do_nothing()
    for table in (users, threads, steps, tombstones)
    for name, dialect in (("sqlite", sqlite), ("postgresql", postgresql))
}


def begin_turn(connection: Connection, new: NewTurn) -> Begun:
    """Do what `TurnStore.begin` promises, in the transaction of this connection."""
    thread = _find_thread(connection, new)
    if thread is None and new.refusal:
        raise new.refusal
    if thread is None and not new.may_run:
        raise too_many_running()
    if thread is None and new.replaces is None and _create_thread(connection, new):
        arrival, parent_id = 1, None
    else:
        # Where another has the thread or was faster with it, only the owner's row was written so far.
        thread = thread or _find_thread(connection, new)
        if thread is None or thread.deleted_at:
            raise NotFound(_NO_THREAD)
        if thread.same_key_turn_id:
            turn = _same_key(connection, new, thread.same_key_turn_id)
            return Begun(turn, created=turn.id == new.id)
        _check_limits(thread, new)
        new = replace(new, extras=with_tools_of(new.extras, thread.tools))
        arrival = thread.last_arrival + 1
        parent_id = thread.head_turn_id
        if new.replaces:
            parent_id = _replaced_parent(connection, new)
            mark_branch(connection, new.owner.id, new.thread_id, parent_id)
        connection.execute(
            _MOVE_HEAD,
            {
                "thread": new.thread_id,
                "owner": new.owner.id,
                "head": new.id,
                "arrival": arrival,
                "now": new.created_at,
                "title": new.thread_name,
            },
        )
    values = turn_values(new, arrival, parent_id)
    state = TurnState(connection.execute(_INSERT_TURN, values).scalar_one())
    connection.execute(_INSERT_STEPS, step_values(new, arrival))
    return Begun(begun_turn(new, parent_id, state), created=True)


def _replaced_parent(connection: Connection, new: NewTurn) -> str | None:
    """Find what came before the turn that the new one says anew."""
    replaced = connection.execute(
        sa.select(turns.c.parent_turn_id).where(
            turns.c.id == new.replaces,
            turns.c.thread_id == new.thread_id,
            turns.c.owner_id == new.owner.id,
        )
    ).first()
    if replaced is None:
        raise NotFound("There is no such turn in this conversation.")
    return replaced.parent_turn_id  # type: ignore[no-any-return]  # a column's


def _check_limits(thread: AnyRow, new: NewTurn) -> None:
    """Raise `RateLimited` where the turn may neither run nor wait."""
    if new.refusal:
        raise new.refusal
    if not thread.live_here and not new.may_run:
        raise too_many_running()
    if thread.live_here and thread.queued >= new.max_queued:
        raise RateLimited(
            "Too many of your messages wait for an answer. Wait for one, or stop one.",
            retry_after_s=5,
        )


def _find_thread(connection: Connection, new: NewTurn) -> AnyRow | None:
    identity = {"thread_id": new.thread_id, "owner_id": new.owner.id, "key": new.key}
    return connection.execute(_FIND_THREAD, identity).first()


def _create_thread(connection: Connection, new: NewTurn) -> bool:
    """Insert the thread and, the first time, its owner; False if another was faster."""
    ensure_user(connection, new.owner, new.created_at)
    created = connection.execute(
        insert_or_ignore(connection, threads),
        {
            "id": new.thread_id,
            "owner_id": new.owner.id,
            "name": new.thread_name,
            "metadata": {},
            "head_turn_id": new.id,
            "last_arrival": 1,
            "created_at": new.created_at,
            "last_active_at": new.created_at,
        },
    )
    return created.rowcount == 1


def ensure_user(connection: Connection, owner: Owner, now: datetime) -> None:
    """Insert the owner's row where it is missing."""
    connection.execute(
        insert_or_ignore(connection, users),
        {"id": owner.id, "identifier": owner.identifier, "metadata": {}, "created_at": now},
    )


def insert_or_ignore(connection: Connection, table: sa.Table) -> sa.Insert:
    """Give the statement that inserts a row, or does nothing where its id is taken."""
    return _INSERT_OR_IGNORE[table.name, connection.dialect.name]


def _same_key(connection: Connection, new: NewTurn, turn_id: str) -> Turn:
    digest = connection.execute(
        sa.select(turns.c.digest).where(turns.c.id == turn_id, turns.c.owner_id == new.owner.id)
    ).scalar_one()
    if digest != new.digest:
        raise Conflict("This key was used before with another message. Send a new key with it.")
    return load_turn(connection, new.owner.id, turn_id)


def turn_values(new: NewTurn, arrival: int, parent_id: str | None) -> dict[str, Any]:
    """Give the row of a turn about to be written, and what `_INSERT_TURN` asks beside it."""
    return {
        "id": new.id,
        "thread_id": new.thread_id,
        "owner_id": new.owner.id,
        "parent_turn_id": parent_id,
        "arrival": arrival,
        "key": new.key,
        "digest": new.digest,
        "model": new.model,
        "sampling": asdict(new.sampling),
        "system_prompt": new.system_prompt,
        "extras": extras_json(new.extras),
        "user_step_id": new.user_step_id,
        "answer_step_id": new.answer_step_id,
        "replica_id": new.replica_id,
        "fence": 1,
        "stop_requested": False,
        "created_at": new.created_at,
        "thread": new.thread_id,
        "owner": new.owner.id,
        "now": new.created_at,
    }


def step_values(new: NewTurn, arrival: int) -> list[dict[str, Any]]:
    """Give the rows of its two steps, the question's first."""
    common = {
        "thread_id": new.thread_id,
        "owner_id": new.owner.id,
        "turn_id": new.id,
        "arrival": arrival,
        "input": "",
        "reasoning": "",
        "is_error": False,
        "metadata": {},
        "created_at": new.created_at,
    }
    user = {
        "id": new.user_step_id,
        "ordinal": _USER_ORDINAL,
        "type": "user_message",
        "name": "user",
        "output": new.text,
    }
    answer = {
        "id": new.answer_step_id,
        "ordinal": _ANSWER_ORDINAL,
        "type": "assistant_message",
        "name": "assistant",
        "output": "",
    }
    return [common | user, common | answer]
