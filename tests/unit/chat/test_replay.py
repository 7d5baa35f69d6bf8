"""A turn that is over, read from its row."""

from dataclasses import replace

import pytest

from parley.chat.deltas import FinishReason
from parley.chat.events import Done, ErrorEvent, Event, Snapshot, TextEvent, first_seq
from parley.chat.fold import Folded, fold
from parley.chat.replay import ended_while_queued, replay
from parley.chat.turns import Answer, Turn, TurnState
from parley.chat.usage import Usage
from tests.unit.chat.test_recorder import TURN

ANSWER = Answer(TurnState.COMPLETED, "text", "thought", FinishReason.STOP, Usage(1, 2))
OVER = replace(TURN, state=TurnState.COMPLETED, answer=ANSWER)
FAILED = replace(
    OVER, answer=replace(ANSWER, error_code="internal", finish_reason=FinishReason.ERROR)
)


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_whole_turn_comes_folded() -> None:
    events = list(replay(FAILED))
    assert kinds(events) == [
        "TurnStart",
        "ReasoningEvent",
        "TextEvent",
        "UsageEvent",
        "ErrorEvent",
        "Done",
    ]
    folded = fold(events)
    assert (folded.text, folded.reasoning, folded.error_code) == ("text", "thought", "internal")


def test_cursor_of_the_log_is_answered_by_a_snapshot() -> None:
    events = list(replay(OVER, after=first_seq(1) + 7))
    assert kinds(events) == ["Snapshot", "UsageEvent", "Done"]
    assert events[0] == Snapshot(TURN.id, events[0].seq, "text", "thought")


@pytest.mark.parametrize("seen", range(7))
def test_cursor_of_a_replay_goes_on_after_it(seen: int) -> None:
    """A reader that comes back gets what it has not, above its cursor, to the same end."""
    events = list(replay(FAILED))
    cursor = events[seen - 1].seq if seen else 0
    rest = list(replay(FAILED, after=cursor))
    assert rest == events[seen:]
    assert fold(rest, fold(events[:seen])) == fold(events)


def test_reader_of_a_snapshot_may_lose_its_connection_again() -> None:
    snapshot, *_ = replay(OVER, after=5)
    rest = list(replay(OVER, after=snapshot.seq))
    assert fold(rest, fold([snapshot], Folded(seq=5))) == fold(replay(OVER))


def test_turn_that_lost_its_log_is_interrupted() -> None:
    lost = replace(TURN, answer=Answer(text="half"))
    *_, text, error, done = replay(lost)
    assert isinstance(text, TextEvent)
    assert isinstance(error, ErrorEvent)
    assert error.code == "shutting_down"
    assert isinstance(done, Done)
    assert done.finish_reason is FinishReason.INTERRUPTED


def test_error_without_words_is_shown() -> None:
    assert ErrorEvent(TURN.id, first_seq(1) + 0xFFFF_FF04, "internal", "") in replay(FAILED)


@pytest.mark.parametrize("reason", [FinishReason.STOPPED, FinishReason.INTERRUPTED])
def test_end_in_the_queue_is_one_done(reason: FinishReason) -> None:
    turn: Turn = replace(TURN, fence=2)
    assert ended_while_queued(turn, reason) == (Done(TURN.id, first_seq(2) + 1, reason, None, 0),)
