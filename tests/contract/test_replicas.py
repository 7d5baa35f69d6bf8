"""Two processes on one database: what one commits, the other sees, whoever is faster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from data_layer.database import DatabaseConfig, open_database
from data_layer.migrate import migrate
from data_layer.threads import SqlThreads
from data_layer.turns import SqlTurnStore
from data_layer.writer import open_writer
from parley.chat.errors import NotFound, StaleFence
from parley.chat.turns import Owner, TurnState
from tests.contract.support import a_turn, an_end

ROUNDS = 25


@pytest.fixture
async def stores(database_url: str) -> AsyncIterator[list[tuple[SqlTurnStore, SqlThreads]]]:
    async with AsyncExitStack() as stack:
        pairs = []
        for _ in range(2):
            config = DatabaseConfig(url=database_url)
            database = await stack.enter_async_context(open_database(config))
            await migrate(database)
            writer = await stack.enter_async_context(open_writer(database))
            pairs.append((SqlTurnStore(database, writer), SqlThreads(database, writer)))
        yield pairs


Stores = list[tuple[SqlTurnStore, SqlThreads]]


async def test_one_turn_for_a_key(stores: Stores, owner: Owner, thread_id: str) -> None:
    begun = await asyncio.gather(
        *(stores[n % 2][0].begin(a_turn(owner, thread_id, key="k")) for n in range(20))
    )
    assert len({one.turn.id for one in begun}) == 1
    assert sum(one.created for one in begun) == 1


async def test_one_running_turn_in_a_thread(stores: Stores, owner: Owner, thread_id: str) -> None:
    begun = await asyncio.gather(
        *(stores[n % 2][0].begin(a_turn(owner, thread_id)) for n in range(20))
    )
    turns = [one.turn for one in begun]
    assert sum(turn.state is TurnState.RUNNING for turn in turns) == 1
    assert len({turn.parent_id for turn in turns}) == 20


async def test_turn_that_meets_an_end_runs(stores: Stores, owner: Owner, thread_id: str) -> None:
    """Either it sees the turn before it as over, or the end sees it in the queue."""
    (one, _), (other, _) = stores
    running = (await one.begin(a_turn(owner, thread_id))).turn
    for _round in range(ROUNDS):
        following, begun = await asyncio.gather(
            one.finish(running, an_end()), other.begin(a_turn(owner, thread_id))
        )
        now = await one.running(owner.id, thread_id)
        assert now is not None
        assert now.id == begun.turn.id
        assert (following is None) == (begun.turn.state is TurnState.RUNNING)
        running = now


async def test_deletion_meets_an_end(stores: Stores, owner: Owner) -> None:
    (one, _), (_, threads) = stores
    for _round in range(ROUNDS):
        turn = (await one.begin(a_turn(owner, a_turn(owner, "").id))).turn
        outcome, _deleted = await asyncio.gather(
            one.finish(turn, an_end()),
            threads.delete(owner.id, turn.thread_id),
            return_exceptions=True,
        )
        assert outcome is None or isinstance(outcome, StaleFence)
        with pytest.raises(NotFound):
            await one.turn(owner.id, turn.id)
