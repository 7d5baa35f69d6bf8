"""Opened: what a thread shows, read in a bounded number of statements and in small portions.

Shown are the turns of the chosen branch and the steps that no turn owns. Rows are read and turned
into dictionaries portion by portion: on PostgreSQL this runs in the event loop, which is free
again after each of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from chainlit.step import StepDict
from chainlit.types import FeedbackDict, ThreadDict
from sqlalchemy.engine import Connection

from data_layer.branches import branch_of
from data_layer.element_dicts import element_dict
from data_layer.elements import elements_of
from data_layer.feedbacks import feedback_of
from data_layer.step_dicts import MESSAGE_TYPES, OF_NO_TURN, SHOWN_COLUMNS, shown_steps, thread_dict
from data_layer.step_tree import last_messages, parents_first
from data_layer.tables import steps, threads, turns
from parley.chat.turns import Owner

_PORTION = 200
_NO_LIMIT = 2**31 - 1
# A turn has two messages.
_MESSAGES_OF_A_TURN = 2

# Made once: building a statement costs more than running it.
_FIND_THREAD = sa.select(threads).where(
    threads.c.id == sa.bindparam("thread"),
    threads.c.owner_id == sa.bindparam("owner"),
    threads.c.deleted_at.is_(None),
)


def _turn_steps_statement() -> sa.Select[*tuple[Any, ...]]:
    branch = branch_of(
        sa.bindparam("head", type_=turns.c.id.type),
        sa.bindparam("owner", type_=turns.c.owner_id.type),
        sa.bindparam("most_turns", type_=sa.Integer),
        "error_message",
        "request_id",
        "state",
        "tools",
    )
    return (
        sa.select(
            *SHOWN_COLUMNS,
            steps.c.reasoning,
            branch.c.error_message,
            branch.c.request_id,
            branch.c.state,
            branch.c.tools,
            branch.c.id.label("turn_id"),
        )
        .select_from(branch.join(steps, steps.c.turn_id == branch.c.id))
        .where(steps.c.owner_id == sa.bindparam("owner"))
        .execution_options(yield_per=_PORTION)
    )


_TURN_STEPS = _turn_steps_statement()
_FREE_STEPS = (
    sa.select(*SHOWN_COLUMNS, *OF_NO_TURN)
    .where(
        steps.c.thread_id == sa.bindparam("thread"),
        steps.c.owner_id == sa.bindparam("owner"),
        steps.c.turn_id.is_(None),
        steps.c.arrival >= sa.bindparam("first_arrival"),
    )
    .order_by(steps.c.arrival.desc(), steps.c.ordinal.desc())
    .limit(sa.bindparam("most_steps", type_=sa.Integer))
    .execution_options(yield_per=_PORTION)
)


class _Shown(NamedTuple):
    """A row as it is shown, and its place in the thread's time."""

    created_at: str
    arrival: int
    ordinal: int
    steps: list[StepDict]


_place = itemgetter(0, 1, 2)
_arrival = itemgetter(1, 2)


def open_thread(
    connection: Connection, owner: Owner, thread_id: str, most_messages: int | None
) -> ThreadDict | None:
    """Read a thread at its last messages, all with None; None for a thread that is not theirs."""
    key: dict[str, Any] = {"thread": thread_id, "owner": owner.id}
    row = connection.execute(_FIND_THREAD, key).first()
    if row is None:
        return None
    key |= {
        "head": row.head_turn_id,
        "most_turns": _NO_LIMIT if most_messages is None else most_messages // _MESSAGES_OF_A_TURN,
        "most_steps": _NO_LIMIT if most_messages is None else most_messages,
    }
    shown = list(_in_turns(connection, key)) if row.head_turn_id else []
    # Where the window is full, older steps are out of sight whoever made them.
    first = shown[0].arrival if most_messages and len(shown) >= most_messages else 0
    shown += _read(connection, _FREE_STEPS, key | {"first_arrival": first})
    shown.sort(key=_place)
    in_time = [step for one in shown for step in one.steps]
    if most_messages is not None:
        in_time = last_messages(in_time, most_messages, MESSAGE_TYPES)
    seen = None if most_messages is None else {step["id"] for step in in_time}
    _add_feedback(in_time, feedback_of(connection, owner.id, thread_id, seen))
    attached = [element_dict(row) for row in elements_of(connection, owner.id, thread_id, seen)]
    return thread_dict(row, owner, parents_first(in_time), attached)


def _in_turns(connection: Connection, key: Mapping[str, Any]) -> Iterator[_Shown]:
    """Read the steps of turns; these come in their order, whatever their clocks say."""
    latest = ""
    # Sorted here: the database would carry every text through its sort.
    for one in sorted(_read(connection, _TURN_STEPS, key), key=_arrival):
        latest = max(latest, one.created_at)
        yield one._replace(created_at=latest) if latest != one.created_at else one


def _read(
    connection: Connection, statement: sa.Select[*tuple[Any, ...]], key: Mapping[str, Any]
) -> Iterator[_Shown]:
    thread_id = key["thread"]
    for rows in connection.execute(statement, key).partitions():
        for row in rows:
            shown = shown_steps(row, thread_id)
            yield _Shown(row.created_at, row.arrival, row.ordinal, shown)


def _add_feedback(shown: Iterable[StepDict], feedback: Mapping[str, FeedbackDict]) -> None:
    for step in shown if feedback else ():
        if step["id"] in feedback:
            step["feedback"] = feedback[step["id"]]
