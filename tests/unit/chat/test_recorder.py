"""Deltas of one turn become numbered events, and the answer so far."""

from dataclasses import replace
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.chat.deltas import FinishReason
from parley.chat.errors import TooLarge
from parley.chat.events import Done, ReasoningEvent, TextEvent, UsageEvent, first_seq
from parley.chat.messages import storable_text
from parley.chat.recorder import Recorder
from parley.chat.requests import new_turn, unkept_turn
from parley.chat.turns import Owner, TurnRequest
from parley.chat.usage import Usage
from tests.unit.chat.support import WatchedLog

REQUEST = TurnRequest(owner=Owner(str(uuid4()), "anna"), thread_id=str(uuid4()), text="Hello?")
NEW = new_turn(REQUEST, "scripted:one", replica_id="this", max_running=9, max_queued=1)
TURN = unkept_turn(REQUEST, NEW)
LONG_S = 3600.0


class Recorded(WatchedLog):
    @property
    def pieces(self) -> list[str]:
        return [e.text for e in self.events if isinstance(e, TextEvent | ReasoningEvent)]


def recorder(log: Recorded, *, window_s: float = 0, limit_chars: int = 1000) -> Recorder:
    return Recorder(TURN, log, window_s=window_s, limit_chars=limit_chars)


async def test_first_text_goes_out_at_once() -> None:
    log = Recorded()
    recording = recorder(log, window_s=LONG_S)
    for piece in "abc":
        recording.add(piece)
    assert log.pieces == ["a"]
    recording.flush()
    assert log.pieces == ["a", "bc"]
    assert recording.text == "abc"


async def test_pieces_without_text_are_none() -> None:
    """A producer that never ends, and says nothing, fills no memory."""
    log = Recorded()
    recording = recorder(log)
    for _ in range(10_000):
        recording.add("")
        recording.add("", is_text=False)
    assert log.pieces == []
    assert recording.time_to_first_chunk_ms is None


async def test_window_ends_by_itself() -> None:
    log = Recorded()
    recording = recorder(log, window_s=0.001)
    recording.add("a")
    log.grown.clear()
    recording.add("b")
    recording.add("c")
    await log.grown.wait()
    assert log.pieces == ["a", "bc"]


async def test_window_of_zero_keeps_every_delta() -> None:
    log = Recorded()
    recording = recorder(log)
    for piece in "abc":
        recording.add(piece)
    assert log.pieces == ["a", "b", "c"]


async def test_text_and_thinking_have_offsets_of_their_own() -> None:
    log = Recorded()
    recording = recorder(log, window_s=LONG_S)
    for piece, is_text in (("hm", False), ("yes", True), ("so", False), ("no", True)):
        recording.add(piece, is_text=is_text)
    recording.flush()
    places = [(type(e), e.offset) for e in log.events if isinstance(e, TextEvent | ReasoningEvent)]
    assert places == [(ReasoningEvent, 0), (TextEvent, 0), (ReasoningEvent, 2), (TextEvent, 3)]
    assert (recording.text, recording.reasoning, recording.length) == ("yesno", "hmso", 9)


async def test_sequence_rises_from_the_fence() -> None:
    log = Recorded()
    recording = Recorder(replace(TURN, fence=3), log, window_s=0, limit_chars=10)
    recording.start()
    recording.attempt(1, "p", "m", "")
    recording.add("a")
    recording.end(FinishReason.STOP, None, None)
    assert [event.seq for event in log.events] == [first_seq(3) + n for n in range(4)]


async def test_end_sends_what_is_pending_and_one_done_last() -> None:
    log = Recorded()
    recording = recorder(log, window_s=LONG_S)
    recording.add("a")
    recording.add("b")
    recording.end(FinishReason.ERROR, Usage(1, 2), ("internal", "Sorry.", None))
    kinds = [type(event).__name__ for event in log.events]
    assert kinds == ["TextEvent", "TextEvent", "UsageEvent", "ErrorEvent", "Done"]
    assert UsageEvent(TURN.id, log.events[2].seq, Usage(1, 2)) in log.events
    assert isinstance(log.events[-1], Done)


async def test_answer_over_its_limit_is_told() -> None:
    recording = recorder(Recorded(), window_s=LONG_S, limit_chars=3)
    recording.add("abc")
    recording.check_length()
    recording.add("d")
    with pytest.raises(TooLarge):
        recording.check_length()


async def test_answer_is_cut_at_its_limit() -> None:
    recording = recorder(Recorded(), limit_chars=4)
    recording.add("ab")
    recording.add("c" * 5000)
    recording.add("d", is_text=False)
    recording.flush()
    assert (recording.text, recording.reasoning) == ("abcc", "")


async def test_measures_from_start_to_first_text() -> None:
    recording = recorder(Recorded())
    before = recording.time_to_first_chunk_ms
    recording.add("a")
    first_ms = recording.time_to_first_chunk_ms
    assert before is None
    assert first_ms is not None
    assert recording.duration_ms >= first_ms


@pytest.mark.parametrize("code", [0, 0xD83D, 0xDC00])
async def test_what_no_database_takes_is_replaced(code: int) -> None:
    bad, recording = chr(code), recorder(Recorded())
    recording.add(f"a{bad}b")
    recording.add("c")
    assert recording.text == "a\N{REPLACEMENT CHARACTER}bc"
    assert recording.length == 4


@given(st.text(st.characters() | st.just("\0") | st.characters(categories=["Cs"])))
def test_storable_text_keeps_its_length_and_encodes(text: str) -> None:
    stored = storable_text(text)
    assert len(stored) == len(text)
    assert "\0" not in stored
    assert storable_text(stored) == stored
    stored.encode()
