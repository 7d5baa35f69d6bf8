"""Steps that Chainlit makes: created, updated and deleted in any order, marked as favourites.

The order of locks is the thread, then the step. A step of a turn is the engine's: of it only the
favourite's mark changes here. Another's step is a missing one.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from chainlit.step import StepDict
from sqlalchemy.engine import Connection

from data_layer.begin import insert_or_ignore
from data_layer.database import Database
from data_layer.rows import AnyRow
from data_layer.step_dicts import OF_NO_TURN, SHOWN_COLUMNS, StepWrite, shown_steps
from data_layer.step_merge import changed, inserted
from data_layer.tables import elements, steps, threads
from data_layer.thread_lock import all_or_nothing, lock_thread, new_thread
from data_layer.tombstones import bury, is_buried, lock_id
from data_layer.writer import Writer
from parley.chat.errors import NotFound
from parley.chat.requests import thread_name
from parley.chat.turns import Owner

_NO_STEP = "There is no such step."
_MOST_FAVORITES = 200
# Made once: building a statement costs more than running it.
_FIND = (
    sa.select(steps)
    .where(steps.c.id == sa.bindparam("step"), steps.c.owner_id == sa.bindparam("owner"))
    .with_for_update(of=steps)
)
# The thread's last place, and its last activity, which never goes back.
_PLACE = (
    sa.update(threads)
    .where(threads.c.id == sa.bindparam("thread"), threads.c.owner_id == sa.bindparam("owner"))
    .values(
        last_arrival=sa.bindparam("arrival"),
        last_active_at=sa.bindparam("now"),
        name=sa.case(
            (threads.c.name == "", sa.bindparam("title", type_=sa.Text)), else_=threads.c.name
        ),
    )
)
_MARK = (
    sa.update(steps)
    .where(steps.c.id == sa.bindparam("step"), steps.c.owner_id == sa.bindparam("owner"))
    .values(favorite_at=sa.bindparam("moment"))
    .returning(steps.c.id)
)
_FAVORITES = (
    sa.select(*SHOWN_COLUMNS, steps.c.thread_id, *OF_NO_TURN)
    .where(steps.c.owner_id == sa.bindparam("owner"), steps.c.favorite_at.is_not(None))
    .order_by(steps.c.favorite_at.desc())
    .limit(_MOST_FAVORITES)
)


class SqlSteps:
    """Steps of one owner at a time; another's and a missing one raise the same `NotFound`."""

    def __init__(self, database: Database, writer: Writer) -> None:
        """Read through `database`, write through `writer`; closes neither."""
        self._database = database
        self._writer = writer

    async def write(self, owner: Owner, write: StepWrite) -> None:
        """Do what a create or an update says, as far as nothing newer has said otherwise.

        Raises `NotFound` for a step or a thread that is another's or was deleted.
        """
        await self._writer.write(lambda connection: _write(connection, owner, write))

    async def delete(self, owner: Owner, step_id: str) -> Sequence[str]:
        """Delete a step and all below it; one that is still to be created will not be.

        Gives the keys of the bytes that its elements had, to be discarded now.
        """
        return await self._writer.write(lambda connection: _delete(connection, owner, step_id))

    async def set_favorite(self, owner_id: str, step_id: str, *, favorite: bool) -> None:
        """Mark a step, also one of a turn, or take the mark away."""
        moment = datetime.now(UTC) if favorite else None
        marked = {"step": step_id, "owner": owner_id, "moment": moment}
        if await self._writer.write(lambda connection: connection.execute(_MARK, marked).first()):
            return
        raise NotFound(_NO_STEP)

    async def favorites(self, owner_id: str) -> list[StepDict]:
        """Read the marked steps, the newest mark first."""
        rows = await self._database.read(
            lambda connection: connection.execute(_FAVORITES, {"owner": owner_id}).all()
        )
        return [step for row in rows for step in shown_steps(row, row.thread_id)]


def _write(connection: Connection, owner: Owner, write: StepWrite) -> None:
    now = datetime.now(UTC)
    thread = lock_thread(connection, owner.id, write.thread_id)
    lock_id(connection, write.id)
    if is_buried(connection, owner.id, write.id):
        return
    row = connection.execute(_FIND, {"step": write.id, "owner": owner.id}).first()
    if row is not None:
        if row.thread_id != write.thread_id:
            raise NotFound(_NO_STEP)
        _change(connection, row, changed(row, write, now))
        return
    with all_or_nothing(connection, thread):
        thread = thread or new_thread(connection, owner, write.thread_id, now)
        _insert(connection, owner, write, now, thread.last_arrival + 1 if thread else 1)


def _insert(
    connection: Connection, owner: Owner, write: StepWrite, now: datetime, arrival: int
) -> None:
    """Insert a step at the end of its thread; `NotFound` for an id that is another's."""
    values = {
        **inserted(write, now),
        "id": write.id,
        "thread_id": write.thread_id,
        "owner_id": owner.id,
        "arrival": arrival,
        "ordinal": 0,
        "reasoning": "",
    }
    if connection.execute(insert_or_ignore(connection, steps), values).rowcount == 0:
        raise NotFound(_NO_STEP)
    place = {"thread": write.thread_id, "owner": owner.id, "arrival": arrival, "now": now}
    connection.execute(_PLACE, {**place, "title": _title(write)})


def _title(write: StepWrite) -> str:
    """Name a thread that has no name yet, by what its user says."""
    is_question = write.values.get("type") == "user_message"
    return thread_name(write.values.get("output", "")) if is_question else ""


def _change(connection: Connection, row: AnyRow, values: dict[str, Any]) -> None:
    if values:
        mine = sa.and_(steps.c.id == row.id, steps.c.owner_id == row.owner_id)
        connection.execute(sa.update(steps).where(mine).values(values))


def _delete(connection: Connection, owner: Owner, step_id: str) -> list[str]:
    now = datetime.now(UTC)
    lock_id(connection, step_id)
    row = connection.execute(_FIND, {"step": step_id, "owner": owner.id}).first()
    if row is not None and row.turn_id is not None:
        return []
    bury(connection, owner, step_id, now)
    if row is None:
        return []
    below = _below(connection, row)
    for id in below:
        bury(connection, owner, id, now)
    gone = [step_id, *below]
    deleted = connection.execute(
        sa.delete(elements)
        .where(elements.c.owner_id == owner.id, elements.c.step_id.in_(gone))
        .returning(elements.c.object_key)
    )
    keys = [key for key in deleted.scalars() if key]
    mine = sa.and_(steps.c.owner_id == owner.id, steps.c.id.in_(gone), steps.c.turn_id.is_(None))
    connection.execute(sa.delete(steps).where(mine))
    return keys


def _below(connection: Connection, row: AnyRow) -> list[str]:
    """Find what hangs below a step, however deep: without it, it would lie about in the open."""
    inside = sa.and_(
        steps.c.thread_id == row.thread_id,
        steps.c.owner_id == row.owner_id,
        steps.c.turn_id.is_(None),
    )
    below = sa.select(steps.c.id).where(inside, steps.c.parent_id == row.id).cte(recursive=True)
    child = sa.select(steps.c.id).join(below, steps.c.parent_id == below.c.id).where(inside)
    found = connection.execute(sa.select(below.union(child).c.id)).scalars()
    return [id for id in found if id != row.id]
