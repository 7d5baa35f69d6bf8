"""Thread lock: a thread's row, held by the write that adds to it, or made by the first of them.

Chainlit's writes begin a thread in any order: a step, an element or the thread's own name may be
the first that is heard of it. Deleted threads stay deleted, and another's is a missing one.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.begin import ensure_user
from data_layer.rows import AnyRow
from data_layer.tables import threads
from parley.chat.errors import NotFound
from parley.chat.turns import Owner

_LOCK = sa.select(threads).where(threads.c.id == sa.bindparam("thread")).with_for_update()


def lock_thread(connection: Connection, owner_id: str, thread_id: str) -> AnyRow | None:
    """Lock a thread; None where there is none yet, `NotFound` for a foreign or deleted one."""
    row = connection.execute(_LOCK, {"thread": thread_id}).first()
    if row is not None and (row.owner_id != owner_id or row.deleted_at is not None):
        raise NotFound("There is no such conversation.")
    return row


def new_thread(
    connection: Connection, owner: Owner, thread_id: str, now: datetime, **values: Any
) -> None:
    """Insert a thread, and its owner the first time.

    Where another was faster the constraint refuses it, and the writer runs all of it again.
    """
    ensure_user(connection, owner, now)
    row = {"name": "", "metadata": {}, "last_arrival": 0, **values}
    connection.execute(
        sa.insert(threads).values(
            id=thread_id, owner_id=owner.id, created_at=now, last_active_at=now, **row
        )
    )
