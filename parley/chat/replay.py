"""Replay: the events of a turn made from its rows, folded."""

from collections.abc import Iterator
from itertools import count

from parley.chat.deltas import FinishReason
from parley.chat.events import (
    Done,
    ErrorEvent,
    Event,
    ReasoningEvent,
    Snapshot,
    TextEvent,
    TurnStart,
    UsageEvent,
    first_seq,
)
from parley.chat.turns import Turn

# Above every seq that an owner of this fence gave out, below those of the next.
_FOLDED_SEQS = 0xFFFF_FF00


def replay(turn: Turn, after: int = 0) -> Iterator[Event]:
    """Give one text, one reasoning, usage, error and `Done`.

    A reader with a cursor gets a `Snapshot` for the first two: nobody knows what it has. A turn
    that is not over, and whose log is lost, is given as interrupted at its last checkpoint.
    """
    seqs = count(first_seq(turn.fence) + _FOLDED_SEQS)
    answer = turn.answer
    if after:
        yield Snapshot(turn.id, next(seqs), answer.text, answer.reasoning)
    else:
        yield from _from_the_start(turn, seqs)
    if answer.usage:
        yield UsageEvent(turn.id, next(seqs), answer.usage)
    if answer.error_code:
        yield ErrorEvent(turn.id, next(seqs), answer.error_code, answer.error_message or "")
    yield Done(
        turn.id,
        next(seqs),
        answer.finish_reason or FinishReason.INTERRUPTED,
        answer.time_to_first_chunk_ms,
        answer.duration_ms or 0,
    )


def _from_the_start(turn: Turn, seqs: "count[int]") -> Iterator[Event]:
    yield TurnStart(turn.id, next(seqs), turn.thread_id, turn.answer_step_id, turn.model)
    if turn.answer.reasoning:
        yield ReasoningEvent(turn.id, next(seqs), turn.answer.reasoning, 0)
    if turn.answer.text:
        yield TextEvent(turn.id, next(seqs), turn.answer.text, 0)


def ended_while_queued(turn: Turn) -> tuple[Event, ...]:
    """Give the one event of a turn that was stopped before it ran."""
    return (Done(turn.id, first_seq(turn.fence), FinishReason.STOPPED, None, 0),)
