"""Steps: all that Chainlit writes of one comes back, in the order that the page can show."""

import re
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

import pytest
import sqlalchemy as sa
from chainlit.step import StepDict

from data_layer.chainlit_layer import ChainlitLayer
from data_layer.database import Database
from data_layer.feedbacks import _OF_STEPS
from data_layer.opened import _FREE_STEPS, _TURN_STEPS
from data_layer.steps import _FAVORITES
from data_layer.storable import iso
from data_layer.tables import steps as table
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.chat.errors import NotFound
from parley.chat.turns import Owner
from tests.contract.layer_support import (
    NOON,
    a_step,
    as_owner,
    opened,
    outputs_of,
    steps_of,
)
from tests.contract.support import a_turn, an_end
from tests.contract.test_statements import counted


@pytest.fixture
def layer(database: Database, writer: Writer) -> ChainlitLayer:
    return ChainlitLayer(database, writer)


@pytest.fixture
def turns(database: Database, writer: Writer) -> SqlTurnStore:
    return SqlTurnStore(database, writer)


async def answered(turns: SqlTurnStore, owner: Owner, thread_id: str, text: str) -> str:
    """A turn that is over; gives the id of its answer."""
    turn = (await turns.begin(a_turn(owner, thread_id, text))).turn
    await turns.finish(turn, an_end(f"re: {text}"))
    return turn.answer_step_id


async def kept(layer: ChainlitLayer, step: StepDict) -> StepDict:
    await layer.create_step(step)
    (shown,) = await steps_of(layer, step["threadId"])
    return shown


FULL: dict[str, Any] = {
    "name": "search",
    "type": "tool",
    "parentId": None,
    "command": "find",
    "modes": {"model": "large"},
    "waitForAnswer": False,
    "isError": True,
    "metadata": {"a": [1, {"b": None}], "icon": "cat"},
    "tags": ["x"],
    "input": "cats",
    "output": "found",
    "createdAt": NOON,
    "start": NOON,
    "end": "2026-01-02T12:00:01.500000Z",
    "generation": {"provider": "p", "tokenCount": 3},
    "showInput": "json",
    "defaultOpen": True,
    "autoCollapse": True,
    "language": "json",
    "icon": "cat",
    "notYetInvented": {"by": "Chainlit"},
}


async def test_step_comes_back_as_it_was_written(
    layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    assert set(StepDict.__annotations__) - set(FULL) == {"id", "threadId", "streaming", "feedback"}
    step = cast(StepDict, {"id": str(uuid4()), "threadId": thread_id, "streaming": True, **FULL})
    with as_owner(owner):
        assert await kept(layer, step) == {**step, "streaming": False}


async def test_step_of_next_to_nothing_is_kept(
    layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    step = cast(StepDict, {"id": str(uuid4()).upper(), "threadId": thread_id, "createdAt": None})
    with as_owner(owner):
        shown = await kept(layer, step)
    assert (shown["type"], shown["output"], shown["end"]) == ("undefined", "", None)
    assert str(shown["createdAt"]).endswith("Z")


async def test_what_no_database_takes_is_replaced(
    layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    bad, good = "a\0b\ud800c", "a\ufffdb\ufffdc"
    nested = {bad: [bad, {"x": (bad, float("nan"), object())}]}
    step = a_step(thread_id, bad, name=bad, metadata=nested, generation=nested, language=bad)
    with as_owner(owner):
        shown = await kept(layer, step)
    assert (shown["output"], shown["name"], shown["language"]) == (good, good, good)
    expected = {good: [good, {"x": [good, None, None]}]}
    assert shown["metadata"] == shown["generation"] == expected


DEEP: dict[str, Any] = {}
for _ in range(5000):
    DEEP = {"deeper": DEEP}


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "../etc"},
        {"threadId": "not-a-uuid'; --"},
        {"createdAt": "2026-01-02T12:00:00"},
        {"createdAt": "noon"},
        {"start": 12},
        {"end": "0001-01-01T00:00:00+14:00"},
        {"metadata": ["a"]},
        {"metadata": DEEP},
        {"metadata": {"a": "x" * 10_000_000}},
        {"sparkle": "x" * 2_000_000},
    ],
)
async def test_step_that_cannot_be_kept_is_not_and_nobody_is_hurt(
    layer: ChainlitLayer, owner: Owner, thread_id: str, changes: dict[str, Any]
) -> None:
    with as_owner(owner):
        await layer.create_step(a_step(thread_id, "good"))
        await layer.create_step(a_step(thread_id, **changes))
        await layer.update_step(a_step(thread_id, **changes))
        await layer.delete_step("../etc")
        assert await outputs_of(layer, thread_id) == ["good"]


async def test_children_come_after_their_parents(
    layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    run = a_step(thread_id, "run", createdAt="2026-01-02T12:00:01Z")
    answer = a_step(thread_id, "answer", parentId=run["id"], createdAt=NOON)
    lost = a_step(thread_id, "lost", parentId=str(uuid4()), createdAt="2026-01-02T12:00:02Z")
    with as_owner(owner):
        for step in (lost, answer, run):
            await layer.create_step(step)
        shown = await steps_of(layer, thread_id)
    parents = [(step["output"], step["parentId"]) for step in shown]
    assert parents == [("run", None), ("answer", run["id"]), ("lost", None)]


async def test_deleted_step_takes_along_what_is_below_it(
    layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    top = a_step(thread_id, "top")
    below = a_step(thread_id, "below", parentId=top["id"])
    deep = a_step(thread_id, "deep", parentId=below["id"])
    top["parentId"] = deep["id"]
    with as_owner(owner):
        for step in (top, below, deep, a_step(thread_id, "beside")):
            await layer.create_step(step)
        await layer.delete_step(top["id"])
        await layer.update_step(deep)
        assert await outputs_of(layer, thread_id) == ["beside"]


async def test_favorites_are_marked_and_found(
    layer: ChainlitLayer, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    await answered(turns, owner, thread_id, "Cats?")
    with as_owner(owner):
        await layer.create_step(a_step(thread_id, "tool", metadata={"a": 1}))
        shown = {step["output"]: step for step in await steps_of(layer, thread_id)}
        answer, tool = shown["re: Cats?"], shown["tool"]
        for step in (tool, answer):
            marked = await layer.set_step_favorite(step, favorite=True)
            assert marked["metadata"]["favorite"] is True
        favorites = await layer.get_favorite_steps(owner.id)
        assert [step["output"] for step in favorites] == ["re: Cats?", "tool"]
        assert favorites[1]["metadata"] == {"a": 1, "favorite": True}
        assert isinstance(favorites[0]["createdAt"], str)
        await layer.set_step_favorite(answer, favorite=False)
        await layer.update_step({**tool, "metadata": {"favorite": False}})
        assert await layer.get_favorite_steps(owner.id) == []


async def test_step_that_is_not_there_is_no_favorite(layer: ChainlitLayer, owner: Owner) -> None:
    with as_owner(owner), pytest.raises(NotFound):
        await layer.set_step_favorite(a_step(str(uuid4())), favorite=True)


async def test_chosen_branch_is_shown_and_its_tools(
    layer: ChainlitLayer, turns: SqlTurnStore, writer: Writer, owner: Owner, thread_id: str
) -> None:
    await answered(turns, owner, thread_id, "first")
    left = (await turns.begin(a_turn(owner, thread_id, "left"))).turn
    await turns.finish(left, an_end("re: left"))
    chosen = (await turns.begin(a_turn(owner, thread_id, "chosen", replaces=left.id))).turn
    await turns.finish(chosen, an_end("re: chosen"))
    tool = {
        "id": str(uuid4()),
        "thread_id": thread_id,
        "owner_id": owner.id,
        "turn_id": chosen.id,
        "parent_id": chosen.answer_step_id,
        "arrival": 3,
        "ordinal": 2,
        "type": "tool",
        "name": "search",
        "input": "cats",
        "output": "found",
        "reasoning": "",
        "is_error": False,
        "metadata": {},
        "created_at": datetime.now(UTC),
    }
    await writer.write(lambda connection: connection.execute(sa.insert(table).values(tool)))
    with as_owner(owner):
        shown = await steps_of(layer, thread_id)
    expected = ["first", "hm", "re: first", "chosen", "hm", "re: chosen", "found"]
    assert [step["output"] for step in shown] == expected
    assert shown[-1]["parentId"] == chosen.answer_step_id


@pytest.mark.parametrize(("most", "shown"), [(4, 5), (None, 14), (100, 14)])
async def test_thread_opens_at_its_last_messages(
    database: Database,
    writer: Writer,
    turns: SqlTurnStore,
    owner: Owner,
    thread_id: str,
    most: int | None,
    shown: int,
) -> None:
    layer = ChainlitLayer(database, writer, shown_messages=most)
    for number in range(4):
        await answered(turns, owner, thread_id, str(number))
    now = iso(datetime.now(UTC))
    with as_owner(owner):
        for text in ("by", "Chainlit"):
            step = a_step(thread_id, text, type="assistant_message", createdAt=now)
            await layer.create_step(step)
        outputs = await outputs_of(layer, thread_id)
    assert len(outputs) == shown
    assert outputs[-5:] == ["3", "hm", "re: 3", "by", "Chainlit"]


async def test_large_thread_costs_no_more_statements(
    layer: ChainlitLayer, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    costs = []
    for _ in range(2):
        for number in range(5):
            answer_id = await answered(turns, owner, thread_id, str(number))
            with as_owner(owner):
                await layer.create_step(a_step(thread_id, parentId=answer_id))
        with as_owner(owner), counted() as cost:
            await opened(layer, thread_id)
        costs.append(len(cost.statements))
    assert costs[0] == costs[1] <= 5


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (_TURN_STEPS, "ix_steps_turn"),
        (_FREE_STEPS, "ix_steps_place"),
        (_OF_STEPS, "feedbacks_step_id|autoindex_feedbacks_2"),
        (_FAVORITES, "ix_steps_favorite"),
    ],
)
async def test_hot_reads_use_their_index(
    database: Database, owner: Owner, statement: sa.Select[Any], index: str
) -> None:
    key = {"owner": owner.id, "thread": str(uuid4()), "head": str(uuid4())}
    key |= {"most_turns": "50", "most_steps": "100", "first_arrival": "0"}
    many = {"steps": [str(uuid4())]}

    def explained(connection: sa.Connection) -> str:
        sqlite = connection.dialect.name == "sqlite"
        if not sqlite:  # an empty table is read whole
            for what in ("seqscan", "bitmapscan"):
                connection.exec_driver_sql(f"SET LOCAL enable_{what} = off")
        literal = statement.params(key | many).compile(
            connection, compile_kwargs={"literal_binds": True}
        )
        plan = "EXPLAIN QUERY PLAN" if sqlite else "EXPLAIN"
        return str(connection.exec_driver_sql(f"{plan} {literal}").all())

    plan = await database.read(explained)
    assert re.search(index, plan), plan
    assert "SCAN steps" not in plan
    # Not all that the owner has, to look for the branch among it.
    assert "SEARCH turns USING INDEX sqlite_autoindex_turns_2 (owner_id=?)" not in plan
