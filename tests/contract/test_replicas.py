"""Two processes on one database: what one commits, the other sees, whoever is faster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from data_layer.database import DatabaseConfig, open_database
from data_layer.migrate import migrate
from data_layer.threads import SqlThreads
from data_layer.turns import SqlTurnStore
from data_layer.writer import open_writer
from parley.chat.errors import NotFound, RateLimited, StaleFence
from parley.chat.turns import Begun, Owner, TurnState
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


async def test_no_more_run_than_may_wherever_they_begin(stores: Stores, owner: Owner) -> None:
    """In threads that are there, and in new ones."""
    one, other = stores[0][0], stores[1][0]
    ended = [(await one.begin(a_turn(owner, str(uuid4())))).turn for _ in range(8)]
    for turn in ended:
        await one.finish(turn, an_end())
    threads = [turn.thread_id for turn in ended] + [str(uuid4()) for _ in range(8)]
    outcomes = await asyncio.gather(
        *(
            stores[n % 2][0].begin(a_turn(owner, thread, max_running=3))
            for n, thread in enumerate(threads)
        ),
        return_exceptions=True,
    )
    refused = [o for o in outcomes if isinstance(o, RateLimited)]
    begun = [o for o in outcomes if isinstance(o, Begun)]
    assert (len(begun), len(refused)) == (3, 13)
    begun_in = {b.turn.thread_id for b in begun}
    for thread in threads[8:]:
        is_there = await one.owns_thread(owner.id, thread)
        assert is_there == (thread in begun_in), "of what was refused nothing was written"
    await other.finish(begun[0].turn, an_end())
    await one.begin(a_turn(owner, str(uuid4()), max_running=3))


async def test_no_more_wait_than_may_wherever_they_come(
    stores: Stores, owner: Owner, thread_id: str
) -> None:
    outcomes = await asyncio.gather(
        *(stores[n % 2][0].begin(a_turn(owner, thread_id, max_queued=3)) for n in range(16)),
        return_exceptions=True,
    )
    assert len([o for o in outcomes if isinstance(o, Begun)]) == 4
    assert len([o for o in outcomes if isinstance(o, RateLimited)]) == 12


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
