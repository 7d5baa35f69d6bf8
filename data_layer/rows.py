"""Rows: what a database row means in the words of the core, and back."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.tables import steps, turns
from parley.chat.deltas import FinishReason
from parley.chat.errors import NotFound
from parley.chat.extras import extras_of
from parley.chat.models import Sampling
from parley.chat.tools import ToolUse
from parley.chat.turns import Answer, AttemptRecord, Exchange, Turn, TurnState
from parley.chat.usage import Usage

AnyRow = sa.Row[*tuple[Any, ...]]

NO_TURN = "There is no such turn."
_PORTION = 1000
_user_steps = steps.alias("user_steps")
_answer_steps = steps.alias("answer_steps")


def select_turns() -> sa.Select[*tuple[Any, ...]]:
    """Select turns with the text of their two steps; `turn_of` reads such a row."""
    return sa.select(
        turns,
        _user_steps.c.output.label("user_text"),
        _answer_steps.c.output.label("answer_text"),
        _answer_steps.c.reasoning.label("answer_reasoning"),
        _answer_steps.c.seq.label("answer_seq"),
    ).select_from(
        turns.join(_user_steps, _same_row(turns.c.user_step_id, _user_steps)).join(
            _answer_steps, _same_row(turns.c.answer_step_id, _answer_steps)
        )
    )


def _same_row(id: sa.ColumnElement[str], table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Join a step to the turn that names it by its id; both are of one owner."""
    return sa.and_(table.c.id == id, table.c.owner_id == turns.c.owner_id)


def load_turn(connection: Connection, owner_id: str, turn_id: str) -> Turn:
    """Read one turn of this owner; raises `NotFound`."""
    statement = select_turns().where(turns.c.id == turn_id, turns.c.owner_id == owner_id)
    row = connection.execute(statement).first()
    if row is None:
        raise NotFound(NO_TURN)
    return turn_of(row)


def turn_of(row: AnyRow) -> Turn:
    """Read a row of `select_turns`."""
    return Turn(
        id=row.id,
        thread_id=row.thread_id,
        owner_id=row.owner_id,
        parent_id=row.parent_turn_id,
        key=row.key,
        state=TurnState(row.state),
        text=row.user_text,
        model=row.model,
        sampling=sampling_of(row.sampling),
        system_prompt=row.system_prompt,
        user_step_id=row.user_step_id,
        answer_step_id=row.answer_step_id,
        fence=row.fence,
        stop_requested=row.stop_requested,
        created_at=row.created_at,
        answer=_answer_of(row),
        extras=extras_of(row.extras),
        request_id=row.request_id or "",
    )


def _answer_of(row: AnyRow) -> Answer:
    return Answer(
        state=TurnState(row.state),
        text=row.answer_text,
        reasoning=row.answer_reasoning,
        seq=row.answer_seq or 0,
        finish_reason=FinishReason(row.finish_reason) if row.finish_reason else None,
        usage=Usage(**row.usage) if row.usage else None,
        attempts=tuple(AttemptRecord(**attempt) for attempt in row.attempts or ()),
        receipt=row.receipt,
        error_code=row.error_code,
        error_message=row.error_message,
        time_to_first_chunk_ms=row.time_to_first_chunk_ms,
        duration_ms=row.duration_ms,
        ended_at=row.ended_at,
        tools=uses_of(row.tools),
    )


def tool_columns(uses: Sequence[ToolUse]) -> dict[str, Any]:
    """What a turn's row says of the tools that it used."""
    return {
        "tools": [asdict(use) for use in uses] or None,
        "tools_chars": sum(use.chars for use in uses) or None,
    }


def uses_of(stored: Sequence[Mapping[str, Any]] | None) -> tuple[ToolUse, ...]:
    """Read the tools that a turn used as `tool_columns` stored them."""
    return msgspec.convert(stored or (), tuple[ToolUse, ...])


def exchange_of(row: AnyRow) -> Exchange:
    """Read a turn as context."""
    return Exchange(
        row.id, row.parent_turn_id, row.user_text, row.answer_text, tools=uses_of(row.tools)
    )


def turn_columns(answer: Answer) -> dict[str, Any]:
    """What an ended turn's row says of its answer."""
    return {
        "state": answer.state.value,
        "attempts": msgspec.to_builtins(list(answer.attempts)),
        "usage": msgspec.to_builtins(answer.usage),
        "receipt": dict(answer.receipt) if answer.receipt is not None else None,
        "finish_reason": answer.finish_reason.value if answer.finish_reason else None,
        "error_code": answer.error_code,
        "error_message": answer.error_message,
        "time_to_first_chunk_ms": answer.time_to_first_chunk_ms,
        "duration_ms": answer.duration_ms,
        "ended_at": answer.ended_at,
        **tool_columns(answer.tools),
    }


def sampling_of(stored: Mapping[str, Any]) -> Sampling:
    """Read sampling options as they are stored."""
    return Sampling(**{**stored, "stop": tuple(stored["stop"])})


def read_portions(
    connection: Connection,
    statement: sa.Select[*tuple[Any, ...]],
    key: Mapping[str, Any],
    step_ids: Collection[str],
) -> Iterator[AnyRow]:
    """Read the rows of these steps: as many ids in a statement as every database takes."""
    ids = sorted(step_ids)
    for at in range(0, len(ids), _PORTION):
        yield from connection.execute(statement, {**key, "steps": ids[at : at + _PORTION]})
