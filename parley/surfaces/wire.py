"""Wire: an event as JSON, the same on every surface (docs/reference.md, Events)."""

from dataclasses import asdict
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

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
)
from parley.chat.usage import Usage

_encode = msgspec.json.Encoder().encode


class UsageShape(msgspec.Struct, kw_only=True):
    """Tokens of a turn; `estimated` where no provider counted them."""

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int | UnsetType = UNSET
    cached_tokens: int | UnsetType = UNSET
    estimated: bool


def event_json(event: Event) -> bytes:
    """Render an event as one line of JSON."""
    return _encode(event_fields(event))


def event_fields(event: Event) -> dict[str, Any]:
    """Give the fields of an event's JSON."""
    rendered: dict[str, Any] = {
        "type": _TYPES[type(event)],
        "turn_id": event.turn_id,
        "seq": event.seq,
    }
    match event:
        case TextEvent(text=text, offset=offset) | ReasoningEvent(text=text, offset=offset):
            rendered |= {"content": text, "offset": offset}
        case ErrorEvent(code=code, message=message, retry_after_s=retry_after_s):
            rendered |= {"content": message, "code": code, "retry_after_s": retry_after_s}
        case UsageEvent(usage=usage):
            rendered["content"] = usage_shape(usage)
        case TurnStart(thread_id=thread_id, message_id=message_id, model=model):
            rendered["content"] = {
                "conversation_id": thread_id,
                "message_id": message_id,
                "model": model,
            }
        case _:
            rendered["content"] = _fields(event)
    return rendered


_TYPES: dict[type[Event], str] = {
    TurnStart: "turn_start",
    Attempt: "attempt",
    TextEvent: "text",
    ReasoningEvent: "reasoning",
    Snapshot: "snapshot",
    ToolStart: "tool_start",
    ToolEnd: "tool_end",
    ContextPruned: "context_pruned",
    UsageEvent: "usage",
    ErrorEvent: "error",
    Done: "done",
}


def usage_shape(usage: Usage | None) -> UsageShape | None:
    """Write what a turn cost."""
    if usage is None:
        return None
    return UsageShape(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=UNSET if usage.reasoning_tokens is None else usage.reasoning_tokens,
        cached_tokens=UNSET if usage.cached_tokens is None else usage.cached_tokens,
        estimated=usage.estimated,
    )


def _fields(
    event: Attempt | Snapshot | ToolStart | ToolEnd | ContextPruned | Done,
) -> dict[str, Any]:
    fields = asdict(event)
    del fields["turn_id"], fields["seq"]
    return fields
