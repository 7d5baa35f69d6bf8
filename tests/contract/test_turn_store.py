"""The `TurnStore` port: SQLite, PostgreSQL and the fake of the unit tests."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from parley.chat.deltas import FinishReason
from parley.chat.errors import Conflict, NotFound, RateLimited, StaleFence
from parley.chat.ports import TurnStore
from parley.chat.turns import Answer, Exchange, Owner, Turn, TurnState
from tests.contract.conftest import Kept
from tests.contract.support import a_turn, an_end, an_owner

CHARS = 10_000


async def begun(turns: TurnStore, owner: Owner, thread_id: str, text: str = "Hello?") -> Turn:
    return (await turns.begin(a_turn(owner, thread_id, text))).turn


async def test_first_turn_runs_and_is_read_back(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    new = a_turn(owner, thread_id)
    one = await turns.begin(new)
    assert one.created
    turn = one.turn
    assert (turn.id, turn.state, turn.parent_id) == (new.id, TurnState.RUNNING, None)
    assert (turn.text, turn.model, turn.sampling) == ("Hello?", "p:model", new.sampling)
    assert (turn.system_prompt, turn.fence, turn.stop_requested) == ("Be brief.", 1, False)
    assert await turns.turn(owner.id, turn.id) == turn
    assert await turns.running(owner.id, thread_id) == turn


async def test_next_turn_is_queued_behind_it(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    first, second = [await begun(turns, owner, thread_id) for _ in range(2)]
    assert (second.state, second.parent_id) == (TurnState.QUEUED, first.id)
    running = await turns.running(owner.id, thread_id)
    assert running is not None
    assert running.id == first.id


async def test_one_of_many_at_once_runs(turns: TurnStore, owner: Owner, thread_id: str) -> None:
    many = await asyncio.gather(*(begun(turns, owner, thread_id) for _ in range(20)))
    assert sum(turn.state is TurnState.RUNNING for turn in many) == 1
    assert len({turn.parent_id for turn in many}) == 20


async def test_same_key_gives_the_same_turn(turns: TurnStore, owner: Owner, thread_id: str) -> None:
    first = await turns.begin(a_turn(owner, thread_id, key="k"))
    again = await turns.begin(a_turn(owner, thread_id, key="k"))
    assert (again.created, again.turn) == (False, first.turn)


async def test_same_key_at_once_gives_one_turn(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    many = await asyncio.gather(
        *(turns.begin(a_turn(owner, thread_id, key="k")) for _ in range(20))
    )
    assert sum(one.created for one in many) == 1
    assert len({one.turn.id for one in many}) == 1


async def test_same_key_with_another_body_conflicts(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    await turns.begin(a_turn(owner, thread_id, key="k"))
    with pytest.raises(Conflict):
        await turns.begin(a_turn(owner, thread_id, "Another", key="k"))


async def test_key_belongs_to_its_thread(turns: TurnStore, owner: Owner, thread_id: str) -> None:
    await turns.begin(a_turn(owner, thread_id, key="k"))
    assert (await turns.begin(a_turn(owner, str(uuid4()), key="k"))).created


async def test_begin_that_was_not_heard_of_is_its_own(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    """A commit whose answer got lost is run again: it created the turn all the same."""
    new = a_turn(owner, thread_id)
    first, again = await turns.begin(new), await turns.begin(new)
    assert (again.created, again.turn) == (True, first.turn)


async def test_taken_step_id_conflicts(turns: TurnStore, owner: Owner, thread_id: str) -> None:
    turn = await begun(turns, owner, thread_id)
    other = an_owner()
    for taken in (turn.user_step_id, turn.answer_step_id):
        with pytest.raises(Conflict):
            await turns.begin(a_turn(other, str(uuid4()), user_step_id=taken))
    assert await turns.turn(owner.id, turn.id) == turn


async def test_foreign_thread_looks_like_a_deleted_one(
    kept: Kept, owner: Owner, thread_id: str
) -> None:
    await begun(kept.turns, owner, thread_id)
    with pytest.raises(NotFound) as foreign:
        await begun(kept.turns, an_owner(), thread_id)
    await kept.delete_thread(owner.id, thread_id)
    with pytest.raises(NotFound) as deleted:
        await begun(kept.turns, owner, thread_id)
    assert str(foreign.value) == str(deleted.value)


async def test_foreign_turn_looks_like_a_missing_one(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    turn, other = await begun(turns, owner, thread_id), an_owner()
    messages = set()
    for turn_id in (turn.id, str(uuid4()), "no id"):
        for method in (turns.turn, turns.request_stop):
            with pytest.raises(NotFound) as missing:
                await method(other.id, turn_id)
            messages.add(str(missing.value))
    assert len(messages) == 1
    assert await turns.running(other.id, thread_id) is None
    assert await turns.turn(owner.id, turn.id) == turn


async def test_queue_is_limited_for_an_owner(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    for _ in range(3):
        await turns.begin(a_turn(owner, thread_id, max_queued=2))
    with pytest.raises(RateLimited):
        await turns.begin(a_turn(owner, thread_id, max_queued=2))
    idle = await turns.begin(a_turn(owner, str(uuid4()), max_queued=2))
    assert idle.turn.state is TurnState.RUNNING
    with pytest.raises(RateLimited):
        await turns.begin(a_turn(owner, idle.turn.thread_id, max_queued=2))
    await turns.begin(a_turn(an_owner(), str(uuid4()), max_queued=2))


async def test_turn_that_may_not_run_waits_or_is_refused(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    with pytest.raises(RateLimited):
        await turns.begin(a_turn(owner, thread_id, max_running=0))
    assert not await turns.owns_thread(owner.id, thread_id)
    first = await turns.begin(a_turn(owner, thread_id, key="k"))
    assert not (await turns.begin(a_turn(owner, thread_id, key="k", max_running=0))).created
    queued = await turns.begin(a_turn(owner, thread_id, max_running=0))
    assert queued.turn.state is TurnState.QUEUED
    following = await turns.finish(first.turn, an_end())
    assert following is not None
    await turns.finish(following, an_end())
    with pytest.raises(RateLimited):
        await turns.begin(a_turn(owner, thread_id, max_running=0))


async def test_checkpoint_keeps_what_is_there(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    turn = await begun(turns, owner, thread_id)
    await turns.checkpoint(turn, Answer(text="Good ", reasoning="hm"))
    row = await turns.turn(owner.id, turn.id)
    assert (row.state, row.answer.text, row.answer.reasoning) == (
        TurnState.RUNNING,
        "Good ",
        "hm",
    )


@pytest.mark.parametrize("text", ["", "Good day", "日本\n\u2028'\"\\", "x" * 100_000])
async def test_end_is_kept_whole(turns: TurnStore, owner: Owner, thread_id: str, text: str) -> None:
    turn = await begun(turns, owner, thread_id)
    answer = an_end(text)
    assert await turns.finish(turn, answer) is None
    row = await turns.turn(owner.id, turn.id)
    assert (row.state, row.answer) == (TurnState.COMPLETED, answer)
    assert await turns.running(owner.id, thread_id) is None


async def test_failure_is_kept_with_its_text(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    turn = await begun(turns, owner, thread_id)
    failure = Answer(
        state=TurnState.FAILED,
        text="Good ",
        finish_reason=FinishReason.ERROR,
        error_code="internal",
        error_message="Sorry.",
        ended_at=datetime.now(UTC),
    )
    await turns.finish(turn, failure)
    assert (await turns.turn(owner.id, turn.id)).answer == failure


async def test_end_runs_the_queue_in_order_of_arrival(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    first, *waiting = [await begun(turns, owner, thread_id) for _ in range(4)]
    running, order = first, []
    while following := await turns.finish(running, an_end()):
        assert following.state is TurnState.RUNNING
        assert await turns.running(owner.id, thread_id) == following
        order.append(following.id)
        running = following
    assert order == [turn.id for turn in waiting]


async def test_ended_turn_takes_no_more(turns: TurnStore, owner: Owner, thread_id: str) -> None:
    turn = await begun(turns, owner, thread_id)
    answer = an_end()
    await turns.finish(turn, answer)
    with pytest.raises(StaleFence):
        await turns.checkpoint(turn, Answer(text="late"))
    with pytest.raises(StaleFence):
        await turns.finish(turn, an_end("late", ended_at=datetime.now(UTC) + timedelta(seconds=1)))
    assert (await turns.turn(owner.id, turn.id)).answer == answer


async def test_end_that_was_not_heard_of_is_answered_again(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    first, _ = [await begun(turns, owner, thread_id) for _ in range(2)]
    answer = an_end()
    assert await turns.finish(first, answer) == await turns.finish(first, answer)


async def test_end_heard_of_late_does_not_give_a_turn_that_was_begun_since(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    first, answer = await begun(turns, owner, thread_id), an_end()
    assert await turns.finish(first, answer) is None
    second = await begun(turns, owner, thread_id)
    assert second.state is TurnState.RUNNING
    assert await turns.finish(first, answer) is None


async def test_stale_fence_writes_nothing(turns: TurnStore, owner: Owner, thread_id: str) -> None:
    turn = await begun(turns, owner, thread_id)
    stale = replace(turn, fence=turn.fence - 1)
    with pytest.raises(StaleFence):
        await turns.checkpoint(stale, Answer(text="late"))
    with pytest.raises(StaleFence):
        await turns.finish(stale, an_end())
    assert await turns.turn(owner.id, turn.id) == turn


async def test_queued_turn_cannot_be_written(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    await begun(turns, owner, thread_id)
    queued = await begun(turns, owner, thread_id)
    with pytest.raises(StaleFence):
        await turns.checkpoint(queued, Answer(text="early"))
    with pytest.raises(StaleFence):
        await turns.finish(queued, an_end())


async def test_deleted_thread_takes_nothing_and_stays_deleted(
    kept: Kept, owner: Owner, thread_id: str
) -> None:
    turn = await begun(kept.turns, owner, thread_id)
    await kept.delete_thread(owner.id, thread_id)
    with pytest.raises(StaleFence):
        await kept.turns.checkpoint(turn, Answer(text="late"))
    with pytest.raises(StaleFence):
        await kept.turns.finish(turn, an_end())
    with pytest.raises(NotFound):
        await kept.turns.turn(owner.id, turn.id)
    assert not await kept.turns.owns_thread(owner.id, thread_id)


async def test_stop_flags_a_running_turn(turns: TurnStore, owner: Owner, thread_id: str) -> None:
    turn = await begun(turns, owner, thread_id)
    stopped = await turns.request_stop(owner.id, turn.id)
    assert (stopped.state, stopped.stop_requested) == (TurnState.RUNNING, True)
    assert await turns.turn(owner.id, turn.id) == stopped


async def test_stop_ends_a_queued_turn(turns: TurnStore, owner: Owner, thread_id: str) -> None:
    first, second, third = [await begun(turns, owner, thread_id) for _ in range(3)]
    stopped = await turns.request_stop(owner.id, second.id)
    assert (stopped.state, stopped.stop_requested) == (TurnState.STOPPED, True)
    assert stopped.answer.finish_reason is FinishReason.STOPPED
    assert stopped.answer.ended_at is not None
    following = await turns.finish(first, an_end())
    assert following is not None
    assert following.id == third.id


async def test_stop_changes_nothing_of_a_turn_that_is_over(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    turn = await begun(turns, owner, thread_id)
    await turns.finish(turn, an_end())
    over = await turns.turn(owner.id, turn.id)
    assert await turns.request_stop(owner.id, turn.id) == over


async def test_history_is_the_newest_of_the_branch(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    said: list[Exchange] = []
    for number in range(5):
        turn = await begun(turns, owner, thread_id, f"question {number}")
        await turns.finish(turn, an_end(f"answer {number}"))
        said.append(Exchange(turn.id, turn.parent_id, f"question {number}", f"answer {number}"))
    for limit in (1, 3, 5, 9):
        assert list(await turns.history(owner.id, said[-1].turn_id, limit, CHARS)) == said[-limit:]
    assert list(await turns.history(owner.id, said[1].turn_id, 9, CHARS)) == said[:2]


async def test_history_is_bounded_by_its_characters(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    ids = []
    for text in ("four", "日本\U0001f600!", "four"):
        turn = await begun(turns, owner, thread_id, text)
        await turns.finish(turn, an_end("four"))
        ids.append(turn.id)
    for chars, count in ((7, 0), (8, 1), (15, 1), (16, 2), (23, 2), (24, 3)):
        assert len(await turns.history(owner.id, ids[-1], 9, chars)) == count


async def test_step_names_its_turn(turns: TurnStore, owner: Owner, thread_id: str) -> None:
    turn = await begun(turns, owner, thread_id)
    for step_id in (turn.user_step_id, turn.answer_step_id):
        assert await turns.turn_of_step(owner.id, step_id) == turn.id
        with pytest.raises(NotFound):
            await turns.turn_of_step(an_owner().id, step_id)
    with pytest.raises(NotFound):
        await turns.turn_of_step(owner.id, turn.id)


async def test_exchanges_are_read_by_their_ids(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    stranger = an_owner()
    theirs = await begun(turns, stranger, str(uuid4()))
    mine = [await begun(turns, owner, thread_id, text) for text in "abc"]
    wanted = [mine[2].id, mine[0].id, theirs.id, str(uuid4())]
    found = {said.turn_id: said.user_text for said in await turns.exchanges(owner.id, wanted)}
    assert found == {mine[0].id: "a", mine[2].id: "c"}
    assert list(await turns.exchanges(owner.id, [])) == []


async def test_history_is_its_owners_alone(turns: TurnStore, owner: Owner, thread_id: str) -> None:
    turn = await begun(turns, owner, thread_id)
    assert list(await turns.history(an_owner().id, turn.id, 9, CHARS)) == []
    assert list(await turns.history(owner.id, str(uuid4()), 9, CHARS)) == []


async def test_an_end_told_late_gives_nobody_elses_turn(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    first, end = await begun(turns, owner, thread_id), an_end()
    await turns.finish(first, end)
    second = (await turns.begin(a_turn(owner, thread_id, replica_id="other"))).turn
    third = (await turns.begin(a_turn(owner, thread_id, replica_id="other"))).turn
    promoted = await turns.finish(second, an_end())
    assert promoted is not None
    assert promoted.id == third.id
    assert await turns.finish(first, end) is None, "the other replica runs it"


async def test_thread_is_owned_once_it_is_there(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    assert not await turns.owns_thread(owner.id, thread_id)
    await begun(turns, owner, thread_id)
    assert await turns.owns_thread(owner.id, thread_id)
    assert not await turns.owns_thread(an_owner().id, thread_id)
