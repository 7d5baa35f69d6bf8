"""Tombstones: what was deleted does not come back by a write that comes after.

They are an owner's own: nobody can bury what is another's.
"""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.begin import ensure_user, insert_or_ignore
from data_layer.tables import tombstones
from parley.chat.turns import Owner

_LOCK_ID = sa.select(sa.func.pg_advisory_xact_lock(sa.bindparam("number", type_=sa.BigInteger)))
_BURIED = sa.select(tombstones.c.id).where(
    tombstones.c.owner_id == sa.bindparam("owner"), tombstones.c.id == sa.bindparam("buried")
)


def lock_id(connection: Connection, thing_id: str) -> None:
    """Let nobody create a thing while another deletes it; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        number = int.from_bytes(UUID(thing_id).bytes[:8], signed=True)
        connection.execute(_LOCK_ID, {"number": number})


def is_buried(connection: Connection, owner_id: str, thing_id: str) -> bool:
    """Whether the owner deleted this thing."""
    return connection.execute(_BURIED, {"owner": owner_id, "buried": thing_id}).first() is not None


def bury(connection: Connection, owner: Owner, thing_id: str, now: datetime) -> None:
    """Note that the owner deleted this thing, whether it was there or not."""
    ensure_user(connection, owner, now)
    grave = {"owner_id": owner.id, "id": thing_id, "deleted_at": now}
    connection.execute(insert_or_ignore(connection, tombstones), grave)
