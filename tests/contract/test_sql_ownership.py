"""The `Ownership` port: whose a running turn is, on SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from data_layer.database import Database, DatabaseConfig
from data_layer.ownership import SqlOwnership, open_ownership
from data_layer.tables import replicas as replicas_table
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.chat.errors import StaleFence
from parley.chat.ownership import Orphan
from parley.chat.turns import Answer, Owner, Turn, TurnState
from tests.contract.support import a_turn, an_end
from tests.patience import eventually

# What ends a test that would wait for ever: no measure of how long anything takes.


@pytest.fixture
def turns(database: Database, writer: Writer) -> SqlTurnStore:
    return SqlTurnStore(database, writer)


class Replicas:
    """Replicas of one database, opened by name."""

    def __init__(self, url: str, database: Database, writer: Writer) -> None:
        self._url, self._database, self._writer = url, database, writer

    @asynccontextmanager
    async def live(self, name: str) -> AsyncIterator[SqlOwnership]:
        config = DatabaseConfig(self._url)
        async with open_ownership(config, self._database, self._writer, name) as ownership:
            yield ownership


@pytest.fixture
def replicas(database_url: str, database: Database, writer: Writer) -> Replicas:
    return Replicas(database_url, database, writer)


def a_name() -> str:
    return f"replica-{uuid4().hex[:8]}"


async def begun_by(turns: SqlTurnStore, owner: Owner, thread_id: str, replica_id: str) -> Turn:
    return (await turns.begin(a_turn(owner, thread_id, replica_id=replica_id))).turn


async def orphan(ownership: SqlOwnership, turn: Turn) -> Orphan:
    """Look until the turn is nobody's."""

    async def looked() -> list[Orphan]:
        return [left for left in (await ownership.look()).orphans if left.turn_id == turn.id]

    return (await eventually(looked))[0]


async def test_a_replica_sees_what_is_its_own(
    replicas: Replicas, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    name = a_name()
    async with replicas.live(name) as mine:
        turn = await begun_by(turns, owner, thread_id, name)
        (owned,) = (await mine.look()).mine
        assert (owned.turn_id, owned.owner_id, owned.fence) == (turn.id, owner.id, 1)
        assert not owned.stop_requested
        await turns.request_stop(owner.id, turn.id)
        (owned,) = (await mine.look()).mine
        assert owned.stop_requested
        await turns.finish(turn, an_end())
        assert (await mine.look()).mine == []


async def test_turns_of_the_living_are_theirs(
    replicas: Replicas, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    one, other = a_name(), a_name()
    async with replicas.live(one) as mine, replicas.live(other):
        turn = await begun_by(turns, owner, thread_id, other)
        assert await mine.has_heirs()
        for _ in range(3):
            look = await mine.look()
            assert turn.id not in {owned.turn_id for owned in look.mine}
            assert turn.id not in {left.turn_id for left in look.orphans}


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
@pytest.mark.needs_postgres
async def test_who_has_beaten_since_keeps_its_turns(
    replicas: Replicas, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    one, other = a_name(), a_name()
    async with replicas.live(one) as mine, replicas.live(other):
        turn = await begun_by(turns, owner, thread_id, other)
        seen = Orphan(turn.id, owner.id, turn.fence, other, beat=-1)
        assert await mine.take_over(seen) is None


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
@pytest.mark.needs_postgres
async def test_a_jump_of_the_databases_clock_makes_nobody_long_dead(
    replicas: Replicas, database: Database, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    one, other = a_name(), a_name()
    turn = await begun_by(turns, owner, thread_id, other)

    def beat(number: int) -> Callable[[sa.Connection], None]:
        """Beat once, and be an hour old by the database's clock."""

        def beaten(connection: sa.Connection) -> None:
            connection.execute(sa.delete(replicas_table).where(replicas_table.c.id == other))
            hour_ago = datetime.now(UTC) - timedelta(hours=1)
            values = {"id": other, "beat": number, "beat_at": hour_ago}
            connection.execute(sa.insert(replicas_table).values(values))

        return beaten

    async with replicas.live(one) as mine:
        for number in (1, 2):
            await database.write(beat(number))
            await mine.look()
        left = await orphan(mine, turn)
        assert left.age_s < 60


async def test_who_leaves_is_inherited_at_once(
    replicas: Replicas, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    gone = a_name()
    async with replicas.live(gone):
        turn = await begun_by(turns, owner, thread_id, gone)
        await turns.checkpoint(turn, Answer(text="Good ", seq=7))
    mine_name = a_name()
    async with replicas.live(mine_name) as mine:
        left = {o.turn_id: o for o in (await mine.look()).orphans}[turn.id]
        assert (left.owner_id, left.fence, left.replica_id) == (owner.id, 1, gone)
        taken = await mine.take_over(left)
        assert taken is not None
        assert (taken.fence, taken.answer.text, taken.answer.seq) == (2, "Good ", 7)
        assert [owned.turn_id for owned in (await mine.look()).mine] == [turn.id]
        with pytest.raises(StaleFence):
            await turns.checkpoint(turn, Answer(text="Goodbye"))
        with pytest.raises(StaleFence):
            await turns.finish(turn, an_end())
        await turns.finish(taken, an_end("Good day"))
        assert (await turns.turn(owner.id, turn.id)).answer.text == "Good day"


async def test_one_of_many_takes_over(
    replicas: Replicas, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    turn = await begun_by(turns, owner, thread_id, "gone")
    async with replicas.live(a_name()) as one, replicas.live(a_name()) as other:
        left = await orphan(one, turn)
        taken = await asyncio.gather(*(o.take_over(left) for o in (one, other) for _ in range(5)))
        assert [t.fence for t in taken if t] == [2]


async def test_what_is_over_or_queued_is_nobodys(
    replicas: Replicas, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    first = await begun_by(turns, owner, thread_id, "gone")
    queued = await begun_by(turns, owner, thread_id, "gone")
    async with replicas.live(a_name()) as mine:
        left = await orphan(mine, first)
        assert queued.id not in {o.turn_id for o in (await mine.look()).orphans}
        taken = await mine.take_over(left)
        assert taken is not None
        following = await turns.finish(taken, an_end())
        assert following is not None
        assert (following.id, following.state) == (queued.id, TurnState.RUNNING)
        assert [owned.turn_id for owned in (await mine.look()).mine] == [queued.id], (
            "who ended the one before it has it"
        )
        assert await mine.take_over(left) is None
