"""Wires that cannot take text back: what only appends passes, and what does not ends the stream."""

from collections.abc import AsyncGenerator, Iterable

import pytest

from parley.chat.deltas import FinishReason
from parley.chat.events import Attempt, Done, ErrorEvent, Event, ReasoningEvent, Snapshot, TextEvent
from parley.surfaces.appending import appending

BEGINS_AGAIN = Attempt("t", 5, 2, "p", "m", "failover", keep=False)
GOES_ON = Attempt("t", 5, 2, "p", "m", "failover", keep=True)
DONE = Done("t", 9, FinishReason.STOP, None, 1)


async def events_of(events: Iterable[Event]) -> AsyncGenerator[Event]:
    for event in events:
        yield event


async def appended(*events: Event) -> list[Event]:
    return [event async for event in appending(events_of(events))]


async def test_what_appends_passes() -> None:
    events: list[Event] = [TextEvent("t", 1, "a", 0), GOES_ON, TextEvent("t", 6, "b", 1), DONE]
    assert await appended(*events) == events


async def test_beginning_again_before_any_text_passes() -> None:
    events: list[Event] = [
        ReasoningEvent("t", 1, "hm", 0),
        BEGINS_AGAIN,
        TextEvent("t", 6, "b", 0),
        DONE,
    ]
    assert await appended(*events) == events


@pytest.mark.parametrize(
    "taken_back", [BEGINS_AGAIN, TextEvent("t", 5, "x", 0), Snapshot("t", 5, "", "")]
)
async def test_taking_text_back_ends_it(taken_back: Event) -> None:
    first, error, done = await appended(TextEvent("t", 1, "ab", 0), taken_back, DONE)
    assert isinstance(first, TextEvent)
    assert isinstance(error, ErrorEvent)
    assert error.code == "restarted"
    assert isinstance(done, Done)
    assert done.finish_reason is FinishReason.ERROR
    assert error.seq < done.seq


async def test_of_a_snapshot_only_what_is_new() -> None:
    said = await appended(
        TextEvent("t", 1, "ab", 0), Snapshot("t", 5, "abcd", "hm"), TextEvent("t", 6, "e", 4), DONE
    )
    assert said[1:3] == [ReasoningEvent("t", 5, "hm", 0), TextEvent("t", 5, "cd", 2)]
