"""Heartbeats: a row for each process on a PostgreSQL, counted up by a thread of its own.

A loop that is stalled is not a dead process. And who is dead is seen by looking, not by a clock: a
count that was the same for two seconds, in looks that all succeeded, is one of a dead process. So
neither a jump of the database's clock nor its absence makes anybody dead
(docs/decisions/0010-heartbeats.md).
"""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace
from time import monotonic

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from data_layer.database import Database, DatabaseConfig, Operation, open_database
from data_layer.tables import replicas, turns
from parley.chat.errors import StorageUnavailable
from parley.observability.logs import get_logger

logger = get_logger(__name__)

BEAT_S = 0.5
DEAD_S = 2.0
# Between two looks there may be no more than this: a database that was away has no dead.
_GAP_S = 1.2
# This process was frozen itself where its own thread has not come round for so long.
FRESH_S = 1.5
_TICK_S = 0.2
_START_S = 10.0
_FORGOTTEN = sa.text("interval '1 day'")


class Watch:
    """Says who is dead, from what several looks in a row have seen. Pure."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._since: dict[str, tuple[int, float]] = {}
        # When a count was last seen to have moved.
        self._moved_at: dict[str, float] = {}
        self._beats: dict[str, int] = {}
        self._looked_at = float("-inf")

    def still_for_s(self, replica: str, now: float) -> float | None:
        """For how long a count has stood still; None where it was never seen to move."""
        moved_at = self._moved_at.get(replica)
        return None if moved_at is None else now - moved_at

    def dead(self, beats: Mapping[str, int], now: float) -> set[str]:
        """Take note of a look that succeeded; name those whose count has stood still."""
        if now - self._looked_at > _GAP_S:
            self._since.clear()
        self._looked_at = now
        moved = {r: now for r, beat in beats.items() if self._beats.get(r, beat) != beat}
        self._moved_at = {r: at for r, at in (self._moved_at | moved).items() if r in beats}
        self._beats = dict(beats)
        self._since = {
            replica: seen if (seen := self._since.get(replica)) and seen[0] == beat else (beat, now)
            for replica, beat in beats.items()
        }
        return {replica for replica, (_, since) in self._since.items() if now - since >= DEAD_S}

    def lost_sight(self) -> None:
        """Begin anew: a look has failed, or this process was frozen."""
        self._since.clear()


class Heartbeat:
    """Beats in a thread, on a connection of its own, until it is closed."""

    def __init__(self, config: DatabaseConfig, replica_id: str) -> None:
        """Prepare to beat for this replica."""
        # Given up before the next beat but one is due.
        self._config = replace(
            config, pool_size=1, command_timeout_s=2 * BEAT_S, lock_timeout_s=BEAT_S
        )
        self._replica_id = replica_id
        self._begun = threading.Event()
        self._ends = threading.Event()
        self._came_round_at = monotonic()
        # When this process was last seen to come out of a freezer.
        self.thawed_at = float("-inf")
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    async def start(self) -> None:
        """Begin to beat; raises `StorageUnavailable` where the first beat does not succeed."""
        self._thread.start()
        if not await asyncio.to_thread(self._begun.wait, _START_S):
            self._ends.set()
            raise StorageUnavailable("The database does not take this server's heartbeat.")

    async def close(self) -> None:
        """Take the row back, so that nobody waits to see this replica dead."""
        self._ends.set()
        await asyncio.to_thread(self._thread.join)

    @property
    def is_fresh(self) -> bool:
        """Whether the thread came round lately: this process is not just out of a freezer."""
        return monotonic() - self._came_round_at < FRESH_S

    def _run(self) -> None:
        asyncio.run(self._beat_forever())

    async def _beat_forever(self) -> None:
        ticking = asyncio.ensure_future(self._tick_forever())
        async with open_database(self._config) as database:
            await self._try(database, _clean)
            while not self._ends.is_set():
                if await self._try(database, self._beat):
                    self._begun.set()
                await asyncio.to_thread(self._ends.wait, BEAT_S)
            await self._try(database, self._leave)
        ticking.cancel()

    async def _tick_forever(self) -> None:
        """Notice a pause of the whole process, whatever the database does."""
        while True:
            now = monotonic()
            if now - self._came_round_at > FRESH_S:
                self.thawed_at = now
            self._came_round_at = now
            await asyncio.sleep(_TICK_S)

    async def _try(self, database: Database, operation: Operation[None]) -> bool:
        try:
            await database.write(operation)
        except Exception as error:  # noqa: BLE001 - the thread's edge: the next beat tries again
            logger.warning("Heartbeat failed", error=type(error).__name__)
            return False
        return True

    def _beat(self, connection: Connection) -> None:
        statement = insert(replicas).values(
            id=self._replica_id, beat=1, beat_at=sa.func.clock_timestamp()
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[replicas.c.id],
                set_={"beat": replicas.c.beat + 1, "beat_at": sa.func.clock_timestamp()},
            )
        )

    def _leave(self, connection: Connection) -> None:
        connection.execute(sa.delete(replicas).where(replicas.c.id == self._replica_id))


def _clean(connection: Connection) -> None:
    """Delete the rows of those that are long dead and own nothing that runs."""
    owns = sa.exists().where(turns.c.replica_id == replicas.c.id, turns.c.state == "running")
    old = replicas.c.beat_at < sa.func.now() - _FORGOTTEN
    connection.execute(sa.delete(replicas).where(old, ~owns))
