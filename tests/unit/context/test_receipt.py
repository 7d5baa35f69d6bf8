"""The receipt: what the model saw, provable by its digest, and made again from it."""

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.chat.messages import (
    ImagePart,
    Message,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from parley.chat.models import (
    CompletionRequest,
    ResponseFormat,
    Sampling,
    ToolChoice,
    ToolSpec,
)
from parley.chat.receipts import Receipt
from parley.chat.turns import Context, Turn
from parley.context.builder import ContextConfig
from parley.context.receipt import digest_of, read_receipt, rebuild
from tests.unit.context.support import WORDS, Desk

MESSAGES = st.lists(st.builds(Message.of, st.sampled_from(Role), st.text(max_size=5)), max_size=4)
SAMPLINGS = st.builds(
    Sampling, st.none() | st.integers(1, 50), st.none() | st.floats(0, 2), stop=st.just(("x",))
)
CONFIGS = st.builds(
    ContextConfig,
    history_tokens=st.none() | st.integers(0, 150),
    history_turns=st.none() | st.integers(0, 4),
    system_prompt=st.sampled_from(["system", "another"]),
    most_turns=st.integers(1, 6),
)
SAID = st.tuples(WORDS, WORDS, st.none() | st.just("own prompt"), st.booleans(), SAMPLINGS)


def request_of(*messages: Message) -> CompletionRequest:
    return CompletionRequest("model", messages)


async def remade(desk: Desk, turn: Turn, context: Context) -> CompletionRequest | None:
    """Make the request again as it is done much later: from what is stored, with other settings."""
    receipt = read_receipt(json.loads(json.dumps(context.receipt)))
    assert receipt is not None
    wanted = {message.turn_id for message in receipt.messages if message.turn_id}
    exchanges = await desk.rows.exchanges(turn.owner_id, sorted(wanted))
    stored = await desk.rows.turn(turn.owner_id, turn.id)
    return rebuild(receipt, stored, exchanges)


@settings(max_examples=2000, deadline=None)
@given(CONFIGS, st.lists(SAID, min_size=1, max_size=7))
def test_receipt_gives_back_the_exact_request(
    config: ContextConfig, history: list[tuple[str, str, str | None, bool, Sampling]]
) -> None:
    async def check() -> None:
        desk, before = Desk(config), None
        for question, answer, prompt, edits, sampling in history:
            turn = await desk.begin(
                question,
                system_prompt=prompt,
                sampling=sampling,
                replaces=before.id if edits and before else None,
            )
            context = await desk.build(turn)
            async with desk.provider.stream(context.request):
                received = desk.provider.calls.pop().request
            assert await remade(desk, turn, context) == received
            await desk.answer(turn, answer)
            before = turn

    asyncio.run(check())


@given(MESSAGES, MESSAGES)
def test_two_prompts_share_no_digest(one: list[Message], other: list[Message]) -> None:
    assert (digest_of(request_of(*one)) == digest_of(request_of(*other))) == (one == other)


def test_any_change_changes_the_digest() -> None:
    request = request_of(Message.of(Role.SYSTEM, "s"), Message.of(Role.USER, "q"))
    longer = replace(request.messages[1], parts=(*request.messages[1].parts, TextPart("!")))
    others = [
        replace(request, model="other"),
        replace(request, sampling=Sampling(seed=1)),
        replace(request, sampling=Sampling(temperature=1.0)),
        replace(request, sampling=Sampling(max_tokens=1)),
        replace(request, sampling=Sampling(top_p=1.0)),
        replace(request, sampling=Sampling(stop=("1",))),
        replace(request, messages=(request.messages[0], longer)),
        replace(request, messages=request.messages[:1]),
        replace(request, messages=(replace(request.messages[0], role=Role.USER), longer)),
    ]
    assert len({digest_of(each) for each in (request, *others)}) == 10


def test_what_a_message_brings_along_changes_the_digest() -> None:
    request = request_of(Message.of(Role.USER, "q"))
    others = [
        request_of(Message(Role.USER, (TextPart("q"), part)))
        for part in (
            ImagePart("image/png", b"1"),
            ImagePart("image/png", b"2"),
            ToolCallPart("c", "add", "{}"),
            ToolResultPart("c", "add", ""),
        )
    ]
    others += [
        replace(request, tools=(ToolSpec("add", "Adds.", {"type": "object"}),)),
        replace(request, tool_choice=ToolChoice("required")),
        replace(request, response_format=ResponseFormat()),
    ]
    assert len({digest_of(each) for each in (request, *others)}) == 8


async def test_receipt_says_what_was_dropped_and_why() -> None:
    desk = Desk(ContextConfig(history_turns=1))
    for text in ("one", "two", "three", ""):
        await desk.answer(await desk.begin(f"secret {text}"), text)
    context = await desk.build(await desk.begin("secret"))
    receipt = read_receipt(context.receipt)
    assert receipt is not None
    assert [dropped.rule for dropped in receipt.dropped] == ["MAX_HISTORY_TURNS", "no_answer"]
    assert receipt.more_before
    assert [message.role for message in receipt.messages] == ["system", "user", "assistant", "user"]
    assert receipt.input_tokens == sum(message.tokens for message in receipt.messages)
    assert {message.counted_by for message in receipt.messages} == {"estimate"}
    assert "secret" not in str(context.receipt)


async def test_changed_rows_are_not_passed_off_as_seen() -> None:
    desk = Desk()
    await desk.answer(await desk.begin("one"), "1")
    turn = await desk.begin("two")
    receipt = read_receipt((await desk.build(turn)).receipt)
    assert isinstance(receipt, Receipt)
    exchanges = await desk.rows.exchanges(turn.owner_id, [str(turn.parent_id)])
    assert rebuild(receipt, turn, exchanges)
    assert rebuild(receipt, turn, []) is None
    assert rebuild(receipt, replace(turn, text="2"), exchanges) is None
    forged = [replace(exchange, answer_text="forged") for exchange in exchanges]
    assert rebuild(receipt, turn, forged) is None


@pytest.mark.parametrize("stored", [None, {}, {"version": 1, "kept_turns": []}])
def test_older_receipt_is_none(stored: dict[str, object] | None) -> None:
    assert read_receipt(stored) is None
