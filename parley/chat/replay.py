"""Replay: the events of a turn made from its rows, folded."""

from collections.abc import Iterator
from itertools import chain, count

from parley.chat.deltas import FinishReason
from parley.chat.errors import ParleyError, interrupted
from parley.chat.events import (
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
from parley.chat.turns import Turn

# Above every seq that an owner of this fence gave out, below those of the next. Each event has a
# place of its own, so that a cursor means the same in every replay: a tool has two.
_FOLDED_SEQS = 0xFFFF_0000
_INTERRUPTED = interrupted()
_START, _REASONING, _TEXT, _TOOLS = range(4)
_USAGE, _ERROR, _DONE = range(0xFF03, 0xFF06)


def is_of_nowhere(turn: Turn, after: int) -> bool:
    """Whether no event of the turn, live or folded, was ever given that cursor."""
    return after > first_seq(turn.fence) + _FOLDED_SEQS + _DONE


def is_folded(turn: Turn, after: int) -> bool:
    """Whether a cursor is one of a replay: the log, if it is still there, has none above it."""
    return after >= first_seq(turn.fence) + _FOLDED_SEQS


def replay(turn: Turn, after: int = 0) -> Iterator[Event]:
    """Give one text, one reasoning, the tools, usage, error and `Done`, all above `after`.

    A reader with a cursor of the log gets a `Snapshot` for the first two: nobody knows what it
    has. A turn that is not over, and whose log is lost, is given as interrupted at its last
    checkpoint.
    """
    first = first_seq(turn.fence) + _FOLDED_SEQS
    texts = _snapshot(turn, first) if 0 < after < first else _from_the_start(turn, first)
    for event in chain(texts, _tools(turn, first + _TOOLS), _end(turn, first)):
        if event.seq > after:
            yield event


def _from_the_start(turn: Turn, first: int) -> Iterator[Event]:
    answer = turn.answer
    yield TurnStart(turn.id, first + _START, turn.thread_id, turn.answer_step_id, turn.model)
    if answer.reasoning:
        yield ReasoningEvent(turn.id, first + _REASONING, answer.reasoning, 0)
    if answer.text:
        yield TextEvent(turn.id, first + _TEXT, answer.text, 0)


def _snapshot(turn: Turn, first: int) -> Iterator[Event]:
    yield Snapshot(turn.id, first + _TEXT, turn.answer.text, turn.answer.reasoning)


def _tools(turn: Turn, first: int) -> Iterator[Event]:
    for seq, use in zip(count(first, 2), turn.answer.tools, strict=False):
        yield ToolStart(turn.id, seq, use.id, use.name, "", use.action, use.arguments)
        if use.result is not None:
            yield ToolEnd(turn.id, seq + 1, use.id, use.name, use.result, use.error, use.sources)


def _end(turn: Turn, first: int) -> Iterator[Event]:
    answer = turn.answer
    if answer.usage:
        yield UsageEvent(turn.id, first + _USAGE, answer.usage)
    code, message = answer.error_code, answer.error_message
    if not turn.state.is_over:
        code, message = _INTERRUPTED.code, _INTERRUPTED.message
    if code:
        yield ErrorEvent(turn.id, first + _ERROR, code, message or "")
    yield Done(
        turn.id,
        first + _DONE,
        answer.finish_reason or FinishReason.INTERRUPTED,
        answer.time_to_first_chunk_ms,
        answer.duration_ms or 0,
    )


def ended_while_queued(
    turn: Turn, reason: FinishReason, error: ParleyError | None = None
) -> tuple[Event, ...]:
    """Give the last events of a turn that ended before it ran: its error, and `Done`."""
    first = first_seq(turn.fence)
    done = Done(turn.id, first + 1, reason, None, 0)
    return (ErrorEvent(turn.id, first, error.code, error.message), done) if error else (done,)
