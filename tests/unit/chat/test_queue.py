"""Turns of one thread in order, of many threads side by side; keys; limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import pytest
from asgi_correlation_id import correlation_id
from typing_extensions import override

from parley.chat.deltas import Delta, FinishReason
from parley.chat.errors import Conflict, NotFound, RateLimited
from parley.chat.models import CompletionRequest
from parley.chat.turns import TurnState
from tests.fakes.scripted_provider import ScriptedProvider
from tests.unit.chat.support import BEN, CONFIG, TroubledStore, bench


async def test_thread_answers_in_order_and_remembers() -> None:
    async with bench() as b:
        turns = [await b.submit(text) for text in ("one", "two", "three")]
        for index in range(3):
            (await b.provider.call(index)).finish(f"answer {index}")
        assert await b.texts(turns) == ["answer 0", "answer 1", "answer 2"]
        assert b.provider.calls[2].prompt == ["one", "answer 0", "two", "answer 1", "three"]


async def test_queued_turn_waits_for_the_running_one() -> None:
    async with bench() as b:
        first, second = await b.submit("one"), await b.submit("two")
        assert (first.state, second.state) == (TurnState.RUNNING, TurnState.QUEUED)
        (await b.provider.call()).finish()
        await b.folded(first)
        await b.provider.call(1)
        assert (await b.row(second)).state is TurnState.RUNNING


async def test_turn_runs_in_the_context_of_its_own_request() -> None:
    """Whatever runs before it: the id of the request is in the logs."""

    class Asked(ScriptedProvider):
        def __init__(self) -> None:
            super().__init__()
            self.by: list[str | None] = []

        @override
        @asynccontextmanager
        async def stream(self, request: CompletionRequest) -> AsyncIterator[AsyncIterator[Delta]]:
            self.by.append(correlation_id.get())
            async with super().stream(request) as deltas:
                yield deltas

    provider = Asked()
    async with bench(provider=provider) as b:
        for name in ("one", "two", "three"):
            correlation_id.set(name)
            await b.submit(name)
        for index in range(3):
            (await provider.call(index)).finish()
        assert provider.by == ["one", "two", "three"]


async def test_failed_turn_does_not_hold_up_the_next() -> None:
    async with bench() as b:
        _, second = await b.submit("one"), await b.submit("two")
        (await b.provider.call()).fail(ValueError())
        (await b.provider.call(1)).finish("answer")
        assert (await b.folded(second)).text == "answer"


async def test_threads_run_side_by_side() -> None:
    async with bench() as b:
        turns = [await b.submit(thread_id=str(uuid4())) for _ in range(3)]
        calls = [await b.provider.call(index) for index in range(3)]
        for index, call in reversed([*enumerate(calls)]):
            call.finish(str(index))
            await b.folded(turns[index])
        assert await b.texts(turns) == ["0", "1", "2"]


async def test_same_key_is_the_same_turn() -> None:
    async with bench() as b:
        first = await b.begin(key="k")
        again = await b.begin(key="k")
        assert (first.created, again.created) == (True, False)
        assert again.turn.id == first.turn.id
        (await b.provider.call()).finish("once")
        assert await b.texts([first.turn, again.turn]) == ["once", "once"]
        assert len(b.provider.calls) == 1


async def test_same_key_at_once_is_one_turn() -> None:
    async with bench() as b:
        begun = await asyncio.gather(*(b.begin(key="k") for _ in range(20)))
        assert len({one.turn.id for one in begun}) == 1
        assert sum(one.created for one in begun) == 1


async def test_same_key_with_another_body_conflicts() -> None:
    async with bench() as b:
        await b.submit("one", key="k")
        with pytest.raises(Conflict):
            await b.submit("two", key="k")
        with pytest.raises(Conflict):
            await b.submit("one", key="k", model="scripted:one")


async def test_thread_of_someone_else_is_missing() -> None:
    async with bench() as b:
        await b.submit()
        with pytest.raises(NotFound):
            await b.submit(owner=BEN)


async def test_running_turns_are_limited_for_each_owner() -> None:
    async with bench(replace(CONFIG, running_limit=2)) as b:
        begun = await asyncio.gather(
            *(b.begin(thread_id=str(uuid4())) for _ in range(5)), return_exceptions=True
        )
        assert [type(one).__name__ for one in begun] == ["Begun"] * 2 + ["RateLimited"] * 3
        with pytest.raises(RateLimited):
            await b.submit(thread_id=str(uuid4()), keep=False)
        await b.submit(owner=BEN, thread_id=str(uuid4()))


async def test_limit_of_running_turns_lets_others_wait() -> None:
    """A message behind a running turn is queued, and a retry is no new turn."""
    async with bench(replace(CONFIG, running_limit=1)) as b:
        first = await b.submit("one", key="k")
        assert (await b.submit("two")).state is TurnState.QUEUED
        assert (await b.submit("one", key="k")).id == first.id
        with pytest.raises(RateLimited):
            await b.submit(thread_id=str(uuid4()))


async def test_place_of_an_ended_turn_is_free() -> None:
    async with bench(replace(CONFIG, running_limit=1)) as b:
        for index in range(3):
            turn = await b.submit(thread_id=str(uuid4()))
            (await b.provider.call(index)).finish()
            await b.folded(turn)


async def test_queue_is_limited() -> None:
    async with bench(replace(CONFIG, queued_limit=1)) as b:
        await b.submit()
        await b.submit()
        with pytest.raises(RateLimited):
            await b.submit()
        # A full queue does not close an idle thread.
        assert (await b.submit(thread_id=str(uuid4()))).state is TurnState.RUNNING


async def test_caller_that_leaves_while_submitting_leaves_a_turn_that_runs() -> None:
    store = TroubledStore()
    store.held["begin"] = asyncio.Event()
    async with bench(store=store) as b:
        caller = asyncio.ensure_future(b.submit())
        await store.until(lambda: "begin" in store.entered)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        store.held["begin"].set()
        (await b.provider.call()).finish("Good day")
        await store.until(lambda: bool(store.saved))
        assert store.saved[-1].text == "Good day"


async def test_deleted_thread_ends_its_turns() -> None:
    async with bench() as b:
        running, queued = await b.submit("one"), await b.submit("two")
        call = await b.provider.call()
        await b.store.delete_thread(running.owner_id, running.thread_id)
        call.say("lost")
        for turn in (running, queued):
            folded = await b.folded(turn)
            assert folded.finish_reason is FinishReason.INTERRUPTED
            assert folded.error_code is None
        assert call.closed.is_set()


async def test_deleted_thread_ends_the_turn_of_a_silent_model() -> None:
    async with bench() as b:
        turn = await b.submit()
        call = await b.provider.call()
        await b.store.delete_thread(turn.owner_id, turn.thread_id)
        assert (await b.folded(turn)).finish_reason is FinishReason.INTERRUPTED
        assert call.closed.is_set()


async def test_thread_deleted_at_the_very_end_is_not_saved() -> None:
    async with bench() as b:
        b.store.held["finish"] = asyncio.Event()
        turn, queued = await b.submit("one"), await b.submit("two")
        (await b.provider.call()).finish("Good day")
        await b.store.until(lambda: "finish" in b.store.entered)
        await b.store.delete_thread(turn.owner_id, turn.thread_id)
        b.store.held["finish"].set()
        for ended in (turn, queued):
            assert (await b.folded(ended)).finish_reason is FinishReason.INTERRUPTED
        assert not any(answer.ended_at for answer in b.store.saved)


async def test_many_messages_at_once_are_all_answered() -> None:
    async with bench() as b:
        begun = await asyncio.gather(*(b.begin(f"message {n}") for n in range(20)))
        for number in range(20):
            (await b.provider.call(number)).finish(str(number))
        assert await b.texts([one.turn for one in begun]) == [str(n) for n in range(20)]
