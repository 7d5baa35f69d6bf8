"""Administration: the statements that read across users, and only for administrators."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from typing_extensions import override

from data_layer.database import Database
from data_layer.export import export_user, find_user
from data_layer.tables import turns, users
from parley.chat.administration import Administration, UserUsage


class SqlAdministration(Administration):
    """Reads of everybody's rows."""

    def __init__(self, database: Database) -> None:
        """Read through `database`."""
        self._database = database

    @override
    async def usage(self, since: datetime, limit: int) -> Sequence[UserUsage]:
        return await self._database.read(lambda connection: _usage(connection, since, limit))

    @override
    async def conversations(self, user_id: str) -> AsyncIterator[str]:
        return export_user(self._database, await find_user(self._database, user_id))


def _usage(connection: Connection, since: datetime, limit: int) -> Sequence[UserUsage]:
    def total(name: str) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(turns.c.usage[name].as_integer()), 0)

    tokens_in, tokens_out = total("input_tokens"), total("output_tokens")
    statement = (
        sa.select(
            users.c.id,
            users.c.identifier,
            sa.func.count(turns.c.id),
            tokens_in,
            tokens_out,
            sa.func.max(turns.c.created_at, type_=turns.c.created_at.type),
        )
        .join(turns, turns.c.owner_id == users.c.id)
        .where(turns.c.created_at >= since)
        .group_by(users.c.id, users.c.identifier)
        .order_by((tokens_in + tokens_out).desc(), users.c.id)
        .limit(limit)
    )
    return [UserUsage(*row) for row in connection.execute(statement)]
