"""Branches: a turn that says another anew is its sibling, and nothing is deleted."""

from uuid import uuid4

import pytest

from parley.chat.errors import Conflict, NotFound
from parley.chat.ports import TurnStore
from parley.chat.turns import Owner, Turn
from tests.contract.support import a_turn, an_end, an_owner


async def said(
    turns: TurnStore, owner: Owner, thread_id: str, text: str, replaces: Turn | None = None
) -> Turn:
    new = a_turn(owner, thread_id, text, replaces=replaces.id if replaces else None)
    turn = (await turns.begin(new)).turn
    await turns.finish(turn, an_end(f"re {text}"))
    return turn


async def texts(turns: TurnStore, owner: Owner, tip_id: str | None) -> list[str]:
    assert tip_id is not None
    return [exchange.user_text for exchange in await turns.history(owner.id, tip_id, 100, 10_000)]


async def test_edit_is_a_sibling_and_deletes_nothing(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    first, second = [await said(turns, owner, thread_id, text) for text in ("a", "b")]
    edited = await said(turns, owner, thread_id, "b2", second)
    assert (edited.parent_id, second.parent_id) == (first.id, first.id)
    assert await texts(turns, owner, edited.id) == ["a", "b2"]
    assert await texts(turns, owner, second.id) == ["a", "b"]


async def test_next_turn_follows_the_edit(turns: TurnStore, owner: Owner, thread_id: str) -> None:
    first = await said(turns, owner, thread_id, "a")
    await said(turns, owner, thread_id, "b")
    await said(turns, owner, thread_id, "a2", first)
    assert (await said(turns, owner, thread_id, "c")).parent_id not in {None, first.id}
    last = await said(turns, owner, thread_id, "d")
    assert await texts(turns, owner, last.id) == ["a2", "c", "d"]


async def test_chosen_branch_ends_at_its_newest_turn(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    first, second, third = [await said(turns, owner, thread_id, text) for text in "abc"]
    await said(turns, owner, thread_id, "b2", second)
    assert await turns.choose_branch(owner.id, thread_id, second.id) == third.id
    assert (await said(turns, owner, thread_id, "d")).parent_id == third.id
    newest = await turns.choose_branch(owner.id, thread_id, first.id)
    assert await texts(turns, owner, newest) == ["a", "b", "c", "d"]


async def test_only_turns_of_the_thread_branch(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    mine = await said(turns, owner, thread_id, "a")
    elsewhere = await said(turns, owner, str(uuid4()), "a")
    stranger, unknown = an_owner(), str(uuid4())
    theirs = await said(turns, stranger, str(uuid4()), "a")
    for turn_id in (elsewhere.id, theirs.id, unknown):
        with pytest.raises(NotFound):
            await turns.begin(a_turn(owner, thread_id, replaces=turn_id))
        with pytest.raises(NotFound):
            await turns.choose_branch(owner.id, thread_id, turn_id)
    with pytest.raises(NotFound):
        await turns.begin(a_turn(owner, str(uuid4()), replaces=mine.id))
    with pytest.raises(NotFound):
        await turns.choose_branch(stranger.id, thread_id, mine.id)


async def test_key_of_an_edit_is_its_own(turns: TurnStore, owner: Owner, thread_id: str) -> None:
    first = await said(turns, owner, thread_id, "a")
    edit = a_turn(owner, thread_id, "a2", replaces=first.id, key="k", digest="one")
    assert (await turns.begin(edit)).created
    again = a_turn(owner, thread_id, "a2", replaces=first.id, key="k", digest="one")
    assert not (await turns.begin(again)).created
    with pytest.raises(Conflict):
        await turns.begin(a_turn(owner, thread_id, "a2", key="k", digest="two"))
