"""Feedback: what a user thinks of an answer, one for a step and user.

Only what one owns can be rated: the step's owner is in the statement.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from chainlit.types import FeedbackDict
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from data_layer.database import Database
from data_layer.rows import AnyRow, read_portions
from data_layer.storable import uuid_or_none
from data_layer.tables import feedbacks, steps, threads
from data_layer.writer import Writer
from parley.chat.errors import InvalidRequest, NotFound, TooLarge
from parley.chat.messages import storable_text

LARGEST_COMMENT = 10_000
_NO_STEP = "There is no such message to rate."


@dataclass(frozen=True, slots=True)
class Rating:
    """What a user says of a step: `value` is 1 for good and 0 for bad.

    `feedback_id` finds what was said before, where `step_id` names no step.
    """

    step_id: str
    value: int
    comment: str | None = None
    feedback_id: str | None = None


def _rated_step() -> sa.Select[*tuple[Any, ...]]:
    """Find the step that is meant, where it is the owner's and still there."""
    return (
        sa.select(
            sa.bindparam("id", type_=feedbacks.c.id.type),
            steps.c.thread_id,
            steps.c.id,
            steps.c.owner_id,
            sa.bindparam("value", type_=sa.Integer),
            sa.bindparam("comment", type_=sa.Text),
            sa.bindparam("now", type_=feedbacks.c.created_at.type),
        )
        .join(threads, threads.c.id == steps.c.thread_id)
        .where(
            steps.c.id == sa.bindparam("for_id"),
            steps.c.owner_id == sa.bindparam("owner"),
            threads.c.owner_id == sa.bindparam("owner"),
            threads.c.deleted_at.is_(None),
        )
    )


def _rate_statement(dialect: Any) -> sa.Executable:
    columns = ["id", "thread_id", "step_id", "owner_id", "value", "comment", "created_at"]
    insert = dialect.insert(feedbacks).from_select(columns, _rated_step())
    statement: sa.Executable = insert.on_conflict_do_update(
        index_elements=[feedbacks.c.step_id, feedbacks.c.owner_id],
        set_={"value": insert.excluded.value, "comment": insert.excluded.comment},
        where=feedbacks.c.owner_id == insert.excluded.owner_id,
    ).returning(feedbacks.c.id)
    return statement


_RATE = {"sqlite": _rate_statement(sqlite), "postgresql": _rate_statement(postgresql)}
_MINE = sa.and_(
    feedbacks.c.id == sa.bindparam("feedback"), feedbacks.c.owner_id == sa.bindparam("owner")
)
_CHANGE = (
    sa.update(feedbacks)
    .where(_MINE)
    .values(value=sa.bindparam("rated"), comment=sa.bindparam("said"))
    .returning(feedbacks.c.id)
)
_DELETE = sa.delete(feedbacks).where(_MINE).returning(feedbacks.c.id)
_OF_THREAD = sa.select(feedbacks).where(
    feedbacks.c.thread_id == sa.bindparam("thread"),
    feedbacks.c.owner_id == sa.bindparam("owner"),
    feedbacks.c.value.in_((0, 1)),  # all there is: with it the index goes down to the thread
)
_OF_STEPS = sa.select(feedbacks).where(
    feedbacks.c.owner_id == sa.bindparam("owner"),
    feedbacks.c.step_id.in_(sa.bindparam("steps", expanding=True)),
)


class SqlFeedbacks:
    """Feedback of one owner at a time; another's and a missing one look the same."""

    def __init__(self, database: Database, writer: Writer) -> None:
        """Read through `database`, write through `writer`; closes neither."""
        self._database = database
        self._writer = writer

    async def rate(self, owner_id: str, rating: Rating) -> str:
        """Keep a rating in place of an earlier one, and give its id.

        Raises `NotFound` for a step that is not the owner's, `InvalidRequest` and `TooLarge`.
        """
        checked = _checked(rating)
        return await self._writer.write(lambda connection: _rate(connection, owner_id, checked))

    async def delete(self, owner_id: str, feedback_id: str) -> bool:
        """Take a rating back; False where there is none of this id."""
        mine = {"feedback": uuid_or_none(feedback_id), "owner": owner_id}
        if mine["feedback"] is None:
            return False
        found = await self._writer.write(
            lambda connection: connection.execute(_DELETE, mine).first()
        )
        return found is not None


def feedback_of(
    connection: Connection, owner_id: str, thread_id: str, step_ids: Collection[str] | None = None
) -> Mapping[str, FeedbackDict]:
    """Read an owner's ratings in a thread, by step: those of `step_ids`, all with None."""
    key = {"thread": thread_id, "owner": owner_id}
    if step_ids is None:
        rows: Iterable[AnyRow] = connection.execute(_OF_THREAD, key)
    else:
        rows = read_portions(connection, _OF_STEPS, key, step_ids)
    return {
        row.step_id: FeedbackDict(
            id=row.id, forId=row.step_id, value=row.value, comment=row.comment
        )
        for row in rows
    }


def _checked(rating: Rating) -> Rating:
    if isinstance(rating.value, bool) or rating.value not in (0, 1):
        raise InvalidRequest("The value of feedback is 0 or 1.")
    comment = storable_text(rating.comment) if rating.comment else None
    if comment and len(comment) > LARGEST_COMMENT:
        raise TooLarge(f"A comment has at most {LARGEST_COMMENT} characters.")
    return Rating(
        step_id=uuid_or_none(rating.step_id) or "",
        value=int(rating.value),
        comment=comment,
        feedback_id=uuid_or_none(rating.feedback_id),
    )


def _rate(connection: Connection, owner_id: str, rating: Rating) -> str:
    row = None
    if rating.step_id:
        row = connection.execute(
            _RATE[connection.dialect.name],
            {
                "for_id": rating.step_id,
                "owner": owner_id,
                "id": str(uuid4()),
                "value": rating.value,
                "comment": rating.comment,
                "now": datetime.now(UTC),
            },
        ).first()
    if row is None and rating.feedback_id:
        change = {"rated": rating.value, "said": rating.comment}
        mine = {"feedback": rating.feedback_id, "owner": owner_id}
        row = connection.execute(_CHANGE, {**mine, **change}).first()
    if row is None:
        raise NotFound(_NO_STEP)
    return str(row.id)
