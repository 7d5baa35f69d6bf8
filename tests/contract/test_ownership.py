"""Whose it is: nobody reads, changes, deletes, rates or attaches to what is another's.

Every method of Chainlit's contract is tried with the ids of somebody else and with ids of nothing:
the two look the same, and not one row of the other owner is another afterwards.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from chainlit.data.base import BaseDataLayer
from chainlit.element import Text
from chainlit.types import Feedback, Pagination, ThreadFilter
from chainlit.user import User

from data_layer.chainlit_layer import ChainlitLayer
from data_layer.database import Database
from data_layer.elements import SqlElements
from data_layer.local_storage import LocalStorage
from data_layer.storage import StorageConfig
from data_layer.tables import metadata
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.chat.errors import ParleyError
from parley.chat.turns import Owner
from tests.contract.layer_support import a_step, as_owner, opened, outputs_of
from tests.contract.support import a_turn, an_end, an_owner


@dataclass(frozen=True)
class Theirs:
    """What belongs to somebody else, or to nobody."""

    owner: Owner
    thread: str
    step: str
    answer: str
    element: str
    feedback: str
    # A thread that is to be of whoever tries.
    mine: str = field(default_factory=lambda: str(uuid4()))


def nothing() -> Theirs:
    return Theirs(an_owner(), *(str(uuid4()) for _ in range(5)))


@pytest.fixture
def layer(database: Database, writer: Writer, tmp_path: Path) -> ChainlitLayer:
    storage = LocalStorage(StorageConfig(tmp_path))
    return ChainlitLayer(database, writer, elements=SqlElements(database, writer, storage))


@pytest.fixture
async def theirs(
    layer: ChainlitLayer, database: Database, writer: Writer, owner: Owner, thread_id: str
) -> Theirs:
    """A thread with a turn, a step, a favourite, an element and feedback, shared with nobody."""
    turns = SqlTurnStore(database, writer)
    turn = (await turns.begin(a_turn(owner, thread_id))).turn
    await turns.finish(turn, an_end())
    step = a_step(thread_id, metadata={"favorite": True})
    text = Text(name="secret", content="x", thread_id=thread_id, for_id=step["id"])
    with as_owner(owner):
        await layer.create_step(step)
        await layer.create_element(text)
        rated = Feedback(forId=turn.answer_step_id, value=1, comment="good")
        feedback_id = await layer.upsert_feedback(rated)
        await layer.update_thread(thread_id, metadata={"a": 1}, tags=["mine"])
    return Theirs(owner, thread_id, step["id"], turn.answer_step_id, text.id, feedback_id)


ATTEMPTS: dict[str, Callable[[ChainlitLayer, Theirs], Awaitable[object]]] = {
    "get_user": lambda layer, t: layer.get_user(t.owner.identifier),
    "create_user": lambda layer, t: layer.create_user(User(t.owner.identifier)),
    "get_thread": lambda layer, t: layer.get_thread(t.thread),
    "get_thread_author": lambda layer, t: layer.get_thread_author(t.thread),
    "list_threads": lambda layer, t: layer.list_threads(
        Pagination(first=9), ThreadFilter(userId=t.owner.id)
    ),
    "list_threads, searched": lambda layer, t: layer.list_threads(
        Pagination(first=9), ThreadFilter(userId=t.owner.id, search="Hello")
    ),
    "list_threads, rated": lambda layer, t: layer.list_threads(
        Pagination(first=9), ThreadFilter(userId=t.owner.id, feedback=1)
    ),
    "update_thread": lambda layer, t: layer.update_thread(
        t.thread, "forged", t.owner.id, {"a": None, "b": 1}, ["forged"]
    ),
    "delete_thread": lambda layer, t: layer.delete_thread(t.thread),
    "create_step": lambda layer, t: layer.create_step(a_step(t.thread, "forged", id=t.step)),
    "create_step, of a turn": lambda layer, t: layer.create_step(a_step(t.thread, id=t.answer)),
    "create_step, mine": lambda layer, t: layer.create_step(a_step(t.mine, "forged", id=t.step)),
    "create_step, new": lambda layer, t: layer.create_step(a_step(t.thread, "forged")),
    "create_step, below": lambda layer, t: layer.create_step(a_step(t.thread, parentId=t.step)),
    "update_step": lambda layer, t: layer.update_step(
        a_step(t.thread, "forged", id=t.step, metadata={"favorite": False})
    ),
    "update_step, of a turn": lambda layer, t: layer.update_step(
        a_step(t.thread, "forged", id=t.answer, metadata={"favorite": True})
    ),
    "update_step, mine": lambda layer, t: layer.update_step(a_step(t.mine, "forged", id=t.step)),
    "delete_step": lambda layer, t: layer.delete_step(t.step),
    "delete_step, of a turn": lambda layer, t: layer.delete_step(t.answer),
    "set_step_favorite": lambda layer, t: layer.set_step_favorite(
        a_step(t.thread, id=t.step), favorite=False
    ),
    "get_favorite_steps": lambda layer, t: layer.get_favorite_steps(t.owner.id),
    "create_element": lambda layer, t: layer.create_element(
        Text(id=t.element, name="forged", content="y", thread_id=t.thread, for_id=t.step)
    ),
    "create_element, mine": lambda layer, t: layer.create_element(
        Text(id=t.element, name="forged", content="y", thread_id=t.mine)
    ),
    "create_element, new": lambda layer, t: layer.create_element(
        Text(name="forged", content="y", thread_id=t.thread, for_id=t.step)
    ),
    "get_element": lambda layer, t: layer.get_element(t.thread, t.element),
    "delete_element": lambda layer, t: layer.delete_element(t.element, t.thread),
    "delete_element, mine": lambda layer, t: layer.delete_element(t.element, t.mine),
    "delete_element, anywhere": lambda layer, t: layer.delete_element(t.element),
    "upsert_feedback": lambda layer, t: layer.upsert_feedback(
        Feedback(forId=t.answer, value=0, threadId=t.thread)
    ),
    "upsert_feedback, by id": lambda layer, t: layer.upsert_feedback(
        Feedback(forId=t.answer, value=0, id=t.feedback)
    ),
    "delete_feedback": lambda layer, t: layer.delete_feedback(t.feedback),
}
# These take no id of anything.
HARMLESS = {"build_debug_url", "close"}


async def outcome(attempt: Awaitable[object]) -> object:
    try:
        return await attempt
    except ParleyError as error:
        return (error.code, error.message)


async def rows_of(database: Database, owner: Owner) -> dict[str, list[object]]:
    """All that is kept of one owner."""
    owned = [table for table in metadata.sorted_tables if "owner_id" in table.c]

    def read(connection: sa.Connection) -> dict[str, list[object]]:
        return {
            table.name: sorted(
                map(tuple, connection.execute(table.select().where(table.c.owner_id == owner.id))),
                key=str,
            )
            for table in owned
        }

    return await database.read(read)


def test_every_method_of_the_contract_is_tried() -> None:
    methods = {name for name in vars(BaseDataLayer) if not name.startswith("_")}
    assert {name.split(",")[0] for name in ATTEMPTS} == methods - HARMLESS


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_what_is_anothers_is_out_of_reach(
    layer: ChainlitLayer, database: Database, theirs: Theirs, name: str
) -> None:
    before = await rows_of(database, theirs.owner)
    assert all(before[table] for table in ("threads", "turns", "steps", "elements", "feedbacks"))
    outcomes = []
    for thing in (theirs, nothing()):
        with as_owner(an_owner()):
            outcomes.append(await outcome(ATTEMPTS[name](layer, thing)))
    assert outcomes[0] == outcomes[1]
    assert await rows_of(database, theirs.owner) == before


async def test_id_that_is_taken_does_not_spoil_what_comes_with_it(
    layer: ChainlitLayer, theirs: Theirs
) -> None:
    mine = theirs.mine
    with as_owner(an_owner()):
        await layer.create_step(a_step(mine, "forged", id=theirs.step))
        assert await layer.get_thread(mine) is None
        await layer.create_step(a_step(mine, "mine"))
        assert await outputs_of(layer, mine) == ["mine"]
        assert (await opened(layer, mine))["elements"] == []
