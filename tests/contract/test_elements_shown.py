"""Elements that a thread shows: those of the steps that it shows, oldest first."""

from pathlib import Path
from uuid import uuid4

import pytest

from data_layer.chainlit_layer import ChainlitLayer
from data_layer.database import Database
from data_layer.elements import SqlElements, elements_of
from data_layer.local_storage import LocalStorage
from data_layer.storage import StorageConfig
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.chat.turns import Owner
from tests.contract.layer_support import as_owner
from tests.contract.support import a_turn, an_end
from tests.contract.test_elements import an_element


@pytest.fixture
def elements(database: Database, writer: Writer, tmp_path: Path) -> SqlElements:
    return SqlElements(database, writer, LocalStorage(StorageConfig(tmp_path / "files")))


async def test_thread_opens_with_the_elements_of_what_it_shows(
    database: Database, writer: Writer, elements: SqlElements, owner: Owner, thread_id: str
) -> None:
    turns, new = SqlTurnStore(database, writer), []
    for _ in range(3):
        turn = (await turns.begin(a_turn(owner, thread_id))).turn
        await turns.finish(turn, an_end())
        new.append(an_element(thread_id, step_id=turn.user_step_id))
        await elements.put(owner, new[-1])
    for most, shown in ((2, new[2:]), (None, new)):
        layer = ChainlitLayer(database, writer, elements=elements, shown_messages=most)
        with as_owner(owner):
            thread = await layer.get_thread(thread_id)
        assert thread is not None
        assert [one["id"] for one in thread["elements"] or []] == [one.id for one in shown]


async def test_elements_of_many_steps_come_in_order(
    database: Database, elements: SqlElements, owner: Owner, thread_id: str
) -> None:
    new = [an_element(thread_id, None) for _ in range(5)]
    for one in new:
        await elements.put(owner, one)
    steps = [str(one.step_id) for one in new[1:]] + [str(uuid4()) for _ in range(2500)]
    rows = await database.read(lambda one: elements_of(one, owner.id, thread_id, steps))
    assert [row.id for row in rows] == [one.id for one in new[1:]]
