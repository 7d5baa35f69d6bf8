"""Chainlit waits for none of its writes: whatever order they come in, the thread is the same."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import cast
from uuid import uuid4

import pytest
import sqlalchemy as sa
from chainlit.element import Text
from chainlit.step import StepDict
from chainlit.types import Pagination, ThreadFilter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_layer.chainlit_layer import ChainlitLayer
from data_layer.database import Database, DatabaseConfig, open_database
from data_layer.step_dicts import step_write
from data_layer.steps import SqlSteps
from data_layer.tables import steps as table
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer, open_writer
from parley.chat.errors import TooLarge
from parley.chat.turns import Owner
from tests.contract.layer_support import NOON, a_step, as_owner, opened, outputs_of, steps_of
from tests.contract.support import a_turn, an_end, an_owner


@pytest.fixture
def layer(database: Database, writer: Writer) -> ChainlitLayer:
    return ChainlitLayer(database, writer)


@pytest.fixture
async def other_replica(database_url: str, layer: ChainlitLayer) -> AsyncIterator[ChainlitLayer]:
    """Another layer, that shares nothing with this one but the migrated database."""
    assert layer is not None
    async with (
        open_database(DatabaseConfig(url=database_url)) as other,
        open_writer(other) as writer,
    ):
        yield ChainlitLayer(other, writer)


def changed(step: StepDict, **changes: object) -> StepDict:
    return cast(StepDict, {**step, **changes})


async def test_create_after_the_final_text_takes_nothing_away(
    layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    step = a_step(thread_id, "")
    with as_owner(owner):
        await layer.update_step(changed(step, output="Good day", isError=True, end=NOON))
        await layer.create_step(step)
        (kept,) = await steps_of(layer, thread_id)
    assert (kept["output"], kept["isError"], kept["end"]) == ("Good day", True, NOON)


async def test_create_fills_what_a_smaller_update_left_open(
    layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    step = a_step(thread_id, "", name="search", input="cats", language="json")
    small = cast(StepDict, {"id": step["id"], "threadId": thread_id, "output": "found"})
    with as_owner(owner):
        await layer.update_step(small)
        await layer.create_step(step)
        await layer.update_step(small)
        (kept,) = await steps_of(layer, thread_id)
    assert (kept["name"], kept["input"], kept["output"]) == ("search", "cats", "found")
    assert (kept["language"], kept["createdAt"]) == ("json", NOON)


async def test_create_that_comes_twice_changes_nothing(
    layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    step = a_step(thread_id)
    with as_owner(owner):
        await layer.create_step(step)
        before = await opened(layer, thread_id)
        await layer.create_step(changed(step, output=""))
        assert await opened(layer, thread_id) == before


async def test_update_may_empty_a_text_and_a_late_create_does_not_bring_it_back(
    layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    step = a_step(thread_id, "Thinking")
    with as_owner(owner):
        await layer.update_step(changed(step, output=""))
        await layer.create_step(step)
        assert await outputs_of(layer, thread_id) == [""]


async def test_update_asked_for_later_wins_whenever_it_comes(
    database: Database, writer: Writer, layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    steps, step = SqlSteps(database, writer), a_step(thread_id)
    for stamp, text in ((1, "one"), (3, "three"), (2, "two")):
        await steps.write(owner, step_write(changed(step, output=text), updated_at=stamp))
    with as_owner(owner):
        assert await outputs_of(layer, thread_id) == ["three"]


TEXTS = st.sampled_from(["", "Good", "Good day", "Bye"])
CHANGES = st.fixed_dictionaries(
    {
        "output": TEXTS,
        "input": TEXTS,
        "isError": st.booleans(),
        "end": st.sampled_from([None, NOON]),
        "generation": st.sampled_from([None, {"tokenCount": 1}]),
        "metadata": st.sampled_from([{}, {"a": 1}, {"favorite": True}]),
        "language": st.sampled_from([None, "json"]),
    }
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[dict[str, object]], list[int]]:
    """A create and some updates, and the order in which they come, some of them twice."""
    writes = draw(st.lists(CHANGES, min_size=2, max_size=4))
    again = draw(st.lists(st.sampled_from(range(len(writes))), max_size=3))
    return writes, draw(st.permutations([*range(len(writes)), *again]))


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories())
async def test_any_order_and_any_repetition_ends_in_the_same_row(
    database: Database,
    writer: Writer,
    layer: ChainlitLayer,
    history: tuple[list[dict[str, object]], list[int]],
) -> None:
    writes, in_disorder = history
    owner, ends = an_owner(), []
    for order in (range(len(writes)), in_disorder):
        step = a_step(str(uuid4()))
        for number in order:
            write = step_write(changed(step, **writes[number]), updated_at=number or None)
            await SqlSteps(database, writer).write(owner, write)
        with as_owner(owner):
            (kept,) = await steps_of(layer, step["threadId"])
        ends.append(changed(kept, id="", threadId=""))
    assert ends[0] == ends[1]


async def test_step_deleted_before_it_is_created_stays_away(
    layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    gone, stays = a_step(thread_id), a_step(thread_id, "stays")
    with as_owner(owner):
        await layer.delete_step(gone["id"])
        await layer.create_step(stays)
        await layer.create_step(gone)
        await layer.delete_step(gone["id"])
        await layer.update_step(gone)
        assert await outputs_of(layer, thread_id) == ["stays"]


async def test_create_and_delete_of_two_replicas_never_leave_the_step(
    layer: ChainlitLayer, other_replica: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    with as_owner(owner):
        await layer.create_step(a_step(thread_id, "stays"))
        for _ in range(10):
            step = a_step(thread_id)
            await asyncio.gather(layer.create_step(step), other_replica.delete_step(step["id"]))
        assert await outputs_of(layer, thread_id) == ["stays"]


async def test_late_writes_do_not_bring_a_deleted_thread_back(
    layer: ChainlitLayer, database: Database, owner: Owner, thread_id: str
) -> None:
    left = sa.select(table.c.id).where(table.c.thread_id == thread_id)
    step = a_step(thread_id)
    with as_owner(owner):
        await layer.create_step(step)
        await layer.delete_thread(thread_id)
        await layer.create_step(a_step(thread_id))
        await layer.update_step(step)
        await layer.update_thread(thread_id, name="again", user_id=owner.id, tags=["x"])
        await layer.update_thread(thread_id, metadata={"a": 1})
        assert await layer.get_thread(thread_id) is None
        assert (await layer.list_threads(Pagination(first=9), ThreadFilter())).data == []
    assert await database.read(lambda connection: connection.execute(left).all()) == []


async def test_metadata_alone_makes_no_thread(
    layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    with as_owner(owner):
        await layer.update_thread(thread_id, metadata={"a": 1})
        assert await layer.get_thread(thread_id) is None


@pytest.mark.parametrize("step_first", [True, False])
async def test_thread_is_made_by_whichever_write_comes_first(
    layer: ChainlitLayer, owner: Owner, thread_id: str, *, step_first: bool
) -> None:
    with as_owner(owner):
        writes: list[Coroutine[None, None, None]] = [
            layer.create_step(a_step(thread_id)),
            layer.update_thread(thread_id, "Cats", owner.id, tags=["profile"]),
        ]
        for write in writes if step_first else reversed(writes):
            await write
        shown = await opened(layer, thread_id)
    assert (shown["name"], shown["tags"], shown["userId"]) == ("Cats", ["profile"], owner.id)
    assert len(shown["steps"]) == 1


async def test_first_writes_of_two_replicas_make_one_thread(
    layer: ChainlitLayer, other_replica: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    with as_owner(owner):
        steps = [a_step(thread_id, str(number)) for number in range(10)]
        replicas = (layer, other_replica)
        await asyncio.gather(
            *(replicas[number % 2].create_step(step) for number, step in enumerate(steps)),
            other_replica.update_thread(thread_id, "Cats", owner.id),
        )
        shown = await opened(layer, thread_id)
    assert shown["name"] == "Cats"
    assert {step["output"] for step in shown["steps"]} == {str(number) for number in range(10)}


async def test_thread_without_a_name_is_called_as_its_first_message(
    layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    with as_owner(owner):
        await layer.create_step(a_step(thread_id, "hidden", type="run"))
        await layer.create_step(a_step(thread_id, "About cats", type="user_message"))
        await layer.create_step(a_step(thread_id, "About dogs", type="user_message"))
        assert (await opened(layer, thread_id))["name"] == "About cats"


async def test_metadata_merges_lose_nothing_between_replicas(
    layer: ChainlitLayer, other_replica: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    with as_owner(owner):
        for replica in (layer, other_replica):  # connected before they race
            await replica.create_step(a_step(thread_id))
        for number in range(0, 10, 2):
            await asyncio.gather(
                layer.update_thread(thread_id, metadata={str(number): number}),
                other_replica.update_thread(thread_id, metadata={str(number + 1): number + 1}),
            )
        await layer.update_thread(thread_id, metadata={"0": None, "1": "one"})
        metadata = (await opened(layer, thread_id))["metadata"]
    expected = {str(number): number for number in range(2, 10)}
    assert metadata == {**expected, "1": "one", "is_shared": False}


async def test_sharing_is_not_changed_by_a_sessions_copy(
    layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    stale = {"is_shared": True, "shared_at": NOON, "chat_profile": "cats"}
    with as_owner(owner):
        await layer.create_step(a_step(thread_id))
        await layer.update_thread(thread_id, metadata=stale)
        metadata = (await opened(layer, thread_id))["metadata"]
    assert metadata == {"chat_profile": "cats", "is_shared": False}


async def test_metadata_that_grow_too_large_are_refused_whole(
    layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    with as_owner(owner):
        await layer.create_step(a_step(thread_id))
        for key in ("a", "b"):
            await layer.update_thread(thread_id, metadata={key: "x" * 400_000})
        for size in (400_000, 10_000_000):
            with pytest.raises(TooLarge):
                await layer.update_thread(thread_id, metadata={"c": "x" * size})
        assert set((await opened(layer, thread_id))["metadata"] or {}) == {"a", "b", "is_shared"}


async def test_chainlit_changes_no_word_of_a_turn(
    database: Database, writer: Writer, layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    turns = SqlTurnStore(database, writer)
    turn = (await turns.begin(a_turn(owner, thread_id))).turn
    await turns.finish(turn, an_end(reasoning=""))
    with as_owner(owner):
        link = Text(name="a", url="https://a.example/b", thread_id=thread_id)
        link.for_id = turn.user_step_id
        await layer.create_element(link)
        before = await opened(layer, thread_id)
        assert before["elements"]
        for shown in before["steps"]:
            forged = changed(shown, output="forged", name="x", type="run", metadata={"a": 1})
            await layer.create_step(forged)
            await layer.update_step(forged)
            await layer.delete_step(shown["id"])
        assert await opened(layer, thread_id) == before
