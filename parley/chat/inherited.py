"""Inherited: what a turn has when its owner is dead and this replica carries on. Pure."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import zip_longest

from parley.chat.deltas import FinishReason
from parley.chat.errors import interrupted
from parley.chat.events import Attempt, TurnStart
from parley.chat.fold import fold
from parley.chat.ports import Claimed
from parley.chat.tools import AFTER_TOOLS
from parley.chat.turns import Answer, AttemptRecord, Turn, TurnState

# Why a provider is called again, in the event and the record of the call.
REASON = "another server carries on"


@dataclass(frozen=True, slots=True)
class Inherited:
    """What is there of the answer.

    `is_whole` says that readers have seen just this; else it is the most that anybody has kept of
    it, and they may have seen more, or less.
    """

    text: str
    reasoning: str
    attempts: tuple[AttemptRecord, ...]
    is_whole: bool


def inherited(turn: Turn, claimed: Claimed) -> Inherited:
    """Take the log or the checkpoint, whichever goes further.

    An owner that was cut off from the log went on without it.
    """
    seen = claimed.events if claimed.events and isinstance(claimed.events[0], TurnStart) else ()
    folded, saved = fold(seen), turn.answer
    calls = [event for event in seen if isinstance(event, Attempt)]
    records = tuple(_record(*pair) for pair in zip_longest(calls, calls[1:]))
    if not seen:
        # Whom the owner before has asked is lost with the log; that it has is not.
        records = (AttemptRecord("unknown", turn.model, "", "lost", 0, 0),)
    if not seen or folded.seq < saved.seq:
        return Inherited(saved.text, saved.reasoning, records, is_whole=False)
    return Inherited(folded.text, folded.reasoning, records, is_whole=claimed.is_whole)


def _record(call: Attempt, following: Attempt | None) -> AttemptRecord:
    """Keep what is known of a call of the owner before; its tokens are not."""
    outcome = "failed" if following else "lost"
    if following and following.reason == AFTER_TOOLS:
        outcome = "completed"
    return AttemptRecord(call.provider, call.model, call.reason, outcome, 0, 0)


def interrupted_end(turn: Turn) -> Answer:
    """Make the end of a turn whose process ended: what is there of its answer is kept."""
    error = interrupted()
    return replace(
        turn.answer,
        state=TurnState.INTERRUPTED,
        finish_reason=FinishReason.INTERRUPTED,
        error_code=error.code,
        error_message=error.message,
        ended_at=datetime.now(UTC),
    )
