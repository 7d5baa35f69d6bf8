"""Threads of one owner: changed, moved, deleted; a foreign one is a missing one."""

from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from data_layer.chainlit_layer import ChainlitLayer
from data_layer.database import Database
from data_layer.threads import SqlThreads
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.chat.errors import NotFound
from parley.chat.turns import Owner
from tests.contract.layer_support import a_step, as_owner
from tests.contract.support import a_turn, an_end, an_owner


@pytest.fixture
def threads(database: Database, writer: Writer) -> SqlThreads:
    return SqlThreads(database, writer)


@pytest.fixture
def turns(database: Database, writer: Writer) -> SqlTurnStore:
    return SqlTurnStore(database, writer)


async def test_thread_is_renamed(threads: SqlThreads, owner: Owner, thread_id: str) -> None:
    await threads.put(owner, thread_id, name="one", tags=None)
    await threads.rename(owner.id, thread_id, " two\n\0words ")
    assert (await threads.thread(owner.id, thread_id)).name == "two \ufffdwords"


async def test_name_and_tags_are_kept_unless_given(
    threads: SqlThreads, owner: Owner, thread_id: str
) -> None:
    await threads.put(owner, thread_id, name="word " * 200_000, tags=["a\0", "b"])
    for name in (None, " \n "):
        await threads.put(owner, thread_id, name=name, tags=None)
    row = await threads.thread(owner.id, thread_id)
    assert len(row.name) <= 121
    assert row.name.endswith("word…")
    assert row.tags == ["a\ufffd", "b"]


async def test_turn_goes_on_in_a_thread_that_chainlit_began(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    await threads.put(owner, thread_id, name="one", tags=None)
    turn = (await turns.begin(a_turn(owner, thread_id))).turn
    await turns.finish(turn, an_end())
    row = await threads.thread(owner.id, thread_id)
    assert (row.name, row.head_turn_id, row.last_arrival) == ("one", turn.id, 1)


async def test_deleted_thread_is_gone_with_all_it_held(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    turn = (await turns.begin(a_turn(owner, thread_id))).turn
    await threads.delete(owner.id, thread_id)
    assert (await threads.page(owner.id, limit=9)).rows == []
    with pytest.raises(NotFound):
        await turns.turn(owner.id, turn.id)
    with pytest.raises(NotFound):
        await threads.delete(owner.id, thread_id)


ON_A_THREAD: dict[str, Callable[[SqlThreads, Owner, str], Awaitable[object]]] = {
    "thread": lambda threads, owner, id: threads.thread(owner.id, id),
    "rename": lambda threads, owner, id: threads.rename(owner.id, id, "mine"),
    "delete": lambda threads, owner, id: threads.delete(owner.id, id),
    "merge_metadata": lambda threads, owner, id: threads.merge_metadata(owner.id, id, {"a": 1}),
}


@pytest.mark.parametrize("what", ON_A_THREAD)
async def test_foreign_thread_is_a_missing_one_and_stays_as_it_is(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner, thread_id: str, what: str
) -> None:
    turn = (await turns.begin(a_turn(owner, thread_id))).turn
    row = await threads.thread(owner.id, thread_id)
    messages = set()
    for id in (thread_id, str(uuid4())):
        with pytest.raises(NotFound) as missing:
            await ON_A_THREAD[what](threads, an_owner(), id)
        messages.add(str(missing.value))
    assert len(messages) == 1
    assert await threads.thread(owner.id, thread_id) == row
    assert await turns.turn(owner.id, turn.id) == turn


async def test_what_happens_in_a_thread_moves_it_to_the_top(
    threads: SqlThreads, turns: SqlTurnStore, database: Database, writer: Writer, owner: Owner
) -> None:
    first, second = str(uuid4()), str(uuid4())
    for thread_id in (first, second):
        await threads.put(owner, thread_id, name="one", tags=None)

    async def order() -> list[str]:
        return [row.id for row in (await threads.page(owner.id, limit=9)).rows]

    await turns.begin(a_turn(owner, first))
    assert await order() == [first, second]
    with as_owner(owner):
        await ChainlitLayer(database, writer).create_step(a_step(second))
    assert await order() == [second, first]
    await threads.rename(owner.id, first, "two")
    await threads.merge_metadata(owner.id, first, {"a": 1})
    assert await order() == [second, first]
