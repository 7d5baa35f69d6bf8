"""Turns in the database: begun, checkpointed, ended, stopped; the `TurnStore` port.

The rules are the database's: one running turn for a thread by a partial unique index, one turn
for a key by a unique constraint, a stale owner by the fence in every statement that writes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from data_layer.begin import begin_turn
from data_layer.branches import branch_of, choose_branch
from data_layer.database import Database
from data_layer.generation import generation_of
from data_layer.rows import (
    NO_TURN,
    exchange_of,
    load_turn,
    select_turns,
    tool_columns,
    turn_columns,
    turn_of,
)
from data_layer.storable import uuid_or_none
from data_layer.tables import QUEUED, RUNNING, steps, threads, turns
from data_layer.writer import Writer
from parley.chat.deltas import FinishReason
from parley.chat.errors import Conflict, NotFound, StaleFence
from parley.chat.turns import Answer, Begun, Exchange, NewTurn, Turn, TurnState, most_walked

_LOST = "the turn has another owner, is over or was deleted"
_queue = turns.alias("queue")
_user, _answer = steps.alias("user"), steps.alias("answer")
_STILL_MINE = sa.and_(
    turns.c.id == sa.bindparam("turn"),
    turns.c.owner_id == sa.bindparam("owner"),
    turns.c.fence == sa.bindparam("my_fence"),
    turns.c.state == RUNNING,
)
# Made once: building a statement costs more than running it.
_CHECKPOINT = (
    sa.update(steps)
    .where(
        steps.c.id == sa.bindparam("step"),
        steps.c.owner_id == sa.bindparam("owner"),
        sa.exists().where(_STILL_MINE),
    )
    .values(
        output=sa.bindparam("text"),
        reasoning=sa.bindparam("thinking"),
        seq=sa.bindparam("seen_seq"),
    )
)
_KEEP_RECEIPT = (
    sa.update(turns)
    .where(_STILL_MINE)
    .values(receipt=sa.bindparam("seen", type_=turns.c.receipt.type))
)
_KEEP_TOOLS = (
    sa.update(turns)
    .where(_STILL_MINE)
    .values({name: sa.bindparam(name, type_=turns.c[name].type) for name in tool_columns(())})
)
_END_TURN = (
    sa.update(turns)
    .where(_STILL_MINE)
    .values({name: sa.bindparam(name) for name in turn_columns(Answer())})
    .returning(
        # By values, and not by the columns of the turn: SQLAlchemy writes columns without their
        # table where SQLite returns them, and each would be compared with itself.
        sa.select(sa.func.count())
        .where(
            _queue.c.thread_id == sa.bindparam("thread", type_=turns.c.thread_id.type),
            _queue.c.owner_id == sa.bindparam("owner"),
            _queue.c.state.in_((RUNNING, QUEUED)),  # the words of the partial index
            _queue.c.state == QUEUED,
        )
        .scalar_subquery()
        .label("waiting")
    )
)
_STEP_END_COLUMNS = ("output", "reasoning", "is_error", "generation", "ended_at")
_END_STEP = (
    sa.update(steps)
    .where(steps.c.id == sa.bindparam("step"), steps.c.owner_id == sa.bindparam("owner"))
    .values({name: sa.bindparam(name) for name in _STEP_END_COLUMNS})
)
# The first statement of an end: it locks the thread, so that a turn which is begun now either sees
# this one as over or is seen in the queue.
_TOUCH_THREAD = (
    sa.update(threads)
    .where(
        threads.c.id == sa.bindparam("thread"),
        threads.c.owner_id == sa.bindparam("owner"),
        sa.exists().where(_STILL_MINE),
    )
    .values(last_active_at=sa.bindparam("now"))
)


class SqlTurnStore:
    """The `TurnStore` of both databases; see the port for what each method promises."""

    def __init__(self, database: Database, writer: Writer) -> None:
        """Read through `database`, write through `writer`; closes neither."""
        self._database = database
        self._writer = writer

    async def begin(self, new: NewTurn) -> Begun:  # noqa: D102 - the port says it
        try:
            return await self._writer.write(lambda connection: begin_turn(connection, new))
        except IntegrityError:
            raise Conflict("The id of this message is taken. Send it with a new one.") from None

    async def choose_branch(self, owner_id: str, thread_id: str, turn_id: str) -> str:  # noqa: D102
        return await self._writer.write(
            lambda connection: choose_branch(connection, owner_id, thread_id, turn_id)
        )

    async def checkpoint(self, turn: Turn, answer: Answer) -> None:  # noqa: D102
        await self._writer.write(lambda connection: _checkpoint(connection, turn, answer))

    async def finish(self, turn: Turn, answer: Answer) -> Turn | None:  # noqa: D102
        return await self._writer.write(lambda connection: _finish(connection, turn, answer))

    async def request_stop(self, owner_id: str, turn_id: str) -> Turn:  # noqa: D102
        id = _known_id(turn_id)
        return await self._writer.write(lambda connection: _stop(connection, owner_id, id))

    async def turn(self, owner_id: str, turn_id: str) -> Turn:  # noqa: D102
        id = _known_id(turn_id)
        return await self._database.read(lambda connection: load_turn(connection, owner_id, id))

    async def turn_of_step(self, owner_id: str, step_id: str) -> str:  # noqa: D102
        id = _known_id(step_id)
        statement = sa.select(steps.c.turn_id).where(
            steps.c.id == id, steps.c.owner_id == owner_id, steps.c.turn_id.is_not(None)
        )
        found = await self._database.read(lambda connection: connection.execute(statement).scalar())
        if found is None:
            raise NotFound(NO_TURN)
        return str(found)

    async def running(self, owner_id: str, thread_id: str) -> Turn | None:  # noqa: D102
        return await self._database.read(
            lambda connection: _running(connection, owner_id, thread_id)
        )

    async def live(self, owner_id: str, thread_id: str) -> Sequence[Turn]:  # noqa: D102
        statement = (
            select_turns()
            .where(
                turns.c.thread_id == thread_id,
                turns.c.owner_id == owner_id,
                turns.c.state.in_((RUNNING, QUEUED)),
            )
            .order_by(turns.c.arrival)
        )
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return [turn_of(row) for row in rows]

    async def owns_thread(self, owner_id: str, thread_id: str) -> bool:  # noqa: D102
        statement = sa.select(threads.c.id).where(
            threads.c.id == thread_id,
            threads.c.owner_id == owner_id,
            threads.c.deleted_at.is_(None),
        )
        found = await self._database.read(lambda connection: connection.execute(statement).first())
        return found is not None

    async def history(  # noqa: D102
        self, owner_id: str, turn_id: str, limit: int, limit_chars: int
    ) -> Sequence[Exchange]:
        return await self._database.read(
            lambda connection: _history(connection, owner_id, turn_id, limit, limit_chars)
        )

    async def exchanges(  # noqa: D102
        self, owner_id: str, turn_ids: Sequence[str]
    ) -> Sequence[Exchange]:
        statement = _exchanges(turns, owner_id).where(
            turns.c.owner_id == owner_id, turns.c.id.in_(turn_ids)
        )
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return [exchange_of(row) for row in rows]


def _known_id(text: str) -> str:
    """Give an id as the databases take it; what cannot be one leads to nothing: `NotFound`."""
    if (id := uuid_or_none(text)) is None:
        raise NotFound(NO_TURN)
    return id


def _mine(turn: Turn) -> dict[str, Any]:
    return {"turn": turn.id, "owner": turn.owner_id, "my_fence": turn.fence}


def _checkpoint(connection: Connection, turn: Turn, answer: Answer) -> None:
    saved = connection.execute(
        _CHECKPOINT,
        _mine(turn)
        | {
            "step": turn.answer_step_id,
            "text": answer.text,
            "thinking": answer.reasoning,
            "seen_seq": answer.seq,
        },
    )
    if saved.rowcount == 0:
        raise StaleFence(_LOST)
    if answer.receipt is not None:
        connection.execute(_KEEP_RECEIPT, _mine(turn) | {"seen": dict(answer.receipt)})
    if answer.tools:
        connection.execute(_KEEP_TOOLS, _mine(turn) | tool_columns(answer.tools))


def _finish(connection: Connection, turn: Turn, answer: Answer) -> Turn | None:
    touched = connection.execute(
        _TOUCH_THREAD, _mine(turn) | {"thread": turn.thread_id, "now": answer.ended_at}
    )
    if touched.rowcount == 0:
        return _finished_before(connection, turn, answer)
    end = _mine(turn) | {"thread": turn.thread_id} | turn_columns(answer)
    ended = connection.execute(_END_TURN, end).first()
    if ended is None:  # taken over since the statement before, which changed only a time
        raise StaleFence(_LOST)  # pragma: no cover - needs a second replica at this very moment
    step = {
        "step": turn.answer_step_id,
        "owner": turn.owner_id,
        "output": answer.text,
        "reasoning": answer.reasoning,
        "is_error": answer.state is TurnState.FAILED,
        "generation": generation_of(turn, answer),
        "ended_at": answer.ended_at,
    }
    connection.execute(_END_STEP, step)
    for _ in range(ended.waiting):  # once, but for one that is stopped at this moment
        if promoted := _promote(connection, turn):
            return promoted
    return None


def _finished_before(connection: Connection, turn: Turn, answer: Answer) -> Turn | None:
    """Answer an end whose commit was not heard of; raises `StaleFence` for any other."""
    same_end = sa.select(turns.c.replica_id).where(
        turns.c.id == turn.id,
        turns.c.owner_id == turn.owner_id,
        turns.c.fence == turn.fence,
        turns.c.state == answer.state.value,
        turns.c.ended_at == answer.ended_at,
    )
    replica_id = connection.execute(same_end).scalar()
    if replica_id is None:
        raise StaleFence(_LOST)
    # Of what runs now, only a turn that came out of the queue may not have been heard of, and only
    # by the replica that it is to run on.
    return _running(
        connection,
        turn.owner_id,
        turn.thread_id,
        turns.c.started_at != turns.c.created_at,
        turns.c.replica_id == replica_id,
    )


def _promote(connection: Connection, ended: Turn) -> Turn | None:
    """Let the turn that waits longest in the thread run."""
    queue, over = turns.alias("queue"), turns.alias("over")
    longest = (
        sa.select(queue.c.id)
        .where(
            queue.c.thread_id == ended.thread_id,
            queue.c.owner_id == ended.owner_id,
            queue.c.state == QUEUED,
        )
        .order_by(queue.c.arrival)
        .limit(1)
        .scalar_subquery()
    )
    promoted = connection.execute(
        sa.update(turns)
        .where(
            turns.c.id == longest,
            turns.c.owner_id == ended.owner_id,
            turns.c.state == QUEUED,
        )
        .values(
            state=TurnState.RUNNING.value,
            started_at=_now(),
            # Whoever ended the one before it runs it, wherever it was begun.
            replica_id=sa.select(over.c.replica_id)
            .where(over.c.id == ended.id, over.c.owner_id == ended.owner_id)
            .scalar_subquery(),
        )
        .returning(turns.c.id)
    ).scalar()
    return load_turn(connection, ended.owner_id, promoted) if promoted else None


def _running(
    connection: Connection, owner_id: str, thread_id: str, *conditions: sa.ColumnElement[bool]
) -> Turn | None:
    statement = select_turns().where(
        turns.c.thread_id == thread_id,
        turns.c.owner_id == owner_id,
        turns.c.state == RUNNING,
        *conditions,
    )
    row = connection.execute(statement).first()
    return turn_of(row) if row else None


def _stop(connection: Connection, owner_id: str, turn_id: str) -> Turn:
    """Flag a running turn; end a queued one, which nobody else will."""
    queued = turns.c.state == QUEUED
    connection.execute(
        sa.update(turns)
        .where(
            turns.c.id == turn_id,
            turns.c.owner_id == owner_id,
            turns.c.state.in_((RUNNING, QUEUED)),
        )
        .values(
            stop_requested=True,
            state=sa.case((queued, TurnState.STOPPED.value), else_=turns.c.state),
            finish_reason=sa.case((queued, FinishReason.STOPPED.value), else_=None),
            ended_at=sa.case((queued, _now()), else_=None),
        )
    )
    return load_turn(connection, owner_id, turn_id)


def _history(
    connection: Connection, owner_id: str, turn_id: str, limit: int, limit_chars: int
) -> Sequence[Exchange]:
    columns = ("user_step_id", "answer_step_id", "tools", "tools_chars")
    branch = branch_of(turn_id, owner_id, most_walked(limit), *columns)
    # Texts are measured where they are, so that what is too long never leaves the database.
    said = (
        sa.func.length(_user.c.output)
        + sa.func.length(_answer.c.output)
        + sa.func.coalesce(branch.c.tools_chars, 0)
    )
    is_answered = sa.case((_answer.c.output != "", 1), else_=0)
    measured = (
        _exchanges(branch, owner_id)
        .add_columns(
            branch.c.depth,
            sa.func.sum(said).over(order_by=branch.c.depth).label("chars"),
            sa.func.sum(is_answered).over(order_by=branch.c.depth).label("answered"),
        )
        .subquery("measured")
    )
    rows = connection.execute(
        sa.select(*list(measured.c)[:5])
        .where(measured.c.chars <= limit_chars, measured.c.answered <= limit)
        .order_by(measured.c.depth.desc())
    )
    return [exchange_of(row) for row in rows]


def _exchanges(source: sa.FromClause, owner_id: str) -> sa.Select[*tuple[Any, ...]]:
    """Select turns of `source`; `exchange_of` reads such a row."""
    return sa.select(
        source.c.id,
        source.c.parent_turn_id,
        _user.c.output.label("user_text"),
        _answer.c.output.label("answer_text"),
        source.c.tools,
    ).select_from(
        source.join(
            _user, sa.and_(_user.c.id == source.c.user_step_id, _user.c.owner_id == owner_id)
        ).join(
            _answer,
            sa.and_(_answer.c.id == source.c.answer_step_id, _answer.c.owner_id == owner_id),
        )
    )


def _now() -> datetime:
    return datetime.now(UTC)
