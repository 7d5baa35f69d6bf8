"""Turns: a user message and all up to its final answer, as requested, kept and ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from parley.chat.deltas import FinishReason
from parley.chat.errors import ParleyError
from parley.chat.messages import ImagePart, Message, Role
from parley.chat.models import CompletionRequest, ResponseFormat, Sampling, ToolChoice, ToolSpec
from parley.chat.tools import ToolUse, answer_messages
from parley.chat.usage import Usage


class TurnState(StrEnum):
    """``queued -> running -> completed | stopped | failed | interrupted``."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def is_over(self) -> bool:
        """Whether nothing more can happen to the turn."""
        return self not in {TurnState.QUEUED, TurnState.RUNNING}


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a turn is; `id` is a UUID, `identifier` the name that stands for it."""

    id: str
    identifier: str


@dataclass(frozen=True, slots=True)
class Extras:
    """What a message may bring along beside its text.

    `tools` are the caller's own: the model may call them, the turn ends there, and the caller runs
    them. `use_tools` names those of Parley's tools that this turn may use; None leaves it to the
    thread (`"tools"` in its metadata), and then to the model's configuration. `language` is that of
    who reads the answer, where a surface knows it: for what is no model's own, as the demo's.
    """

    images: tuple[ImagePart, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    use_tools: tuple[str, ...] | None = None
    language: str = ""


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What a surface asks for.

    `key` makes the request idempotent within (owner, thread); None makes it unique. `earlier` is
    the conversation that a caller brings along, only with `keep=False`: such a turn has a log,
    a stop and limits, but no rows, and ends when its reader leaves; where it ends with the result
    of a tool, `text` may be empty: the model goes on from there. `replaces` is the turn that
    this one says anew (an edit, or the same again): its sibling, and from now on the chosen branch.
    """

    owner: Owner
    thread_id: str
    text: str
    key: str | None = None
    model: str | None = None
    sampling: Sampling = field(default_factory=Sampling)
    system_prompt: str | None = None
    earlier: tuple[Message, ...] = ()
    keep: bool = True
    user_step_id: str | None = None
    replaces: str | None = None
    extras: Extras = field(default_factory=Extras)


@dataclass(frozen=True, slots=True)
class NewTurn:
    """A turn about to be written; ids are made by the engine.

    It runs where fewer than `max_running` turns of its owner run, wherever they do, and waits where
    fewer than `max_queued` wait. With a `refusal` it may not begin at all, and is only looked for
    under its key.
    """

    id: str
    thread_id: str
    owner: Owner
    key: str
    digest: str
    text: str
    thread_name: str
    model: str
    sampling: Sampling
    system_prompt: str | None
    user_step_id: str
    answer_step_id: str
    replica_id: str
    created_at: datetime
    max_running: int
    max_queued: int
    refusal: ParleyError | None = None
    replaces: str | None = None
    extras: Extras = field(default_factory=Extras)
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn as it is kept. `text` is the user's; `answer` what is there of the answer.

    `request_id` is what the log has its beginning under, and most of the rest.
    """

    id: str
    thread_id: str
    owner_id: str
    parent_id: str | None
    key: str
    state: TurnState
    text: str
    model: str
    sampling: Sampling
    system_prompt: str | None
    user_step_id: str
    answer_step_id: str
    fence: int
    stop_requested: bool
    created_at: datetime
    answer: "Answer"
    keep: bool = True
    earlier: tuple[Message, ...] = ()
    extras: Extras = field(default_factory=Extras)
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One provider call of a turn, as it is kept."""

    provider: str
    model: str
    reason: str
    outcome: str
    output_tokens: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What is there of an answer; a final one has a `state` that is over.

    `seq` is, in a checkpoint, the last event that is part of it.
    """

    state: TurnState = TurnState.RUNNING
    text: str = ""
    reasoning: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    receipt: Mapping[str, object] | None = None
    error_code: str | None = None
    error_message: str | None = None
    time_to_first_chunk_ms: int | None = None
    duration_ms: int | None = None
    ended_at: datetime | None = None
    seq: int = 0
    tools: tuple[ToolUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Begun:
    """What `begin` wrote, or found under the key."""

    turn: Turn
    created: bool


@dataclass(frozen=True, slots=True)
class Exchange:
    """An earlier turn as context: what was said, what was answered, and by which tools.

    The token counts are there once they were counted, but for an answer with tools.
    """

    turn_id: str
    parent_id: str | None
    user_text: str
    answer_text: str
    user_tokens: int | None = None
    answer_tokens: int | None = None
    tools: tuple[ToolUse, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """The turn as a model gets it: the question first."""
        said = Message.of(Role.USER, self.user_text)
        return (said, *answer_messages(self.turn_id, self.answer_text, self.tools))

    @property
    def chars(self) -> int:
        """How long the turn is."""
        said = len(self.user_text) + len(self.answer_text)
        return said + sum(use.chars for use in self.tools)


def most_walked(limit: int) -> int:
    """How many turns are looked at for `limit` that were answered: some may not have been."""
    return 4 * limit + 20


@dataclass(frozen=True, slots=True)
class ContextRecord:
    """The active context of a thread, valid for the branch that ends in `head_turn_id`.

    Its token counts are those of the tokenizer `counted_by`; another one counts anew.
    """

    head_turn_id: str
    exchanges: tuple[Exchange, ...]
    counted_by: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """One completion, what was left out of it, and the receipt for both.

    `record` is what the completion was made of; with the answer it is the next turn's. No
    provider makes more of it than `most_input_tokens`, where `input_tokens` may be an estimate. With
    `more_dropped` there is more that was left out, uncounted: older turns that were not even read.
    """

    request: CompletionRequest
    record: ContextRecord
    input_tokens: int
    most_input_tokens: int
    dropped_messages: int
    dropped_tokens: int
    more_dropped: bool
    rule: str
    receipt: Mapping[str, object]


def error_step_id(answer_step_id: str) -> str:
    """Name the step that shows an answer's error: the same one live and in the history."""
    return str(UUID(int=UUID(answer_step_id).int ^ 1))


def thought_step_id(answer_step_id: str) -> str:
    """Name the step that shows what was thought before an answer, live and in the history."""
    return str(UUID(int=UUID(answer_step_id).int ^ 8))


def tool_step_id(answer_step_id: str, call_id: str) -> str:
    """Name the step that shows a call of a tool: the same one live and in the history."""
    return str(uuid5(UUID(answer_step_id), call_id))
