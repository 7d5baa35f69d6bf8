"""Guest sweep: who was a guest and did nothing for a while is forgotten, with all that was theirs."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.database import Database
from data_layer.forget import forget_user, thread_ids
from data_layer.storage import Storage
from data_layer.tables import adoptions, threads, users
from data_layer.writer import Writer
from parley.chat.errors import ParleyError
from parley.chat.ports import ContextStore
from parley.observability.audit import audit
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_EVERY_S = 3600.0
# In one go: each is a transaction, which the writes of others wait for.
_MOST = 200


class GuestSweep:
    """Forgets guests, now and then."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        storage: Storage,
        contexts: ContextStore,
        days: int,
    ) -> None:
        """Forget those who did nothing for so many days."""
        self._database = database
        self._writer = writer
        self._storage = storage
        self._contexts = contexts
        self._idle = timedelta(days=days)

    async def run(self) -> None:
        """Look again and again."""
        while True:
            try:
                while await self.sweep(datetime.now(UTC)):
                    pass
            except ParleyError as error:
                logger.warning("Guests of long ago remain", code=error.code)
            await asyncio.sleep(_EVERY_S)

    async def sweep(self, now: datetime) -> int:
        """Forget some; says how many."""
        before = now - self._idle
        idle = await self._database.read(lambda connection: _idle_guests(connection, before))
        for guest_id in idle:
            ids = await thread_ids(self._database, guest_id)
            await self._storage.delete_owner(guest_id)
            await forget_user(self._writer, guest_id)
            await self._contexts.forget(ids)
        if idle:
            audit("guests_forgotten", count=len(idle))
        return len(idle)


def _idle_guests(connection: Connection, before: datetime) -> Sequence[str]:
    lately = sa.exists().where(threads.c.owner_id == users.c.id, threads.c.last_active_at >= before)
    adopted = sa.exists().where(adoptions.c.guest_id == users.c.id)
    is_guest = sa.or_(
        users.c.identifier.startswith("guest:"), users.c.identifier.startswith("session:")
    )
    statement = (
        sa.select(users.c.id)
        .where(is_guest, users.c.created_at < before, ~lately, ~adopted)
        .order_by(users.c.created_at)
        .limit(_MOST)
    )
    return connection.execute(statement).scalars().all()
