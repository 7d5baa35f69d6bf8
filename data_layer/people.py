"""People: the `users` table, for code that must not import Chainlit."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.rows import AnyRow
from data_layer.storable import check_size, storable_json
from data_layer.tables import users
from data_layer.writer import Writer
from parley.chat.identities import Profile
from parley.chat.messages import storable_text

FIND = sa.select(users).where(users.c.identifier == sa.bindparam("name"))


async def put_user(
    writer: Writer, identifier: str, metadata: Mapping[str, Any], user_id: str | None = None
) -> AnyRow:
    """Insert the user where they are new, with this id or one made here; merge the metadata.

    Raises `TooLarge` for metadata that are more than 1 MiB then.
    """
    name, patch = storable_text(identifier), storable_json(metadata)
    return await writer.write(
        lambda connection: _put(connection, user_id or str(uuid4()), name, patch)
    )


def _put(connection: Connection, user_id: str, name: str, patch: dict[str, Any]) -> AnyRow:
    row = connection.execute(FIND.with_for_update(), {"name": name}).first()
    merged = merge(row.metadata if row else {}, patch)
    check_size(merged, "metadata of the user")
    if row is None:
        # Where another was faster the constraint refuses it, and the writer runs all of it again.
        new = {"id": user_id, "identifier": name, "metadata": merged}
        statement = sa.insert(users).values(**new, created_at=datetime.now(UTC))
        return connection.execute(statement.returning(users)).one()
    if merged == row.metadata:
        return row
    changed = sa.update(users).where(users.c.id == row.id).values(metadata=merged)
    return connection.execute(changed.returning(users)).one()


def merge(kept: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Merge metadata as Chainlit means it: None takes a key away."""
    return {key: value for key, value in {**kept, **patch}.items() if value is not None}


def profile_of(metadata: Mapping[str, Any]) -> Profile:
    """Read what a provider said of a user."""
    return Profile(
        name=metadata.get("name", ""),
        email=metadata.get("email", ""),
        picture=metadata.get("picture", ""),
        groups=tuple(metadata.get("groups", ())),
    )
