"""What a turn costs the database, checkpoints apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from chainlit.element import Text
from chainlit.types import Feedback
from sqlalchemy import event

from data_layer.chainlit_layer import ChainlitLayer
from data_layer.database import Database
from data_layer.elements import SqlElements
from data_layer.local_storage import LocalStorage
from data_layer.storage import StorageConfig
from data_layer.threads import SqlThreads
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.chat.engine import open_engine
from parley.chat.turns import Answer, Owner, TurnRequest
from parley.context.builder import ContextConfig, WindowedContext
from parley.context.memory_store import MemoryContextStore
from parley.live.memory import memory_live
from tests.contract.layer_support import a_step, as_owner
from tests.contract.support import a_turn, an_end
from tests.fakes.scripted_provider import OneModel, ScriptedProvider
from tests.fakes.turn_store import MemoryTurnStore
from tests.unit.chat.support import CONFIG

STATEMENTS, TRANSACTIONS = 8, 3


@dataclass
class Cost:
    statements: list[str] = field(default_factory=list)
    transactions: int = 0


@contextmanager
def counted() -> Iterator[Cost]:
    cost = Cost()

    def on_statement(*arguments: object) -> None:
        statement = str(arguments[2])
        if not statement.startswith("BEGIN"):
            cost.statements.append(statement)

    def on_begin(_: object) -> None:
        cost.transactions += 1

    event.listen(sa.Engine, "before_cursor_execute", on_statement)
    event.listen(sa.Engine, "begin", on_begin)
    try:
        yield cost
    finally:
        event.remove(sa.Engine, "before_cursor_execute", on_statement)
        event.remove(sa.Engine, "begin", on_begin)


@pytest.mark.parametrize("cached", [True, False])
async def test_turn_costs_few_statements(
    database: Database, writer: Writer, owner: Owner, thread_id: str, *, cached: bool
) -> None:
    provider, store = ScriptedProvider(), SqlTurnStore(database, writer)
    context = WindowedContext(ContextConfig(), MemoryContextStore(capacity=int(cached)), store)
    config = replace(CONFIG, checkpoint_s=3600, look_s=3600)
    owns = MemoryTurnStore().ownership(config.replica_id)
    model, live = OneModel(provider), memory_live()
    async with open_engine(config, model, context, store, live, owns) as engine:
        for number in range(3):
            request = TurnRequest(owner=owner, thread_id=thread_id, text=f"question {number}")
            with counted() as cost:
                turn = (await engine.submit(request)).turn
                (await provider.call(number)).finish("answer")
                assert [event async for event in engine.follow(turn)]
            assert len(cost.statements) <= STATEMENTS, "\n\n".join(cost.statements)
            assert cost.transactions <= TRANSACTIONS


async def test_end_looks_at_the_queue_of_its_own_thread(
    database: Database, writer: Writer, owner: Owner, thread_id: str
) -> None:
    """Not at all turns that there are: every end would take as long as they are many."""
    store, elsewhere = SqlTurnStore(database, writer), str(uuid4())
    for _ in range(2):  # one runs, one waits
        await store.begin(a_turn(owner, elsewhere))
    turn = (await store.begin(a_turn(owner, thread_id))).turn
    with counted() as cost:
        assert await store.finish(turn, an_end()) is None
    assert len(cost.statements) == 3, "\n\n".join(cost.statements)


def changes_of(cost: Cost) -> list[str]:
    return [s for s in cost.statements if s.startswith(("UPDATE", "DELETE"))]


def changed_tables(changes: list[str]) -> set[str]:
    return {statement.split(" SET ")[0].split(" WHERE ")[0] for statement in changes}


def assert_each_names_its_owner(changes: list[str]) -> None:
    for statement in changes:
        table = statement.removeprefix("DELETE FROM ").removeprefix("UPDATE ").split()[0]
        _, _, condition = statement.partition("WHERE")
        assert f"{table}.owner_id =" in condition, statement


async def test_every_change_names_the_owner(
    database: Database, writer: Writer, owner: Owner, thread_id: str
) -> None:
    """A wrong or forged id must not reach a row of someone else, whatever was checked before."""
    turns, threads = SqlTurnStore(database, writer), SqlThreads(database, writer)
    with counted() as cost:
        first = (await turns.begin(a_turn(owner, thread_id))).turn
        second = (await turns.begin(a_turn(owner, thread_id))).turn
        await turns.checkpoint(first, Answer(text="Good "))
        await turns.request_stop(owner.id, first.id)
        assert await turns.finish(first, an_end())
        await turns.finish(second, an_end())
        await threads.rename(owner.id, thread_id, "mine")
        await threads.delete(owner.id, thread_id)
    changes = changes_of(cost)
    assert changed_tables(changes) == {
        "UPDATE threads",
        "UPDATE turns",
        "UPDATE steps",
        "DELETE FROM turns",
        "DELETE FROM steps",
        "DELETE FROM elements",
        "DELETE FROM feedbacks",
    }
    assert_each_names_its_owner(changes)


async def test_every_change_of_chainlits_names_the_owner(
    database: Database, writer: Writer, owner: Owner, thread_id: str, tmp_path: Path
) -> None:
    elements = SqlElements(database, writer, LocalStorage(StorageConfig(tmp_path)))
    layer, step = ChainlitLayer(database, writer, elements=elements), a_step(thread_id)
    text = Text(name="a", content="x", thread_id=thread_id, for_id=step["id"])
    with as_owner(owner), counted() as cost:
        await layer.create_step(step)
        await layer.update_step(a_step(thread_id, "more", id=step["id"]))
        await layer.set_step_favorite(step, favorite=True)
        feedback_id = await layer.upsert_feedback(Feedback(forId=step["id"], value=1))
        await layer.delete_feedback(feedback_id)
        await layer.create_element(text)
        await layer.delete_element(text.id, thread_id)
        await layer.update_thread(thread_id, "name", owner.id, {"a": 1}, ["b"])
        await layer.delete_step(step["id"])
    changes = changes_of(cost)
    assert changed_tables(changes) >= {
        "UPDATE threads",
        "UPDATE steps",
        "DELETE FROM steps",
        "DELETE FROM elements",
        "DELETE FROM feedbacks",
    }
    assert_each_names_its_owner(changes)
