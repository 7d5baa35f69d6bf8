"""Thread lock: a thread's row, held by the write that adds to it, or made by the first of them.

Chainlit's writes begin a thread in any order: a step, an element or the thread's own name may be
the first that is heard of it. Deleted threads stay deleted, and another's is a missing one.
"""

from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.begin import ensure_user, insert_or_ignore
from data_layer.rows import AnyRow
from data_layer.tables import threads
from parley.chat.errors import NotFound
from parley.chat.turns import Owner

_NO_THREAD = "There is no such conversation."
_LOCK = (
    sa.select(threads)
    .where(threads.c.id == sa.bindparam("thread"), threads.c.owner_id == sa.bindparam("owner"))
    .with_for_update()
)


def lock_thread(connection: Connection, owner_id: str, thread_id: str) -> AnyRow | None:
    """Lock a thread of this owner; None where they have none yet, `NotFound` for a deleted one."""
    row = connection.execute(_LOCK, {"thread": thread_id, "owner": owner_id}).first()
    if row is not None and row.deleted_at is not None:
        raise NotFound(_NO_THREAD)
    return row


def all_or_nothing(connection: Connection, thread: AnyRow | None) -> AbstractContextManager[object]:
    """Undo what is written in the block if it ends in an error: a thread that it made, too.

    For a thread that is there already the block's own write is the first.
    """
    return connection.begin_nested() if thread is None else nullcontext()


def new_thread(
    connection: Connection, owner: Owner, thread_id: str, now: datetime, **values: Any
) -> AnyRow | None:
    """Insert a thread, and its owner the first time; `NotFound` for an id that is another's.

    Gives the row of another write of the owner that was faster, locked; None where there was none.
    """
    ensure_user(connection, owner, now)
    row = {"name": "", "metadata": {}, "last_arrival": 0, **values}
    created = connection.execute(
        insert_or_ignore(connection, threads),
        {"id": thread_id, "owner_id": owner.id, "created_at": now, "last_active_at": now, **row},
    )
    if created.rowcount:
        return None
    if (faster := lock_thread(connection, owner.id, thread_id)) is None:
        raise NotFound(_NO_THREAD)
    return faster
