"""Begin: a turn and its two steps written, running or queued, before anything is shown."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from data_layer.begin_statements import (
    BUSY,
    FIND_THREAD,
    HOLD_USER,
    INSERT_STEPS,
    INSERT_THREAD,
    INSERT_TURN,
    MAY_RUN,
    MOVE_HEAD,
)
from data_layer.branches import mark_branch
from data_layer.rows import AnyRow, load_turn
from data_layer.tables import steps, threads, tombstones, turns, users
from parley.chat.errors import Conflict, NotFound, RateLimited
from parley.chat.extras import extras_json, with_tools_of
from parley.chat.requests import begun_turn, too_many_running
from parley.chat.turns import Begun, NewTurn, Owner, Turn, TurnState

_NO_THREAD = "There is no such conversation."
_USER_ORDINAL, _ANSWER_ORDINAL = 0, 1


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
    if thread is None and new.replaces is None and _create_thread(connection, new):
        return _insert(connection, new, 1, None)
    # Where another has the thread or was faster with it, only the owner's row was written so far.
    thread = thread or _find_thread(connection, new)
    if thread is None or thread.deleted_at:
        raise _why_no_thread(connection, new, thread)
    if thread.same_key_turn_id:
        turn = _same_key(connection, new, thread.same_key_turn_id)
        return Begun(turn, created=turn.id == new.id)
    if new.refusal:
        raise new.refusal
    new = replace(new, extras=with_tools_of(new.extras, thread.tools))
    arrival = thread.last_arrival + 1
    parent_id = _replaced_parent(connection, new) if new.replaces else thread.head_turn_id
    begun = _insert(connection, new, arrival, parent_id)
    if new.replaces:
        mark_branch(connection, new.owner.id, new.thread_id, new.id)
    connection.execute(
        MOVE_HEAD,
        {
            "thread": new.thread_id,
            "owner": new.owner.id,
            "head": new.id,
            "arrival": arrival,
            "now": new.created_at,
            "title": new.thread_name,
        },
    )
    return begun


def _insert(connection: Connection, new: NewTurn, arrival: int, parent_id: str | None) -> Begun:
    """Write the turn and its steps; raises `RateLimited` where it may neither run nor wait."""
    values = turn_values(new, arrival, parent_id)
    state = connection.execute(INSERT_TURN, _named(values) | _limits(new)).scalar()
    if state is None:
        raise _too_many(connection, new)
    connection.execute(INSERT_STEPS, step_values(new, arrival))
    return Begun(begun_turn(new, parent_id, TurnState(state)), created=True)


def _too_many(connection: Connection, new: NewTurn) -> RateLimited:
    """Say which limit a turn was refused by."""
    place = {"new_thread_id": new.thread_id, "new_owner_id": new.owner.id}
    if connection.execute(BUSY, place).scalar():
        return RateLimited(
            "Too many of your messages wait for an answer. Wait for one, or stop one.",
            retry_after_s=5,
        )
    return too_many_running()


def _why_no_thread(
    connection: Connection, new: NewTurn, thread: AnyRow | None
) -> NotFound | RateLimited:
    """Say why there is no thread for the turn: another's, a deleted one, or none may be begun."""
    if thread is None and new.replaces is None:
        may_run = connection.execute(MAY_RUN, _limits(new) | {"new_owner_id": new.owner.id})
        if not may_run.scalar():
            return too_many_running()
    return NotFound(_NO_THREAD)


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


def _find_thread(connection: Connection, new: NewTurn) -> AnyRow | None:
    identity = {"thread_id": new.thread_id, "owner_id": new.owner.id, "key": new.key}
    return connection.execute(FIND_THREAD, identity).first()


def _create_thread(connection: Connection, new: NewTurn) -> bool:
    """Insert the thread and, the first time, its owner.

    False if another was faster, or nothing more of the owner's may run.
    """
    dialect = connection.dialect.name
    connection.execute(HOLD_USER[dialect], _user(new.owner, new.created_at))
    values = {
        "id": new.thread_id,
        "owner_id": new.owner.id,
        "name": new.thread_name,
        "metadata": {},
        "head_turn_id": new.id,
        "last_arrival": 1,
        "created_at": new.created_at,
        "last_active_at": new.created_at,
    }
    created = connection.execute(INSERT_THREAD[dialect], _named(values) | _limits(new))
    return created.rowcount == 1


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in values.items()}


def _limits(new: NewTurn) -> dict[str, Any]:
    return {"max_running": new.max_running, "max_queued": new.max_queued}


def ensure_user(connection: Connection, owner: Owner, now: datetime) -> None:
    """Insert the owner's row where it is missing."""
    connection.execute(insert_or_ignore(connection, users), _user(owner, now))


def _user(owner: Owner, now: datetime) -> dict[str, Any]:
    return {"id": owner.id, "identifier": owner.identifier, "metadata": {}, "created_at": now}


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
    """Give the row of a turn about to be written, but for its state."""
    return {
        "id": new.id,
        "thread_id": new.thread_id,
        "owner_id": new.owner.id,
        "parent_turn_id": parent_id,
        "arrival": arrival,
        "key": new.key,
        "digest": new.digest,
        "model": new.model,
        "sampling": msgspec.to_builtins(new.sampling),
        "system_prompt": new.system_prompt,
        "extras": extras_json(new.extras),
        "user_step_id": new.user_step_id,
        "answer_step_id": new.answer_step_id,
        "request_id": new.request_id or None,
        "replica_id": new.replica_id,
        "fence": 1,
        "stop_requested": False,
        "created_at": new.created_at,
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
