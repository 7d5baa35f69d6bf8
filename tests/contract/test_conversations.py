"""Conversations on both databases: what the API reads and changes, and what it brings back."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from data_layer.conversations import SqlConversations
from data_layer.database import Database
from data_layer.elements import SqlElements
from data_layer.local_storage import LocalStorage
from data_layer.pages import encode_cursor
from data_layer.storage import StorageConfig
from data_layer.threads import SqlThreads
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.chat.conversations import BroughtTurn
from parley.chat.deltas import FinishReason
from parley.chat.errors import InvalidRequest, NotFound
from parley.chat.messages import Role
from parley.chat.news import Changed, Deleted, Named, ThreadNews
from parley.chat.tools import ToolUse
from parley.chat.turns import Owner, Turn
from parley.context.memory_store import MemoryContextStore
from tests.contract.support import a_turn, an_end, an_owner

BEFORE = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)


@pytest.fixture
def conversations(database: Database, writer: Writer, tmp_path: Path) -> SqlConversations:
    elements = SqlElements(database, writer, LocalStorage(StorageConfig(tmp_path)))
    return SqlConversations(database, writer, elements, MemoryContextStore())


@pytest.fixture
def store(database: Database, writer: Writer) -> SqlTurnStore:
    return SqlTurnStore(database, writer)


async def test_an_empty_one_is_named_by_its_first_turn(
    conversations: SqlConversations, store: SqlTurnStore, owner: Owner
) -> None:
    made = await conversations.create(owner, None, {"k": [1]})
    assert (made.title, made.model, made.metadata) == ("", None, {"k": [1]})
    for text in ("First words", "Others"):
        begun = await store.begin(a_turn(owner, made.id, text))
        await store.finish(begun.turn, an_end())
    read = await conversations.read(owner.id, made.id)
    assert (read.title, read.model) == ("First words", "p:model")
    assert read.updated_at > made.updated_at


async def test_a_title_by_hand_wins(
    conversations: SqlConversations, store: SqlTurnStore, owner: Owner
) -> None:
    made = await conversations.create(owner, None, {})
    await store.begin(a_turn(owner, made.id, "First words"))
    assert not await conversations.retitle(an_owner().id, made.id, "First words", "Foreign")
    assert await conversations.retitle(owner.id, made.id, "First words", "A better one")
    assert not await conversations.retitle(owner.id, made.id, "First words", "Too late")
    assert (await conversations.read(owner.id, made.id)).title == "A better one"


async def test_a_title_by_hand_may_be_the_first_words(
    conversations: SqlConversations, store: SqlTurnStore, owner: Owner
) -> None:
    given = await conversations.create(owner, "First words", {})
    renamed = await conversations.create(owner, None, {})
    for made in (given, renamed):
        await store.begin(a_turn(owner, made.id, "First words"))
    await conversations.change(owner.id, renamed.id, "First words", {})
    for made in (given, renamed):
        assert not await conversations.retitle(owner.id, made.id, "First words", "The model's")
        assert (await conversations.read(owner.id, made.id)).title == "First words"


async def test_a_title_by_hand_wins_at_the_same_moment(
    conversations: SqlConversations, store: SqlTurnStore, owner: Owner
) -> None:
    for number in range(20):
        made = await conversations.create(owner, None, {})
        begun = await store.begin(a_turn(owner, made.id, "First words"))
        await store.finish(begun.turn, an_end())
        by_model = conversations.retitle(owner.id, made.id, "First words", "The model's")
        by_hand = conversations.change(owner.id, made.id, "By hand", {})
        await asyncio.gather(*((by_model, by_hand) if number % 2 else (by_hand, by_model)))
        assert (await conversations.read(owner.id, made.id)).title == "By hand"


async def test_names_and_deletions_are_told_once_they_are_saved(
    database: Database, writer: Writer, owner: Owner
) -> None:
    told: list[ThreadNews] = []
    threads = SqlThreads(database, writer, tell=told.append)
    thread_id, other = str(uuid4()), str(uuid4())
    await SqlTurnStore(database, writer).begin(a_turn(owner, thread_id, "First words"))
    await threads.put(owner, thread_id, name=None, tags=["x"])
    assert not await threads.retitle(owner.id, thread_id, "Others", "The model's")
    with pytest.raises(NotFound):
        await threads.rename(owner.id, other, "mine")
    assert told == []
    assert await threads.retitle(owner.id, thread_id, "First words", "The model's")
    await threads.rename(owner.id, thread_id, "By hand")
    await threads.put(owner, thread_id, name="By Chainlit", tags=None)
    assert told == [Named(owner.id, thread_id)] * 3
    for _ in range(2):
        await threads.merge_metadata(owner.id, thread_id, {"model": "large"})
    assert told.pop() == Changed(owner.id, thread_id)
    assert told == [Named(owner.id, thread_id)] * 3
    with pytest.raises(NotFound):
        await threads.delete(owner.id, other)
    await threads.delete(owner.id, thread_id)
    assert told[3:] == [Deleted(owner.id, thread_id)]


async def test_large_metadata_is_left_out_of_lists(
    conversations: SqlConversations, owner: Owner
) -> None:
    made = await conversations.create(owner, "t", {"k": "x" * 10_000})
    (listed,) = (await conversations.page(owner.id, limit=5, cursor=None, search=None)).items
    assert (listed.id, listed.metadata) == (made.id, None)


async def test_a_waiting_answer_is_no_message_yet(
    conversations: SqlConversations, store: SqlTurnStore, owner: Owner
) -> None:
    made = await conversations.create(owner, None, {})
    await store.begin(a_turn(owner, made.id, "runs"))
    await store.begin(a_turn(owner, made.id, "waits"))
    page = await conversations.messages(owner.id, made.id, limit=9, cursor=None, order="asc")
    roles = [(said.role, said.text) for said in page.items]
    assert roles == [(Role.USER, "runs"), (Role.ASSISTANT, ""), (Role.USER, "waits")]


async def test_only_the_chosen_branch_is_read(
    conversations: SqlConversations, store: SqlTurnStore, owner: Owner
) -> None:
    made = await conversations.create(owner, None, {})
    first = (await store.begin(a_turn(owner, made.id, "old"))).turn
    await store.finish(first, an_end("old answer"))
    edited = await store.begin(a_turn(owner, made.id, "new", replaces=first.id))
    await store.finish(edited.turn, an_end("new answer"))
    page = await conversations.messages(owner.id, made.id, limit=9, cursor=None, order="desc")
    assert [said.text for said in page.items] == ["new answer", "new"]
    assert [t.text for t in await _all(conversations.turns(owner.id, made.id))] == ["new"]


async def test_what_is_brought_back_is_what_was_taken(
    conversations: SqlConversations, store: SqlTurnStore, owner: Owner
) -> None:
    use = ToolUse("c1", "web_search", "{}", 1, 0, "Searches", result="found")
    end = an_end("Answer", tools=(use,), ended_at=BEFORE + timedelta(seconds=3))
    turns = [BroughtTurn(f"Question {n}", "p:model", BEFORE, end) for n in range(60)]
    brought = await conversations.bring(owner, "Old times", {"m": 1}, turns)
    read = await _all(conversations.turns(owner.id, brought.id))
    assert [turn.text for turn in read] == [turn.text for turn in turns]
    assert all(turn.answer == end for turn in read)
    assert [turn.parent_id for turn in read] == [None, *(turn.id for turn in read[:-1])]

    hits = await conversations.page(owner.id, limit=5, cursor=None, search="question")
    assert [hit.id for hit in hits.items] == [brought.id]
    begun = await store.begin(a_turn(owner, brought.id, "And now?"))
    assert begun.turn.parent_id == read[-1].id
    assert len(await store.history(owner.id, begun.turn.id, 100, 10_000)) == 61


async def test_others_have_none(conversations: SqlConversations, owner: Owner) -> None:
    made, eve = await conversations.create(owner, "mine", {}), an_owner()
    for call in (
        conversations.read(eve.id, made.id),
        conversations.change(eve.id, made.id, "hers", {}),
        conversations.change(eve.id, made.id, None, {"hers": 1}),
        conversations.delete(eve.id, made.id),
        conversations.messages(eve.id, made.id, limit=1, cursor=None, order="asc"),
        _all(conversations.turns(eve.id, made.id)),
        conversations.read(owner.id, str(uuid4())),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await conversations.read(owner.id, made.id)).title == "mine"


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "MXwy",
        "MXwyfHg=",
        "OTk5OTk5OTk5OTk5fDB8eA==",
        encode_cursor(str(-(2**70)), "0", str(UUID(int=1))),
        encode_cursor("0", str(-(2**40)), str(UUID(int=1))),
    ],
)
async def test_cursors_of_others(
    conversations: SqlConversations, owner: Owner, cursor: str
) -> None:
    made = await conversations.create(owner, "mine", {})
    with pytest.raises(InvalidRequest):
        await conversations.messages(owner.id, made.id, limit=1, cursor=cursor, order="asc")


async def test_an_answer_that_failed_has_no_cost(
    conversations: SqlConversations, store: SqlTurnStore, owner: Owner
) -> None:
    made = await conversations.create(owner, None, {})
    turn = (await store.begin(a_turn(owner, made.id))).turn
    await store.finish(turn, an_end("", usage=None, finish_reason=FinishReason.ERROR))
    page = await conversations.messages(owner.id, made.id, limit=9, cursor=None, order="asc")
    assert (page.items[1].usage, page.items[1].finish_reason) == (None, FinishReason.ERROR)


async def _all(turns: AsyncIterator[Turn]) -> list[Turn]:
    return [turn async for turn in turns]
