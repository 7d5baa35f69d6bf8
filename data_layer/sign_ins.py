"""Sign-ins: who is signed in, and what was begun at a provider."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from typing_extensions import override

from data_layer.api_keys import keys_over
from data_layer.database import Database
from data_layer.people import profile_of, put_user
from data_layer.rows import AnyRow
from data_layer.storable import storable_json, uuid_or_none
from data_layer.tables import sign_in_states, sign_ins, users
from data_layer.writer import Writer
from parley.chat.identities import Profile, SignIn, SignIns, SignInState
from parley.chat.turns import Owner

_ALL = sa.select(sign_ins, users.c.identifier).join(users, users.c.id == sign_ins.c.owner_id)


def _alive(now: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(sign_ins.c.ended_at.is_(None), sign_ins.c.expires_at > now)


class SqlSignIns(SignIns):
    """The tables `sign_ins` and `sign_in_states`."""

    def __init__(self, database: Database, writer: Writer) -> None:
        """Read through `database`, write through `writer`; closes neither."""
        self._database = database
        self._writer = writer

    @override
    async def put_user(self, identifier: str, provider: str, profile: Profile) -> Owner:
        said = {"provider": provider, **asdict(profile)}
        user = await put_user(self._writer, identifier, said)
        return Owner(user.id, user.identifier)

    @override
    async def begin(self, sign_in: SignIn, digest: str) -> None:
        values = {
            "id": sign_in.id,
            "owner_id": sign_in.owner.id,
            "digest": digest,
            "provider": sign_in.provider,
            "profile": storable_json(asdict(sign_in.profile)),
            "sealed_token": sign_in.sealed_token,
            "created_at": sign_in.created_at,
            "seen_at": sign_in.seen_at,
            "expires_at": sign_in.expires_at,
        }
        await self._writer.write(lambda connection: connection.execute(_INSERT, values).rowcount)

    @override
    async def find(self, digest: str, now: datetime) -> SignIn | None:
        row = await self._database.read(lambda connection: _found(connection, digest, now))
        return _sign_in(row) if row else None

    @override
    async def seen(self, sign_in: SignIn, now: datetime, expires_at: datetime) -> None:
        which = (sign_ins.c.id == sign_in.id, sign_ins.c.owner_id == sign_in.owner.id)
        statement = (
            sa.update(sign_ins)
            .where(*which, _alive(now))
            .values(seen_at=now, expires_at=expires_at)
        )
        await self._writer.write(lambda connection: connection.execute(statement).rowcount)

    @override
    async def of_owner(self, owner_id: str, now: datetime) -> Sequence[SignIn]:
        statement = _ALL.where(sign_ins.c.owner_id == owner_id, _alive(now)).order_by(
            sign_ins.c.seen_at.desc(), sign_ins.c.id
        )
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return [_sign_in(row) for row in rows]

    @override
    async def end(self, owner_id: str, now: datetime, sign_in_id: str | None = None) -> list[str]:
        which = [sign_ins.c.owner_id == owner_id, sign_ins.c.ended_at.is_(None)]
        if sign_in_id is not None:
            which.append(sign_ins.c.id == uuid_or_none(sign_in_id))
        # With it goes the user's own token.
        ended = sa.update(sign_ins).where(*which).values(ended_at=now, sealed_token=None)
        statement = ended.returning(sign_ins.c.id)
        return await self._writer.write(
            lambda connection: list(connection.execute(statement).scalars())
        )

    @override
    async def over(
        self, sign_in_ids: Collection[str], key_ids: Collection[str], now: datetime
    ) -> set[str]:
        return await self._database.read(
            lambda connection: (
                _sign_ins_over(connection, sign_in_ids, now) | keys_over(connection, key_ids, now)
            )
        )

    @override
    async def sealed_token(self, owner_id: str, now: datetime) -> str | None:
        has_one = sign_ins.c.sealed_token.is_not(None)
        statement = (
            sa.select(sign_ins.c.sealed_token)
            .where(sign_ins.c.owner_id == owner_id, has_one, _alive(now))
            .order_by(sign_ins.c.created_at.desc())
            .limit(1)
        )
        return await self._database.read(lambda connection: connection.execute(statement).scalar())

    @override
    async def keep_state(self, digest: str, state: SignInState, now: datetime) -> None:
        def keep(connection: Connection) -> None:
            old = sa.delete(sign_in_states).where(sign_in_states.c.expires_at <= now)
            connection.execute(old)
            connection.execute(sa.insert(sign_in_states).values(digest=digest, **asdict(state)))

        await self._writer.write(keep)

    @override
    async def take_state(self, digest: str) -> SignInState | None:
        statement = (
            sa.delete(sign_in_states)
            .where(sign_in_states.c.digest == digest)
            .returning(sign_in_states)
        )
        row = await self._writer.write(lambda connection: connection.execute(statement).first())
        if row is None:
            return None
        return SignInState(
            row.provider, row.browser_digest, row.nonce, row.verifier, row.back_to, row.expires_at
        )


_INSERT = sa.insert(sign_ins)


def _found(connection: Connection, digest: str, now: datetime) -> AnyRow | None:
    """Read the row whose digest it is: who that is, is the question."""
    return connection.execute(_ALL.where(sign_ins.c.digest == digest, _alive(now))).first()


def _sign_ins_over(connection: Connection, ids: Collection[str], now: datetime) -> set[str]:
    if not ids:
        return set()
    alive = sa.select(sign_ins.c.id).where(sign_ins.c.id.in_(ids), _alive(now))
    return set(ids) - set(connection.execute(alive).scalars())


def _sign_in(row: AnyRow) -> SignIn:
    return SignIn(
        id=row.id,
        owner=Owner(row.owner_id, row.identifier),
        provider=row.provider,
        profile=profile_of(row.profile),
        created_at=row.created_at,
        seen_at=row.seen_at,
        expires_at=row.expires_at,
        sealed_token=row.sealed_token,
    )
