"""What all readers of a turn agree on."""

from hypothesis import given
from hypothesis import strategies as st

from parley.chat.deltas import FinishReason
from parley.chat.events import (
    Attempt,
    ContextPruned,
    Done,
    ErrorEvent,
    Event,
    ReasoningEvent,
    Snapshot,
    TextEvent,
    ToolEnd,
    ToolStart,
    TurnStart,
    UsageEvent,
    first_seq,
)
from parley.chat.fold import Folded, FoldedTool, fold
from parley.chat.usage import Usage
from parley.live.tape import merged

USAGE = Usage(3, 4)


def turn_events(pieces: list[tuple[str, str]], fence: int = 1) -> list[Event]:
    """A whole turn: pieces of text and thinking, or an attempt that begins again."""
    seq = first_seq(fence)
    events: list[Event] = [TurnStart("t", seq, "thread", "message", "model")]
    lengths = {"text": 0, "thought": 0}
    for kind, piece in pieces:
        seq += 1
        if kind == "again":
            lengths = {"text": 0, "thought": 0}
            events.append(Attempt("t", seq, 2, "p", "m", "again", keep=False))
            continue
        make = TextEvent if kind == "text" else ReasoningEvent
        events.append(make("t", seq, piece, lengths[kind]))
        lengths[kind] += len(piece)
    events.append(UsageEvent("t", seq + 1, USAGE))
    events.append(Done("t", seq + 2, FinishReason.STOP, 1, 2))
    return events


PIECES = st.lists(
    st.tuples(st.sampled_from(["text", "text", "thought", "again"]), st.text(min_size=1)),
    max_size=20,
)


@given(PIECES)
def test_merging_changes_nothing(pieces: list[tuple[str, str]]) -> None:
    events = turn_events(pieces)
    together = list(merged(events))
    assert fold(together) == fold(events)
    assert len(together) <= len(events)


@given(PIECES, st.data())
def test_any_cut_into_readings_gives_the_same(
    pieces: list[tuple[str, str]], data: st.DataObject
) -> None:
    """A reader sees some, leaves, and goes on from its cursor, merged or not, any number of times."""
    events = turn_events(pieces)
    folded = Folded()
    for cut in sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=4))):
        after = [event for event in events[:cut] if event.seq > folded.seq]
        folded = fold(merged(after) if data.draw(st.booleans()) else after, folded)
    rest = [event for event in events if event.seq > folded.seq]
    assert fold(rest, folded) == fold(events)


@given(PIECES, st.data())
def test_a_replay_from_any_cursor_changes_nothing(
    pieces: list[tuple[str, str]], data: st.DataObject
) -> None:
    events = turn_events(pieces)
    seen = data.draw(st.integers(0, len(events)))
    cursor = data.draw(st.integers(0, seen))
    folded = fold(events[:seen])
    assert fold(events[cursor:seen], folded) == folded
    assert fold(merged(events[cursor:]), folded) == fold(events)


def test_a_stale_owner_is_not_heard() -> None:
    old, new = turn_events([("text", "old")]), turn_events([("text", "new")], fence=2)
    assert fold([*new, *old]).text == "new"


def test_merging_keeps_a_stale_owner_apart() -> None:
    new, stale = TextEvent("t", first_seq(2), "new", 0), TextEvent("t", first_seq(1), "old", 3)
    assert list(merged([new, stale])) == [new, stale]


def test_merging_keeps_a_gap() -> None:
    first, second = TextEvent("t", 1, "abc", 0), TextEvent("t", 2, "x", 1)
    assert list(merged([first, second])) == [first, second]


def test_a_snapshot_replaces_all_text() -> None:
    folded = fold([TextEvent("t", 1, "lost", 0), Snapshot("t", 2, "all", "thoughts")])
    assert (folded.text, folded.reasoning) == ("all", "thoughts")


def test_takes_errors_and_ignores_news() -> None:
    folded = fold([ContextPruned("t", 1, 2, 3, "rule"), ErrorEvent("t", 2, "internal", "Sorry.")])
    assert folded == Folded(seq=2, error_code="internal", error_message="Sorry.")


def test_tools_keep_their_order_and_results() -> None:
    folded = fold(
        [
            ToolStart("t", 1, "a", "add", "", "Add", "{}"),
            ToolStart("t", 2, "b", "sub", "", "Subtract", "{}"),
            ToolEnd("t", 3, "b", "sub", "late", "tool_timeout"),
            Attempt("t", 4, 2, "p", "m", "failover", keep=False),
        ]
    )
    assert folded.tools == (
        FoldedTool("a", "add", "Add", "{}"),
        FoldedTool("b", "sub", "Subtract", "{}", "late", "tool_timeout"),
    )


def test_a_tool_that_is_called_again_counts_once() -> None:
    start = ToolStart("t", 1, "a", "add", "", "Add", "{}")
    again = ToolStart("t", first_seq(2), "a", "add", "", "Add", "{}")
    folded = fold([start, again, ToolEnd("t", first_seq(2) + 1, "a", "add", "3")])
    assert folded.tools == (FoldedTool("a", "add", "Add", "{}", "3"),)
