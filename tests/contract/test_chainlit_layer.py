"""Chainlit's data layer on our tables: always the owner of the request, never anybody else."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from chainlit.types import Pagination, ThreadDict, ThreadFilter
from chainlit.user import User

from data_layer.chainlit_layer import ChainlitLayer
from data_layer.database import Database
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.chat.errors import TooLarge, Unauthenticated
from parley.chat.turns import (
    Answer,
    ContextRecord,
    Owner,
    TurnState,
    error_step_id,
    thought_step_id,
)
from parley.context.memory_store import MemoryContextStore
from tests.contract.layer_support import as_owner, opened
from tests.contract.support import a_turn, an_end, an_owner


@pytest.fixture
def layer(database: Database, writer: Writer) -> ChainlitLayer:
    return ChainlitLayer(database, writer)


@pytest.fixture
def turns(database: Database, writer: Writer) -> SqlTurnStore:
    return SqlTurnStore(database, writer)


@pytest.fixture
async def thread(turns: SqlTurnStore, owner: Owner, thread_id: str) -> str:
    """A thread of `owner` with one answered turn."""
    turn = (await turns.begin(a_turn(owner, thread_id))).turn
    await turns.finish(turn, an_end())
    return thread_id


async def listed(layer: ChainlitLayer, first: int = 20, **filters: str) -> list[ThreadDict]:
    page = await layer.list_threads(Pagination(first=first), ThreadFilter(**filters))
    return page.data


async def test_user_is_the_owner_of_the_request(layer: ChainlitLayer, owner: Owner) -> None:
    assert await layer.get_user(owner.identifier) is None
    with as_owner(owner):
        unwritten = await layer.get_user(owner.identifier)
        user = await layer.create_user(User(identifier=owner.identifier))
        for found in (unwritten, user):
            assert found is not None
            assert (found.id, found.identifier) == (owner.id, owner.identifier)
        assert await layer.get_user("someone else") is None
        assert await layer.create_user(User(identifier="someone else")) is None


@pytest.mark.parametrize("spell", [str.upper, "{{{}}}".format, lambda id: id.replace("-", "")])
async def test_thread_is_deleted_however_its_id_is_spelled(
    layer: ChainlitLayer, owner: Owner, thread: str, spell: Callable[[str], str]
) -> None:
    with as_owner(owner):
        assert await layer.get_thread_author(spell(thread)) == owner.identifier
        await layer.delete_thread(spell(thread))
        assert await layer.get_thread(thread) is None


async def test_metadata_of_a_user_are_merged(layer: ChainlitLayer, owner: Owner) -> None:
    with as_owner(owner):
        for metadata in ({"a": 1, "b": "\0"}, {"a": None, "c": [3]}, {}):
            await layer.create_user(User(identifier=owner.identifier, metadata=metadata))
        user = await layer.get_user(owner.identifier)
        with pytest.raises(TooLarge):
            await layer.create_user(User(owner.identifier, metadata={"d": "x" * 2_000_000}))
    assert user is not None
    assert user.metadata == {"b": "\ufffd", "c": [3]}
    assert datetime.fromisoformat(user.createdAt).utcoffset() is not None


async def test_app_of_its_own_is_told_who_was_asked_for(database: Database, writer: Writer) -> None:
    name, seen = uuid4().hex, list[Owner]()
    layer = ChainlitLayer(database, writer, owner=lambda: seen[-1], seen=seen.append)
    assert await layer.get_user(name) is None
    made = await layer.create_user(User(identifier=name, metadata={"a": 1}))
    again = await layer.create_user(User(identifier=name))
    assert made == again == await layer.get_user(name)
    assert made is not None
    assert seen == [Owner(made.id, name)] * 3
    await layer.update_thread(thread_id := str(uuid4()), name="Mine", user_id=made.id)
    assert await layer.get_thread_author(thread_id) == name


async def test_one_user_is_made_by_two_first_sign_ins(database: Database, writer: Writer) -> None:
    name = uuid4().hex
    layer = ChainlitLayer(database, writer, seen=list[Owner]().append)
    users = await asyncio.gather(*(layer.create_user(User(identifier=name)) for _ in range(5)))
    assert len({user.id for user in users if user}) == 1


async def test_nobody_reads_nothing(layer: ChainlitLayer, thread: str) -> None:
    for call in (layer.get_thread, layer.get_thread_author, layer.delete_thread):
        with pytest.raises(Unauthenticated):
            await call(thread)
    with pytest.raises(Unauthenticated):
        await listed(layer)
    await layer.update_thread(thread, name="mine")


async def test_thread_has_what_the_page_needs(
    layer: ChainlitLayer, owner: Owner, thread: str
) -> None:
    with as_owner(owner):
        shown = await opened(layer, thread)
        assert await layer.get_thread_author(thread) == owner.identifier
    assert set(shown) == set(ThreadDict.__annotations__)
    assert (shown["userId"], shown["userIdentifier"]) == (owner.id, owner.identifier)
    assert (shown["name"], shown["tags"], shown["elements"]) == ("Hello?", [], [])
    assert datetime.fromisoformat(shown["createdAt"]).utcoffset() is not None
    question, thought, answer = shown["steps"]
    assert (question["type"], question["output"]) == ("user_message", "Hello?")
    assert (thought["type"], thought["output"], thought["generation"]) == ("tool", "hm", None)
    assert thought["id"] == thought_step_id(answer["id"])
    assert (answer["type"], answer["output"]) == ("assistant_message", "Good day")
    assert answer["generation"] is not None
    for step in shown["steps"]:
        assert step["threadId"] == thread
        assert str(step["createdAt"]).endswith("Z")
        assert step["parentId"] is None
        assert step["isError"] is step["streaming"] is step["showInput"] is False


async def test_thread_id_may_be_spelled_otherwise(
    layer: ChainlitLayer, owner: Owner, thread: str
) -> None:
    with as_owner(owner):
        assert (await opened(layer, thread.upper()))["id"] == thread


async def test_failed_turn_shows_its_error(
    layer: ChainlitLayer, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    turn = (await turns.begin(a_turn(owner, thread_id))).turn
    failure = Answer(
        TurnState.FAILED,
        "Good ",
        error_code="internal",
        error_message="Sorry.",
        ended_at=datetime.now(UTC),
    )
    await turns.finish(turn, failure)
    with as_owner(owner):
        *_, answer, error = (await opened(layer, thread_id))["steps"]
    assert (answer["output"], answer["isError"]) == ("Good ", False)
    assert (error["output"], error["isError"]) == ("Sorry.", True)
    assert error["id"] == error_step_id(turn.answer_step_id)
    assert error["metadata"]["turn_id"] == turn.id


@pytest.mark.parametrize("state", [TurnState.FAILED, TurnState.INTERRUPTED])
async def test_turn_without_text_shows_only_its_error(
    layer: ChainlitLayer, turns: SqlTurnStore, owner: Owner, thread_id: str, state: TurnState
) -> None:
    turn = (await turns.begin(a_turn(owner, thread_id))).turn
    await turns.finish(turn, Answer(state, error_message="Sorry.", ended_at=datetime.now(UTC)))
    with as_owner(owner):
        question, error = (await opened(layer, thread_id))["steps"]
    assert (question["type"], error["isError"]) == ("user_message", True)
    assert error["output"] == "Sorry."


async def test_answer_that_is_being_written_is_no_empty_bubble(
    layer: ChainlitLayer, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    await turns.begin(a_turn(owner, thread_id))
    with as_owner(owner):
        (question,) = (await opened(layer, thread_id))["steps"]
    assert question["type"] == "user_message"


async def test_list_is_paged_and_searched(
    layer: ChainlitLayer, turns: SqlTurnStore, owner: Owner
) -> None:
    for name in ("apples", "pears", "more apples"):
        new = a_turn(owner, str(uuid4()), thread_name=name)
        await turns.begin(replace(new, created_at=datetime.now(UTC)))
    with as_owner(owner):
        first = await layer.list_threads(Pagination(first=2), ThreadFilter())
        assert [row["name"] for row in first.data] == ["more apples", "pears"]
        assert first.pageInfo.hasNextPage
        rest = await layer.list_threads(
            Pagination(first=2, cursor=first.pageInfo.endCursor), ThreadFilter()
        )
        assert [row["name"] for row in rest.data] == ["apples"]
        assert not rest.pageInfo.hasNextPage
        found = await listed(layer, search="APPLES")
        assert [row["name"] for row in found] == ["more apples", "apples"]
        assert len(await listed(layer, first=0)) == 1
        # Whatever user Chainlit was told of, the list is the owner's.
        assert len(await listed(layer, userId=str(uuid4()))) == 3
    with as_owner(an_owner()):
        assert await listed(layer, userId=owner.id) == []


async def test_owner_renames_and_deletes(layer: ChainlitLayer, owner: Owner, thread: str) -> None:
    with as_owner(owner):
        await layer.update_thread(thread, name="Mine", user_id=str(uuid4()), metadata={"a": 1})
        shown = await opened(layer, thread)
        assert (shown["name"], shown["userId"]) == ("Mine", owner.id)
        assert shown["metadata"] == {"a": 1, "is_shared": False}
        await layer.delete_thread(thread)
        assert await layer.get_thread(thread) is None
        await layer.delete_thread(thread)


async def test_deleted_thread_leaves_no_context(
    database: Database, writer: Writer, owner: Owner, thread: str
) -> None:
    contexts = MemoryContextStore()
    layer = ChainlitLayer(database, writer, contexts=contexts)
    await contexts.save(thread, ContextRecord("head", ()))
    with as_owner(an_owner()):
        await layer.delete_thread(thread)
    assert await contexts.load(thread)
    with as_owner(owner):
        await layer.delete_thread(thread)
    assert await contexts.load(thread) is None


@pytest.mark.parametrize("which", ["foreign", "missing", "no id at all"])
async def test_other_threads_are_not_there(
    layer: ChainlitLayer, owner: Owner, thread: str, which: str
) -> None:
    asked = {"foreign": thread, "missing": str(uuid4()), "no id at all": "../etc"}[which]
    with as_owner(an_owner()):
        assert await layer.get_thread(asked) is None
        assert await layer.get_thread_author(asked) == ""
        await layer.update_thread(asked, name="Mine")
        await layer.delete_thread(asked)
    with as_owner(owner):
        assert (await opened(layer, thread))["name"] == "Hello?"
