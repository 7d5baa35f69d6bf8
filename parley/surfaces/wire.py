"""Wire: an event as JSON, the same on every surface (docs/reference.md, Events)."""

from dataclasses import asdict
from typing import Any

import msgspec

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


def event_json(event: Event) -> bytes:
    """Render an event as one line of JSON."""
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
            rendered["content"] = _usage(usage)
        case TurnStart(thread_id=thread_id, message_id=message_id, model=model):
            rendered["content"] = {
                "conversation_id": thread_id,
                "message_id": message_id,
                "model": model,
            }
        case _:
            rendered["content"] = _fields(event)
    return _encode(rendered)


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


def _usage(usage: Usage) -> dict[str, Any]:
    return {name: value for name, value in asdict(usage).items() if value is not None}


def _fields(
    event: Attempt | Snapshot | ToolStart | ToolEnd | ContextPruned | Done,
) -> dict[str, Any]:
    fields = asdict(event)
    del fields["turn_id"], fields["seq"]
    return fields
