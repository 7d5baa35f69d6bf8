"""Fold: what all readers of a turn agree on, whatever the cut of its events."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from parley.chat.deltas import FinishReason
from parley.chat.events import (
    Attempt,
    Done,
    ErrorEvent,
    Event,
    ReasoningEvent,
    Snapshot,
    TextEvent,
    ToolEnd,
    ToolStart,
    UsageEvent,
)
from parley.chat.usage import Usage


@dataclass(frozen=True, slots=True)
class FoldedTool:
    """A call of a tool; `result` is None until it has ended."""

    id: str
    name: str
    action: str
    arguments: str
    result: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Folded:
    """A turn as a reader knows it after some events."""

    seq: int = 0
    text: str = ""
    reasoning: str = ""
    tools: tuple[FoldedTool, ...] = ()
    usage: Usage | None = None
    error_code: str | None = None
    error_message: str | None = None
    finish_reason: FinishReason | None = None


def fold(events: Iterable[Event], start: Folded | None = None) -> Folded:
    """Fold events into the turn, starting from `start`.

    Idempotent: an event seen twice, or one of an owner that lost the turn, changes nothing.
    """
    folded = start or Folded()
    for event in events:
        if event.seq > folded.seq:  # the fence is the higher part of it
            folded = replace(_apply(folded, event), seq=event.seq)
    return folded


def _apply(folded: Folded, event: Event) -> Folded:
    match event:
        case TextEvent(text=text, offset=offset):
            folded = replace(folded, text=folded.text[:offset] + text)
        case ReasoningEvent(text=text, offset=offset):
            folded = replace(folded, reasoning=folded.reasoning[:offset] + text)
        case Snapshot(text=text, reasoning=reasoning):
            folded = replace(folded, text=text, reasoning=reasoning)
        case Attempt(keep=False):
            folded = replace(folded, text="", reasoning="")
        case ToolStart() | ToolEnd():
            folded = replace(folded, tools=_with_tool(folded.tools, event))
        case UsageEvent(usage=usage):
            folded = replace(folded, usage=usage)
        case ErrorEvent(code=code, message=message):
            folded = replace(folded, error_code=code, error_message=message)
        case Done(finish_reason=reason):
            folded = replace(folded, finish_reason=reason)
        case _:
            pass
    return folded


def _with_tool(tools: tuple[FoldedTool, ...], event: ToolStart | ToolEnd) -> tuple[FoldedTool, ...]:
    """A call that begins anew takes the place of the one with its id."""
    if isinstance(event, ToolStart):
        tool = FoldedTool(event.id, event.name, event.action, event.arguments)
        return (*(t for t in tools if t.id != event.id), tool)
    return tuple(
        replace(t, result=event.result, error=event.error) if t.id == event.id else t for t in tools
    )
