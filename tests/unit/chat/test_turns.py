"""A turn from request to `Done`."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from parley.chat.deltas import FinishReason, Reasoning, Text, ToolCallDelta
from parley.chat.errors import (
    ContextTooLong,
    InvalidRequest,
    NotFound,
    ProviderFault,
    StorageUnavailable,
    TooLarge,
    UnknownModel,
)
from parley.chat.events import (
    Attempt,
    ContextPruned,
    Done,
    ReasoningEvent,
    Snapshot,
    TurnStart,
)
from parley.chat.fold import Folded, fold
from parley.chat.turns import TurnState
from parley.chat.usage import Usage
from parley.context.builder import ContextConfig
from tests.unit.chat.support import ANNA, BEN, CONFIG, TroubledStore, bench


async def test_turn_is_written_before_a_provider_is_called() -> None:
    store = TroubledStore()
    store.held["begin"] = asyncio.Event()
    async with bench(store=store) as b:
        submitted = asyncio.ensure_future(b.submit())
        await store.until(lambda: "begin" in store.entered)
        assert b.provider.calls == []
        store.held["begin"].set()
        turn = await submitted
        assert (await b.row(turn)).text == "Hello?"
        await b.provider.call()


async def test_nothing_is_sent_where_nothing_can_be_written() -> None:
    async with bench() as b:
        b.store.down.add("begin")
        with pytest.raises(StorageUnavailable):
            await b.submit()
        assert b.provider.calls == []


async def test_answer_streams_and_is_kept() -> None:
    async with bench() as b:
        turn = await b.submit()
        call = await b.provider.call()
        call.send(Reasoning("hm"))
        call.finish("Good ", "day", reason=FinishReason.LENGTH)
        folded = await b.folded(turn)
        assert (folded.text, folded.reasoning) == ("Good day", "hm")
        assert folded.finish_reason is FinishReason.LENGTH
        row = await b.row(turn)
        assert row.state is TurnState.COMPLETED
        assert (row.answer.text, row.answer.reasoning) == ("Good day", "hm")
        assert row.answer.attempts[0].outcome == "completed"
        assert row.answer.receipt is not None


async def test_events_come_in_their_order() -> None:
    async with bench() as b:
        turn = await b.submit()
        (await b.provider.call()).finish("Good day")
        events = await b.events(turn)
        kinds = [type(event).__name__ for event in events]
        assert kinds == ["TurnStart", "Attempt", "TextEvent", "UsageEvent", "Done"]
        start, attempt = events[:2]
        assert isinstance(start, TurnStart)
        assert start.message_id == turn.answer_step_id
        assert isinstance(attempt, Attempt)
        assert (attempt.number, attempt.provider, attempt.model) == (1, "scripted", "one")


async def test_done_is_sent_after_the_end_is_saved() -> None:
    async with bench() as b:
        b.store.held["finish"] = asyncio.Event()
        turn = await b.submit()
        (await b.provider.call()).finish("Good day")
        await b.store.until(lambda: "finish" in b.store.entered)
        assert Done not in map(type, b.log.events)
        b.store.held["finish"].set()
        await b.folded(turn)
        assert type(b.log.events[-1]) is Done


async def test_usage_is_the_providers_where_it_says_one() -> None:
    async with bench() as b:
        turn = await b.submit()
        call = await b.provider.call()
        call.send(Text("Good day"))
        call.send(Usage(11, 22))
        call.finish()
        assert (await b.folded(turn)).usage == Usage(11, 22)
        answer = (await b.row(turn)).answer
        assert answer.usage == Usage(11, 22)
        assert answer.attempts[0].output_tokens == 22


async def test_usage_is_estimated_and_says_so() -> None:
    async with bench() as b:
        turn = await b.submit()
        (await b.provider.call()).finish()
        usage = (await b.folded(turn)).usage
        assert usage is not None
        assert usage.estimated
        assert usage.input_tokens > 0
        assert usage.output_tokens == 0
        assert (await b.row(turn)).answer.attempts[0].output_tokens == 0


async def test_error_keeps_the_text_before_it() -> None:
    async with bench() as b:
        turn = await b.submit()
        call = await b.provider.call()
        call.say("Good ")
        call.fail(ProviderFault("The model server failed.", provider="scripted"))
        folded = await b.folded(turn)
        assert (folded.text, folded.error_code) == ("Good ", "provider_unavailable")
        assert folded.finish_reason is FinishReason.ERROR
        row = await b.row(turn)
        assert (row.state, row.answer.text) == (TurnState.FAILED, "Good ")
        assert row.answer.error_message == "The model server failed."
        assert row.answer.attempts[0].outcome == "ProviderFault"


async def test_error_text_of_a_provider_can_be_stored() -> None:
    async with bench() as b:
        turn = await b.submit()
        (await b.provider.call()).fail(ProviderFault("bad \0 \ud800"))
        told = (await b.error(turn)).message
        assert told == (await b.row(turn)).answer.error_message == "bad \ufffd \ufffd"


async def test_unexpected_error_is_not_leaked() -> None:
    async with bench() as b:
        turn = await b.submit()
        (await b.provider.call()).fail(ValueError("password=hunter2"))
        error = await b.error(turn)
        assert error.code == "internal"
        assert "hunter2" not in error.message
        assert "hunter2" not in str((await b.row(turn)).answer)


async def test_timeout_inside_a_provider_is_an_error() -> None:
    async with bench() as b:
        turn = await b.submit()
        (await b.provider.call()).fail(TimeoutError())
        assert (await b.error(turn)).code == "internal"


async def test_stream_without_a_finish_is_broken() -> None:
    async with bench() as b:
        turn = await b.submit()
        call = await b.provider.call()
        call.say("Good ")
        call.hang_up()
        folded = await b.folded(turn)
        assert (folded.text, folded.error_code) == ("Good ", "provider_unavailable")


async def test_call_where_no_tool_is_offered_is_told_to_the_model() -> None:
    async with bench() as b:
        turn = await b.submit()
        call = await b.provider.call()
        call.send(ToolCallDelta(0, "id", "name", "{}"))
        call.finish(reason=FinishReason.TOOL_CALLS)
        second = await b.provider.call(1)
        assert "There are no tools" in second.request.messages[-1].text
        assert not second.request.tools
        second.finish("Without one, then.")
        folded = await b.folded(turn)
        assert (folded.text, folded.error_code) == ("Without one, then.", None)
        assert [tool.error for tool in folded.tools] == ["unknown_tool"]


async def test_answer_over_its_limit_ends_there() -> None:
    config = replace(CONFIG, run=replace(CONFIG.run, answer_limit_chars=5))
    async with bench(config) as b:
        turn = await b.submit()
        call = await b.provider.call()
        call.say("12345", "67", "89")
        folded = await b.folded(turn)
        assert (folded.text, folded.error_code) == ("12345", "too_large")
        assert call.closed.is_set()


async def test_message_beyond_the_models_window_fails() -> None:
    async with bench(context_window=10) as b:
        turn = await b.submit()
        assert (await b.error(turn)).code == ContextTooLong.code
        assert (await b.row(turn)).answer.usage is None
        assert b.provider.calls == []


async def test_what_is_left_out_is_told() -> None:
    async with bench(context=ContextConfig(history_turns=0)) as b:
        turns = [await b.submit(text) for text in ("one", "two")]
        for index in range(2):
            (await b.provider.call(index)).finish("answer")
            await b.folded(turns[index])
        pruned = await b.first(turns[1], ContextPruned)
        assert isinstance(pruned, ContextPruned)
        assert (pruned.dropped_messages, pruned.rule) == (2, "MAX_HISTORY_TURNS")
        assert b.provider.calls[1].prompt == ["two"]


async def test_finished_turn_is_read_from_its_row() -> None:
    async with bench(replace(CONFIG, log_kept_s=0)) as b:
        turn = await b.submit()
        call = await b.provider.call()
        call.send(Reasoning("hm"))
        call.finish("Good day")
        live = await b.folded(turn)
        await b.log.forgotten.wait()
        later = await b.folded(turn)
        assert replace(later, seq=0) == replace(live, seq=0)
        snapshot, *rest = await b.events(turn, after=live.seq - 2)
        assert isinstance(snapshot, Snapshot)
        again = fold([snapshot, *rest], Folded(seq=live.seq - 2))
        assert replace(again, seq=0) == replace(live, seq=0)


async def test_cursor_at_the_end_ends_at_once() -> None:
    async with bench() as b:
        turn = await b.submit()
        (await b.provider.call()).finish("Good day")
        *_, done = await b.events(turn)
        assert await b.events(turn, after=done.seq) == []


async def test_turn_is_its_owners_alone() -> None:
    async with bench() as b:
        turn = await b.submit()
        with pytest.raises(NotFound):
            await b.engine.turn(BEN.id, turn.id)
        assert await b.engine.running(BEN.id, turn.thread_id) is None
        assert not await b.engine.owns_thread(BEN.id, turn.thread_id)
        assert (await b.engine.turn(ANNA.id, turn.id)).id == turn.id
        assert await b.engine.running(ANNA.id, turn.thread_id) is not None
        assert await b.engine.owns_thread(ANNA.id, turn.thread_id)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"text": " \n"}, InvalidRequest),
        ({"text": "a\0b"}, InvalidRequest),
        ({"text": "\ud800"}, InvalidRequest),
        ({"text": "é" * 33}, TooLarge),
        ({"system_prompt": "a\0b"}, InvalidRequest),
        ({"model": "scripted:two"}, UnknownModel),
    ],
)
async def test_request_that_cannot_be_kept_is_refused(
    changes: dict[str, str], error: type[Exception]
) -> None:
    async with bench(replace(CONFIG, message_limit_bytes=64)) as b:
        with pytest.raises(error):
            await b.submit(**{"text": "Hello?"} | changes)
        assert b.store.entered == []


async def test_long_message_gives_a_short_name() -> None:
    async with bench() as b:
        turn = await b.submit("word " * 100)
        assert turn.text == "word " * 100


async def test_turn_that_is_not_kept_writes_nothing() -> None:
    async with bench() as b:
        turn = await b.submit(keep=False, thread_id=str(uuid4()))
        (await b.provider.call()).finish("Good day")
        assert (await b.folded(turn)).text == "Good day"
        assert b.store.entered == []
        with pytest.raises(NotFound):
            await b.row(turn)


async def test_thinking_is_an_event_of_its_own() -> None:
    async with bench() as b:
        turn = await b.submit()
        call = await b.provider.call()
        call.send(Reasoning("hm"))
        thought = await b.first(turn, ReasoningEvent)
        assert isinstance(thought, ReasoningEvent)
        assert thought.text == "hm"
