"""Ownership in the database: whose a running turn is, and who may have it when its owner is dead."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.address import normalise_url
from data_layer.database import Database, DatabaseConfig
from data_layer.heartbeats import Heartbeat, Watch
from data_layer.off_loop import off_loop
from data_layer.replica_files import ReplicaFiles
from data_layer.rows import AnyRow, load_turn
from data_layer.tables import RUNNING, replicas, turns
from data_layer.writer import Writer
from parley.chat.ownership import Look, Orphan, Owned
from parley.chat.turns import Turn

_BEATS = sa.select(
    replicas.c.id,
    replicas.c.beat,
    sa.extract("epoch", sa.func.now() - replicas.c.beat_at).label("age_s"),
)
# Made once: building a statement costs more than running it.
_LOOK = sa.select(
    turns.c.id, turns.c.owner_id, turns.c.fence, turns.c.stop_requested, turns.c.replica_id
).where(
    turns.c.state == RUNNING,
    sa.or_(
        turns.c.replica_id == sa.bindparam("me"),
        turns.c.replica_id.not_in(sa.bindparam("living", expanding=True)),
    ),
)
_TAKE_OVER = (
    sa.update(turns)
    .where(
        turns.c.id == sa.bindparam("turn"),
        turns.c.owner_id == sa.bindparam("owner"),
        turns.c.fence == sa.bindparam("seen_fence"),
        turns.c.replica_id == sa.bindparam("dead"),
        turns.c.state == RUNNING,
        ~sa.exists().where(
            replicas.c.id == sa.bindparam("dead"), replicas.c.beat != sa.bindparam("seen_beat")
        ),
    )
    .values(fence=turns.c.fence + 1, replica_id=sa.bindparam("me"))
    .returning(turns.c.id)
)


class _Signs(Protocol):
    """By what is seen which other replicas live, and which have died."""

    async def seen(self) -> tuple[dict[str, int], dict[str, float], set[str]]:
        """Give the beats and ages of all, and who is dead of them; raises `StorageUnavailable`."""
        ...

    @property
    def is_fresh(self) -> bool:
        """Whether this process itself is not just out of a freezer."""
        ...

    @property
    def thawed_at(self) -> float:
        """When it came out of one, by the monotonic clock."""
        ...


class _Beats:
    """Heartbeats, on PostgreSQL."""

    def __init__(self, database: Database, heartbeat: Heartbeat) -> None:
        self._database = database
        self._heartbeat = heartbeat
        self._watch = Watch()

    async def seen(self) -> tuple[dict[str, int], dict[str, float], set[str]]:
        if not self.is_fresh:
            self._watch.lost_sight()
        try:
            rows = await self._database.read(lambda connection: connection.execute(_BEATS).all())
        except BaseException:
            self._watch.lost_sight()
            raise
        beats = {row.id: row.beat for row in rows}
        now = monotonic()
        dead = self._watch.dead(beats, now)
        # Of one that this process has seen beat its own clock says it, which does not jump.
        ages = {
            row.id: float(row.age_s) if still_s is None else still_s
            for row in rows
            for still_s in [self._watch.still_for_s(row.id, now)]
        }
        return beats, ages, dead

    @property
    def is_fresh(self) -> bool:
        return self._heartbeat.is_fresh

    @property
    def thawed_at(self) -> float:
        return self._heartbeat.thawed_at


class _Files:
    """Locked files, on SQLite."""

    # Nobody takes the turns of a process that lives, frozen or not.
    is_fresh = True
    thawed_at = float("-inf")

    def __init__(self, files: ReplicaFiles) -> None:
        self._files = files

    async def seen(self) -> tuple[dict[str, int], dict[str, float], set[str]]:
        return dict.fromkeys(await off_loop(self._files.others), 0), {}, set()


class SqlOwnership:
    """The `Ownership` port of both databases."""

    def __init__(self, database: Database, writer: Writer, signs: _Signs, replica_id: str) -> None:
        """Own turns in the name of `replica_id`; `open_ownership` makes it."""
        self._database = database
        self._writer = writer
        self._signs = signs
        self._me = replica_id
        self._looked_at = 0.0

    async def look(self) -> Look:  # noqa: D102 - see the port
        began_at = monotonic()
        beats, ages, dead = await self._signs.seen()
        # A replica of which there is no sign has said goodbye, or never came up.
        living = {self._me, *beats} - dead
        rows = await self._database.read(lambda connection: _look(connection, self._me, living))
        self._looked_at = began_at
        orphans = [
            Orphan(
                row.id,
                row.owner_id,
                row.fence,
                row.replica_id,
                beats.get(row.replica_id),
                ages.get(row.replica_id, 0.0),
            )
            for row in rows
            if row.replica_id != self._me
        ]
        return Look([_owned(row) for row in rows if row.replica_id == self._me], orphans)

    async def take_over(self, orphan: Orphan) -> Turn | None:  # noqa: D102
        return await self._writer.write(lambda connection: _take_over(connection, orphan, self._me))

    async def has_heirs(self) -> bool:  # noqa: D102
        beats, _, dead = await self._signs.seen()
        return bool(beats.keys() - dead - {self._me})

    @property
    def is_fresh(self) -> bool:  # noqa: D102
        return self._signs.is_fresh and self._looked_at > self._signs.thawed_at


def _look(connection: Connection, me: str, living: Iterable[str]) -> Sequence[AnyRow]:
    """Read what runs here and what ran elsewhere, whosever it is: a replica works for all."""
    return connection.execute(_LOOK, {"me": me, "living": list(living)}).all()


def _owned(row: AnyRow) -> Owned:
    return Owned(row.id, row.owner_id, row.fence, row.stop_requested)


def _take_over(connection: Connection, orphan: Orphan, me: str) -> Turn | None:
    named: dict[str, Any] = {
        "turn": orphan.turn_id,
        "owner": orphan.owner_id,
        "seen_fence": orphan.fence,
        "dead": orphan.replica_id,
        "seen_beat": orphan.beat or 0,
        "me": me,
    }
    if connection.execute(_TAKE_OVER, named).first() is None:
        return None  # it lives after all, or another replica was faster
    return load_turn(connection, orphan.owner_id, orphan.turn_id)


@contextmanager
def _beside(database: str) -> Iterator[Path]:
    """Give the directory of the replicas' files; SQLite's own kind of URL has none beside it."""
    if database.startswith("file:"):
        with TemporaryDirectory(prefix="parley-replicas-") as directory:
            yield Path(directory)
    else:
        yield Path(f"{database}-replicas")


@asynccontextmanager
async def open_ownership(
    config: DatabaseConfig, database: Database, writer: Writer, replica_id: str
) -> AsyncIterator[SqlOwnership]:
    """Live, and be seen to, until this is left; then others may have what still runs."""
    url = normalise_url(config.url)
    if url.get_backend_name() == "sqlite":
        with _beside(str(url.database)) as directory:
            files = ReplicaFiles(directory, replica_id)
            with files.held():
                yield SqlOwnership(database, writer, _Files(files), replica_id)
        return
    heartbeat = Heartbeat(config, replica_id)
    await heartbeat.start()
    try:
        yield SqlOwnership(database, writer, _Beats(database, heartbeat), replica_id)
    finally:
        await heartbeat.close()
