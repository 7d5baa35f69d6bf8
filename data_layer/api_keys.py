"""API keys: rows found by the digest of the key, which itself is kept nowhere."""

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from typing_extensions import override

from data_layer.database import Database
from data_layer.people import profile_of
from data_layer.rows import AnyRow
from data_layer.storable import uuid_or_none
from data_layer.tables import api_keys, users
from data_layer.writer import Writer
from parley.chat.errors import NotFound
from parley.chat.identities import ApiKey, ApiKeys
from parley.chat.messages import storable_text
from parley.chat.turns import Owner

_ALL = sa.select(api_keys, users.c.identifier, users.c.metadata.label("owner_metadata")).join(
    users, users.c.id == api_keys.c.owner_id
)


class SqlApiKeys(ApiKeys):
    """The table `api_keys`."""

    def __init__(self, database: Database, writer: Writer) -> None:
        """Read through `database`, write through `writer`; closes neither."""
        self._database = database
        self._writer = writer

    @override
    async def add(self, key: ApiKey, digest: str) -> None:
        statement = sa.insert(api_keys).values(
            id=key.id,
            owner_id=key.owner.id,
            digest=digest,
            name=storable_text(key.name),
            hint=key.hint,
            scopes=list(key.scopes),
            created_at=key.created_at,
            expires_at=key.expires_at,
        )
        await self._writer.write(lambda connection: connection.execute(statement).rowcount)

    @override
    async def find(self, digest: str) -> ApiKey | None:
        row = await self._database.read(lambda connection: _found(connection, digest))
        return _key(row) if row else None

    @override
    async def of_owner(self, owner_id: str) -> Sequence[ApiKey]:
        statement = _ALL.where(api_keys.c.owner_id == owner_id).order_by(
            api_keys.c.created_at.desc(), api_keys.c.id
        )
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return [_key(row) for row in rows]

    @override
    async def revoke(self, owner_id: str, key_id: str, now: datetime) -> ApiKey:
        mine = sa.and_(api_keys.c.owner_id == owner_id, api_keys.c.id == uuid_or_none(key_id))

        def revoke(connection: Connection) -> ApiKey:
            row = connection.execute(_ALL.where(mine)).first()
            if row is None:
                raise NotFound("There is no such API key.")
            still = sa.and_(mine, api_keys.c.revoked_at.is_(None))
            connection.execute(sa.update(api_keys).where(still).values(revoked_at=now))
            return _key(connection.execute(_ALL.where(mine)).one())

        return await self._writer.write(revoke)

    @override
    async def used(self, key: ApiKey, now: datetime) -> None:
        mine = sa.and_(api_keys.c.id == key.id, api_keys.c.owner_id == key.owner.id)
        statement = sa.update(api_keys).where(mine).values(used_at=now)
        await self._writer.write(lambda connection: connection.execute(statement).rowcount)


def _found(connection: Connection, digest: str) -> AnyRow | None:
    """Read the row whose digest it is: whose key that is, is the question."""
    return connection.execute(_ALL.where(api_keys.c.digest == digest)).first()


def keys_over(connection: Connection, ids: Collection[str], now: datetime) -> set[str]:
    """Say which of these keys are revoked, expired or gone."""
    if not ids:
        return set()
    lasting = sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)
    alive = sa.select(api_keys.c.id).where(
        api_keys.c.id.in_(ids), api_keys.c.revoked_at.is_(None), lasting
    )
    return set(ids) - set(connection.execute(alive).scalars())


def _key(row: AnyRow) -> ApiKey:
    return ApiKey(
        id=row.id,
        owner=Owner(row.owner_id, row.identifier),
        name=row.name,
        hint=row.hint,
        scopes=tuple(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
        revoked_at=row.revoked_at,
        profile=profile_of(known) if "provider" in (known := row.owner_metadata) else None,
    )
