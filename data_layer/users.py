"""Users: who owns what is kept, found by the identifier that Chainlit knows them by."""

from collections.abc import Mapping
from typing import Any

from chainlit.user import PersistedUser

from data_layer.database import Database
from data_layer.people import FIND, put_user
from data_layer.rows import AnyRow
from data_layer.storable import iso
from data_layer.writer import Writer
from parley.chat.messages import storable_text
from parley.chat.turns import Owner


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
            lambda connection: connection.execute(FIND, {"name": name}).first()
        )
        return _persisted(row) if row else None

    async def put(
        self, identifier: str, metadata: Mapping[str, Any], user_id: str | None = None
    ) -> PersistedUser:
        """Insert the user where they are new, with this id or one made here; merge the metadata.

        Raises `TooLarge` for metadata that are more than 1 MiB then.
        """
        return _persisted(await put_user(self._writer, identifier, metadata, user_id))


def new_user(owner: Owner) -> PersistedUser:
    """Describe to Chainlit an owner of whom nothing is kept yet."""
    return PersistedUser(
        id=owner.id, identifier=owner.identifier, createdAt="1970-01-01T00:00:00Z", metadata={}
    )


def _persisted(row: AnyRow) -> PersistedUser:
    return PersistedUser(
        id=row.id, identifier=row.identifier, createdAt=iso(row.created_at), metadata=row.metadata
    )
