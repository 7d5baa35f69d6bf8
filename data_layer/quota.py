"""Quota: no user fills the disk for all others.

Counted is what the rows of an owner say: the same content twice is kept once, and counts once.
"""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.storage import Quota, StoredObject
from data_layer.tables import elements
from data_layer.tombstones import lock_id
from parley.chat.errors import TooLarge

_KEPT = (
    sa.select(elements.c.object_key, sa.func.max(elements.c.size_bytes).label("size_bytes"))
    .where(
        elements.c.owner_id == sa.bindparam("owner"),
        elements.c.object_key != sa.bindparam("key"),
        elements.c.id != sa.bindparam("element", type_=elements.c.id.type),
    )
    .group_by(elements.c.object_key)
    .subquery()
)
_KEPT_BYTES = sa.select(sa.func.coalesce(sa.func.sum(_KEPT.c.size_bytes), 0))
_NOTHING = StoredObject("", 0)


def check_room(
    connection: Connection,
    owner_id: str,
    quota: Quota,
    element_id: str,
    new: StoredObject = _NOTHING,
) -> None:
    """Raise `TooLarge` where the owner's files and this element's new one are too much.

    Without the new one: where there is no room for any.
    """
    if new is not _NOTHING:
        lock_id(connection, owner_id)  # two servers would each see room for theirs
    kept = {"owner": owner_id, "key": new.key, "element": element_id}
    total = int(connection.execute(_KEPT_BYTES, kept).scalar_one()) + new.size_bytes
    if total > quota.limit_bytes or (new is _NOTHING and total == quota.limit_bytes):
        raise TooLarge(
            f"Your files would take more than {quota.limit_bytes} bytes in all ({quota.limit_name})."
            " Delete a conversation with files that you do not need any more."
        )
