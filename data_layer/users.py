"""Users: who owns what is kept, found by the identifier that Chainlit knows them by."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from chainlit.user import PersistedUser
from sqlalchemy.engine import Connection

from data_layer.database import Database
from data_layer.rows import AnyRow
from data_layer.storable import check_size, iso, storable_json
from data_layer.tables import users
from data_layer.writer import Writer
from parley.chat.messages import storable_text
from parley.chat.turns import Owner

_FIND = sa.select(users).where(users.c.identifier == sa.bindparam("name"))


class SqlUsers:
    """The `users` table; a user is never changed but by their own sign-in."""

    def __init__(self, database: Database, writer: Writer) -> None:
        """Read through `database`, write through `writer`; closes neither."""
        self._database = database
        self._writer = writer

    async def find(self, identifier: str) -> PersistedUser | None:
        """Read a user; None where there is none."""
        name = storable_text(identifier)
        row = await self._database.read(
            lambda connection: connection.execute(_FIND, {"name": name}).first()
        )
        return _persisted(row) if row else None

    async def put(
        self, identifier: str, metadata: Mapping[str, Any], user_id: str | None = None
    ) -> PersistedUser:
        """Insert the user where they are new, with this id or one made here; merge the metadata.

        Raises `TooLarge` for metadata that are more than 1 MiB then.
        """
        name, patch = storable_text(identifier), storable_json(metadata)
        row = await self._writer.write(
            lambda connection: _put(connection, user_id or str(uuid4()), name, patch)
        )
        return _persisted(row)


def _put(connection: Connection, user_id: str, name: str, patch: dict[str, Any]) -> AnyRow:
    row = connection.execute(_FIND.with_for_update(), {"name": name}).first()
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


def new_user(owner: Owner) -> PersistedUser:
    """Describe to Chainlit an owner of whom nothing is kept yet."""
    return PersistedUser(
        id=owner.id, identifier=owner.identifier, createdAt="1970-01-01T00:00:00Z", metadata={}
    )


def _persisted(row: AnyRow) -> PersistedUser:
    return PersistedUser(
        id=row.id, identifier=row.identifier, createdAt=iso(row.created_at), metadata=row.metadata
    )
