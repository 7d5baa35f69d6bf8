"""Events: what the engine tells a surface; one closed set, the same on every surface.

`seq` is fence × 2³² + n: it rises within a turn, also across a takeover. `offset` is the
character of the answer at which a piece of text begins. Exactly one `Done`, always last. Readers
agree on the folded turn (fold.py), not on where text is cut into events.
"""

from dataclasses import dataclass

from parley.chat.deltas import FinishReason
from parley.chat.tools import Source
from parley.chat.usage import Usage

_FENCE_SHIFT = 32


def first_seq(fence: int) -> int:
    """The lowest seq that an owner with this fence gives to an event."""
    return (fence << _FENCE_SHIFT) + 1


@dataclass(frozen=True, slots=True)
class TurnStart:
    """The turn runs; `message_id` is the answer's."""

    turn_id: str
    seq: int
    thread_id: str
    message_id: str
    model: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A provider is called; `keep` says whether the text so far stays or begins again."""

    turn_id: str
    seq: int
    number: int
    provider: str
    model: str
    reason: str
    keep: bool


@dataclass(frozen=True, slots=True)
class TextEvent:
    """A piece of the answer."""

    turn_id: str
    seq: int
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class ReasoningEvent:
    """A piece of the thinking beside the answer."""

    turn_id: str
    seq: int
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The cursor could not be resolved: replace what you have, then go on."""

    turn_id: str
    seq: int
    text: str
    reasoning: str


@dataclass(frozen=True, slots=True)
class ToolStart:
    """A tool is called; `action` says to people what it is about to do.

    `arguments` is JSON as the model wrote it. A call of a tool that the caller brought along has
    no `ToolEnd`: the turn ends with the finish reason `tool_calls`, and the caller runs it.
    """

    turn_id: str
    seq: int
    id: str
    name: str
    description: str
    action: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolEnd:
    """A tool has ended; `error` is the stable word for why it failed, None where it did not.

    `sources` say where its result is from, for people to look at.
    """

    turn_id: str
    seq: int
    id: str
    name: str
    result: str
    error: str | None = None
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class ContextPruned:
    """Something was left out of what the model sees."""

    turn_id: str
    seq: int
    dropped_messages: int
    dropped_tokens: int
    rule: str
    # There is more, that was not counted: older turns that were not even read.
    more: bool = False


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """What the turn cost."""

    turn_id: str
    seq: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """The turn failed; `code` is a stable word of errors.py."""

    turn_id: str
    seq: int
    code: str
    message: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The turn is over and saved."""

    turn_id: str
    seq: int
    finish_reason: FinishReason
    time_to_first_chunk_ms: int | None
    duration_ms: int


Event = (
    TurnStart
    | Attempt
    | TextEvent
    | ReasoningEvent
    | Snapshot
    | ToolStart
    | ToolEnd
    | ContextPruned
    | UsageEvent
    | ErrorEvent
    | Done
)
