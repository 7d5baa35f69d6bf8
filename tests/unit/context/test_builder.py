"""The context of a turn: from its store, or from the rows, always the same."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.chat.errors import ContextTooLong
from parley.chat.messages import Message, Role
from parley.chat.models import Sampling
from parley.chat.requests import new_turn, unkept_turn
from parley.chat.turns import Answer, Context, ContextRecord, Owner, Turn, TurnRequest, TurnState
from parley.context.builder import ContextConfig, WindowedContext
from parley.context.memory_store import MemoryContextStore
from tests.fakes.scripted_provider import OneModel, ScriptedProvider
from tests.fakes.turn_store import MemoryTurnStore
from tests.unit.context.support import WORDS, exchange

ANNA = Owner(str(uuid4()), "anna")
ROUTE = OneModel(ScriptedProvider()).resolve(None)


class Desk:
    """A thread, its rows, and a context builder on them."""

    def __init__(self, config: ContextConfig | None = None) -> None:
        self.config = config or ContextConfig()
        self.rows = MemoryTurnStore()
        self.store = MemoryContextStore()
        self.builder = WindowedContext(self.config, self.store, self.rows)
        self.request = TurnRequest(owner=ANNA, thread_id=str(uuid4()), text="question")

    async def begin(self, text: str = "question", **changes: object) -> Turn:
        request = replace(self.request, text=text, **changes)  # type: ignore[arg-type]  # names of TurnRequest
        new = new_turn(request, "m", replica_id="this", max_queued=9, may_run=True)
        if not request.keep:
            return unkept_turn(request, new)
        return (await self.rows.begin(new)).turn

    async def answer(self, turn: Turn, text: str) -> None:
        end = Answer(TurnState.COMPLETED, text, ended_at=datetime.now(UTC))
        await self.rows.finish(turn, end)
        await self.builder.extend(turn, text)

    async def build(self, turn: Turn) -> Context:
        return await self.builder.build(turn, ROUTE)

    async def rebuild(self, turn: Turn) -> Context:
        """Build with nothing remembered."""
        forgetful = WindowedContext(self.config, MemoryContextStore(), self.rows)
        return await forgetful.build(turn, ROUTE)


def said(context: Context) -> list[str]:
    return [message.text for message in context.messages]


CONFIGS = st.builds(
    ContextConfig,
    history_tokens=st.none() | st.integers(0, 150),
    history_turns=st.none() | st.integers(0, 4),
    rebuild_turns=st.integers(1, 6),
)


@settings(max_examples=60, deadline=None)
@given(CONFIGS, st.lists(st.tuples(WORDS, WORDS, st.booleans()), max_size=10))
def test_remembered_context_is_the_rebuilt_one(
    config: ContextConfig, history: list[tuple[str, str, bool]]
) -> None:
    async def check() -> None:
        desk = Desk(config)
        for question, answer, build in history:
            turn = await desk.begin(question)
            if build:
                assert await desk.build(turn) == await desk.rebuild(turn)
            await desk.answer(turn, answer)
        turn = await desk.begin()
        assert await desk.build(turn) == await desk.rebuild(turn)

    asyncio.run(check())


async def test_first_turn_sees_system_prompt_and_question() -> None:
    desk = Desk()
    context = await desk.build(await desk.begin(system_prompt="Be brief."))
    assert said(context) == ["Be brief.", "question"]
    assert context.dropped_messages == 0
    assert [message.role for message in context.messages] == [Role.SYSTEM, Role.USER]


async def test_later_turn_sees_what_was_answered() -> None:
    desk = Desk()
    await desk.answer(await desk.begin("one"), "1")
    await desk.answer(await desk.begin("unanswered"), "")
    context = await desk.build(await desk.begin("two"))
    assert said(context) == [desk.config.system_prompt, "one", "1", "two"]
    assert context.input_tokens == sum(context.receipt["message_tokens"])  # type: ignore[call-overload]  # a list of ints


async def test_context_of_another_branch_is_a_miss() -> None:
    desk = Desk()
    await desk.answer(await desk.begin("one"), "1")
    other = ContextRecord(str(uuid4()), (exchange("forged", "forged"),))
    await desk.store.save(desk.request.thread_id, other)
    turn = await desk.begin("two")
    assert "forged" not in said(await desk.build(turn))
    record = await desk.store.load(desk.request.thread_id)
    assert record is not None
    assert record.head_turn_id == turn.parent_id


async def test_answer_does_not_extend_another_branch() -> None:
    desk = Desk()
    await desk.answer(await desk.begin("one"), "1")
    other = ContextRecord(str(uuid4()), ())
    await desk.store.save(desk.request.thread_id, other)
    turn = await desk.begin("two")
    await desk.builder.extend(turn, "2")
    assert await desk.store.load(desk.request.thread_id) == other


async def test_dropped_turns_are_counted() -> None:
    desk = Desk(ContextConfig(history_turns=1))
    for number in range(3):
        await desk.answer(await desk.begin(f"question {number}"), "answer")
    context = await desk.build(await desk.begin())
    assert (context.dropped_messages, context.rule) == (2, "MAX_HISTORY_TURNS")
    assert context.dropped_tokens > 0


async def test_conversation_that_a_caller_brings_is_sent_and_counted() -> None:
    desk = Desk()
    earlier = (Message.of(Role.USER, "one"), Message.of(Role.ASSISTANT, "1"))
    turn = await desk.begin("two", keep=False, earlier=earlier)
    context = await desk.build(turn)
    assert said(context)[1:] == ["one", "1", "two"]
    assert context.input_tokens == sum(context.receipt["message_tokens"])  # type: ignore[call-overload]  # a list of ints
    await desk.builder.extend(turn, "2")
    assert await desk.store.load(turn.thread_id) is None


async def test_conversation_that_is_too_long_is_refused() -> None:
    desk = Desk()
    route = OneModel(ScriptedProvider(), context_window=2000).resolve(None)
    earlier = (Message.of(Role.USER, "long " * 2000),)
    turn = await desk.begin("two", keep=False, earlier=earlier)
    with pytest.raises(ContextTooLong):
        await desk.builder.build(turn, route)


async def test_longer_answers_leave_less_room() -> None:
    desk = Desk()
    route = OneModel(ScriptedProvider(), context_window=1000).resolve(None)
    turn = await desk.begin(sampling=Sampling(max_tokens=999))
    with pytest.raises(ContextTooLong, match="999"):
        await desk.builder.build(turn, route)


def test_counts_as_the_estimate_does() -> None:
    assert Desk().builder.count("abc") == 5


async def test_edit_sees_what_came_before_it() -> None:
    desk = Desk()
    first = await desk.begin("a")
    await desk.answer(first, "re a")
    second = await desk.begin("b")
    await desk.answer(second, "re b")
    edited = await desk.begin("b2", replaces=second.id)
    assert said(await desk.build(edited))[1:] == ["a", "re a", "b2"]
    await desk.answer(edited, "re b2")
    after = await desk.begin("c")
    assert said(await desk.build(after))[1:] == ["a", "re a", "b2", "re b2", "c"]
