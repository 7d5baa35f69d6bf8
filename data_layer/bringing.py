"""Bringing: turns that were taken along from elsewhere, written into a thread that is new."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.begin import step_values, turn_values
from data_layer.generation import generation_of
from data_layer.rows import turn_columns
from data_layer.tables import steps, threads, turns
from parley.chat.conversations import BroughtTurn
from parley.chat.models import Sampling
from parley.chat.requests import begun_turn
from parley.chat.turns import NewTurn, Owner, TurnState

# No process runs them, and none takes them over: they are over.
_BROUGHT = "brought"


def bring_turns(
    connection: Connection, owner: Owner, thread_id: str, brought: Sequence[BroughtTurn]
) -> None:
    """Write them as one branch, in this order."""
    parent_id: str | None = None
    turn_rows: list[dict[str, Any]] = []
    step_rows: list[dict[str, Any]] = []
    for arrival, one in enumerate(brought, 1):
        new = _new_turn(owner, thread_id, one)
        turn_rows.append(_turn_row(new, one, arrival, parent_id))
        step_rows += _step_rows(new, one, arrival)
        parent_id = new.id
    if parent_id:
        connection.execute(sa.insert(turns), turn_rows)
        connection.execute(sa.insert(steps), step_rows)
        connection.execute(
            sa.update(threads)
            .where(threads.c.id == thread_id, threads.c.owner_id == owner.id)
            .values(head_turn_id=parent_id, last_arrival=len(brought))
        )


def _new_turn(owner: Owner, thread_id: str, one: BroughtTurn) -> NewTurn:
    turn_id = str(uuid4())
    return NewTurn(
        id=turn_id,
        thread_id=thread_id,
        owner=owner,
        key=turn_id,
        digest="",
        text=one.text,
        thread_name="",
        model=one.model,
        sampling=Sampling(),
        system_prompt=None,
        user_step_id=str(uuid4()),
        answer_step_id=str(uuid4()),
        replica_id=_BROUGHT,
        created_at=one.created_at,
        max_running=0,
        max_queued=0,
        extras=one.extras,
    )


def _turn_row(
    new: NewTurn, one: BroughtTurn, arrival: int, parent_id: str | None
) -> dict[str, Any]:
    named = set(turns.c.keys())
    row = turn_values(new, arrival, parent_id) | turn_columns(one.answer)
    return {name: value for name, value in row.items() if name in named} | {
        "state": one.answer.state.value,
        "started_at": one.created_at,
        "attempts": [asdict(attempt) for attempt in one.answer.attempts],
    }


def _step_rows(new: NewTurn, one: BroughtTurn, arrival: int) -> list[dict[str, Any]]:
    user, answer = step_values(new, arrival)
    turn = begun_turn(new, None, one.answer.state)
    said = {
        "output": one.answer.text,
        "reasoning": one.answer.reasoning,
        "is_error": one.answer.state is TurnState.FAILED,
        "generation": generation_of(turn, one.answer),
        "ended_at": one.answer.ended_at,
    }
    return [user | dict.fromkeys(("generation", "ended_at")), answer | said]
