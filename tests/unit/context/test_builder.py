"""The context of a turn: from its store, or from the rows, always the same."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.chat.errors import ContextTooLong
from parley.chat.messages import Message, Role
from parley.chat.models import Sampling
from parley.chat.turns import Answer, Context, ContextRecord
from parley.context.builder import ContextConfig
from tests.fakes.scripted_provider import OneModel, ScriptedProvider
from tests.unit.context.support import WORDS, Desk, exchange


def said(context: Context) -> list[str]:
    return [message.text for message in context.request.messages]


CONFIGS = st.builds(
    ContextConfig,
    history_tokens=st.none() | st.integers(0, 150),
    history_turns=st.none() | st.integers(0, 4),
    most_turns=st.integers(1, 6),
    most_chars=st.integers(0, 150),
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
    assert [message.role for message in context.request.messages] == [Role.SYSTEM, Role.USER]


async def test_later_turn_sees_what_was_answered() -> None:
    desk = Desk()
    await desk.answer(await desk.begin("one"), "1")
    await desk.answer(await desk.begin("unanswered"), "")
    context = await desk.build(await desk.begin("two"))
    assert said(context) == [desk.config.system_prompt, "one", "1", "two"]
    assert context.input_tokens == context.receipt["input_tokens"]


async def test_context_of_another_branch_is_a_miss() -> None:
    desk = Desk()
    await desk.answer(await desk.begin("one"), "1")
    other = ContextRecord(str(uuid4()), (exchange("forged", "forged"),))
    await desk.store.save(desk.request.thread_id, other)
    turn = await desk.begin("two")
    assert "forged" not in said(await desk.build(turn))


async def test_answer_extends_the_branch_that_it_saw() -> None:
    desk = Desk()
    await desk.answer(await desk.begin("one"), "1")
    turn = await desk.begin("two")
    built = await desk.build(turn)
    other = ContextRecord(str(uuid4()), (exchange("forged", "forged"),))
    await desk.store.save(desk.request.thread_id, other)
    await desk.builder.extend(turn, built, Answer(text="2"))
    record = await desk.store.load(desk.request.thread_id)
    assert record is not None
    assert [e.user_text for e in record.exchanges] == ["one", "two"]
    assert record.head_turn_id == turn.id


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
    assert context.input_tokens == context.receipt["input_tokens"]
    await desk.builder.extend(turn, context, Answer(text="2"))
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


async def test_unanswered_turns_take_nobodys_place() -> None:
    desk = Desk(ContextConfig(history_turns=2))
    await desk.answer(await desk.begin("my name is Ada"), "Hello Ada")
    for _ in range(9):
        await desk.answer(await desk.begin("hm"), "")
    turn = await desk.begin("what is my name?")
    for context in (await desk.build(turn), await desk.rebuild(turn)):
        assert said(context)[1:] == ["my name is Ada", "Hello Ada", "what is my name?"]
        assert context.rule == ""


async def test_what_was_not_read_is_said() -> None:
    desk = Desk(ContextConfig(most_chars=100))
    for text in ("short", "x" * 101, "last"):
        await desk.answer(await desk.begin(text), "answer")
    context = await desk.build(await desk.begin())
    assert said(context)[1:] == ["last", "answer", "question"]
    assert (context.rule, context.more_dropped, context.dropped_messages) == (
        "active_context",
        True,
        0,
    )


async def test_small_model_answers_small_messages() -> None:
    desk = Desk()
    route = OneModel(ScriptedProvider(), context_window=512).resolve(None)
    context = await desk.builder.build(await desk.begin("hi"), route)
    assert said(context)[1:] == ["hi"]


async def test_model_is_told_what_its_row_says() -> None:
    desk = Desk()
    route = replace(desk.route, system_prompt="You are the house's model.")
    context = await desk.builder.build(await desk.begin("hi"), route)
    assert said(context) == ["You are the house's model.", "hi"]
    context = await desk.builder.build(await desk.begin("hi", system_prompt="Be brief."), route)
    assert said(context) == ["Be brief.", "hi"]
