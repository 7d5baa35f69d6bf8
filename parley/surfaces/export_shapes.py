"""Export shapes: a conversation as JSON to take along and bring back, and as Markdown to read.

What is taken along is the chosen branch: messages, answers, and what tools gave. Receipts stay,
for they name turns by ids that are only here, and so do files.
"""

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from parley.chat.conversations import BroughtTurn, Conversation
from parley.chat.deltas import FinishReason
from parley.chat.errors import InvalidRequest, TooLarge
from parley.chat.extras import check_extras
from parley.chat.quoting import quoted
from parley.chat.tools import ToolUse
from parley.chat.turns import Answer, AttemptRecord, Extras, Turn, TurnState
from parley.chat.usage import Usage
from parley.surfaces.conversation_shapes import Title

VERSION: Literal[1] = 1
LARGEST_EXPORT_TURNS = 10_000
_SHOWN_CHARS = 4000
_NUL = re.compile(rb"\\(\\|u0000)")

Moment = Annotated[datetime, Meta(tz=True)]
Milliseconds = Annotated[int, Meta(ge=0, lt=2**31)]
Name = Annotated[str, Meta(max_length=500)]


class ExportedError(msgspec.Struct, forbid_unknown_fields=True):
    """Why an answer failed."""

    code: Name
    message: str


class ExportedAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """An answer; one that was still being written counts as interrupted when it comes back."""

    state: TurnState
    text: str
    reasoning: str
    finish_reason: FinishReason | None
    usage: Usage | None
    tools: tuple[ToolUse, ...]
    attempts: tuple[AttemptRecord, ...]
    error: ExportedError | None
    time_to_first_chunk_ms: Milliseconds | None
    duration_ms: Milliseconds | None
    ended_at: Moment | None


class ExportedTurn(msgspec.Struct, forbid_unknown_fields=True):
    """A message and its answer; `extras` are the images, tools and form that it brought along."""

    message: str
    model: Name
    created_at: Moment
    extras: Extras
    answer: ExportedAnswer


class ExportedConversation(msgspec.Struct, forbid_unknown_fields=True):
    """A conversation, whole."""

    version: Literal[1]
    exported_at: Moment
    title: Title
    created_at: Moment
    metadata: dict[str, Any]
    turns: list[ExportedTurn]


_decode = msgspec.json.Decoder(ExportedConversation).decode
_encode = msgspec.json.Encoder().encode


def exported_head(one: Conversation) -> bytes:
    """Write the beginning of an export; its turns come after it, each by `exported_turn`."""
    head = ExportedConversation(
        VERSION, datetime.now(UTC), one.title, one.created_at, dict(one.metadata or {}), []
    )
    return _encode(head).removesuffix(b"]}")


EXPORTED_END = b"\n]}\n"


def exported_turn(turn: Turn) -> bytes:
    """Write a turn."""
    answer = turn.answer
    error = (
        ExportedError(answer.error_code, answer.error_message or "") if answer.error_code else None
    )
    exported = ExportedAnswer(
        state=answer.state,
        text=answer.text,
        reasoning=answer.reasoning,
        finish_reason=answer.finish_reason,
        usage=answer.usage,
        tools=answer.tools,
        attempts=answer.attempts,
        error=error,
        time_to_first_chunk_ms=answer.time_to_first_chunk_ms,
        duration_ms=answer.duration_ms,
        ended_at=answer.ended_at,
    )
    return b"\n" + _encode(
        ExportedTurn(turn.text, turn.model, turn.created_at, turn.extras, exported)
    )


def read_export(body: bytes) -> ExportedConversation:
    """Read an export; raises `InvalidRequest` for what is none."""
    # A NUL, which no database takes, as every other surface has it.
    body = _NUL.sub(lambda found: found[0] if found[1] == b"\\" else rb"\ufffd", body)
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"This is no conversation that was exported here: {error}.") from None
    except RecursionError:
        raise InvalidRequest("This is nested too deeply.") from None


def brought_turns(
    export: ExportedConversation, limit_bytes: int, image_limit_bytes: int
) -> list[BroughtTurn]:
    """Give its turns as they may be kept; raises `InvalidRequest` and `TooLarge`."""
    if len(export.turns) > LARGEST_EXPORT_TURNS:
        raise TooLarge(
            f"A conversation that is brought back has at most {LARGEST_EXPORT_TURNS} turns."
        )
    for turn in export.turns:
        check_extras(turn.extras, image_limit_bytes)
        if len(turn.message.encode()) > limit_bytes:
            raise TooLarge(f"A message is larger than {limit_bytes} bytes (LIMIT_MESSAGE_BYTES).")
    return [
        BroughtTurn(t.message, t.model, t.created_at.astimezone(UTC), _answer(t.answer), t.extras)
        for t in export.turns
    ]


def _answer(one: ExportedAnswer) -> Answer:
    answer = Answer(
        state=one.state,
        text=one.text,
        reasoning=one.reasoning,
        finish_reason=one.finish_reason,
        usage=one.usage,
        attempts=one.attempts,
        error_code=one.error.code if one.error else None,
        error_message=one.error.message if one.error else None,
        time_to_first_chunk_ms=one.time_to_first_chunk_ms,
        duration_ms=one.duration_ms,
        ended_at=one.ended_at.astimezone(UTC) if one.ended_at else None,
        tools=one.tools,
    )
    if answer.state.is_over:
        return answer
    return replace(answer, state=TurnState.INTERRUPTED, finish_reason=FinishReason.INTERRUPTED)


def markdown_head(one: Conversation) -> str:
    """Write the beginning of a conversation to read."""
    return f"# {one.title or 'Conversation'}\n\n{one.created_at:%Y-%m-%d %H:%M} UTC\n"


def markdown_turn(turn: Turn) -> str:
    """Write a turn to read: both texts as they are, what was done beside them in blocks."""
    answer = turn.answer
    parts = [f"## You, {turn.created_at:%Y-%m-%d %H:%M}", turn.text]
    if turn.extras.images:
        parts.append(f"_With {len(turn.extras.images)} image(s), which are not in this text._")
    parts.append(f"## {turn.model}")
    parts += [_tool(use) for use in answer.tools]
    if answer.text:
        parts.append(answer.text)
    if answer.error_message:
        parts.append(f"_{answer.error_message}_")
    elif answer.state is not TurnState.COMPLETED:
        parts.append(f"_{answer.state.value}_")
    return "\n" + "\n\n".join(parts) + "\n"


def _tool(use: ToolUse) -> str:
    gave = use.error or use.result
    shown = f"{use.name} {use.arguments}" + (f"\n\n{gave}" if gave is not None else "")
    return quoted(shown, _SHOWN_CHARS)


def file_name(title: str, ending: str) -> str:
    """Make a name that every system takes, as the header ``content-disposition`` has it."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-.")[:80] or "conversation"
    return f'attachment; filename="{plain}.{ending}"'
