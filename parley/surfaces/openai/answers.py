"""OpenAI answers: a turn's events as chunks, or folded into one completion."""

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from parley.chat.deltas import FinishReason
from parley.chat.events import (
    Done,
    ErrorEvent,
    Event,
    ReasoningEvent,
    TextEvent,
    ToolStart,
    UsageEvent,
)
from parley.chat.fold import Folded, fold
from parley.chat.turns import Turn
from parley.chat.usage import Usage
from parley.surfaces.http.failures import error_of, openai_error
from parley.surfaces.openai.shapes import (
    AnswerChoice,
    AnswerMessage,
    CallDelta,
    CalledFunction,
    ChunkChoice,
    Completion,
    CompletionChunk,
    Delta,
    Tokens,
    ToolCall,
)

_encode = msgspec.json.Encoder().encode
_END = b"data: [DONE]\n\n"
# OpenAI knows no other reason for an end.
_ENDS = {
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CONTENT_FILTER: "content_filter",
}


@dataclass(frozen=True, slots=True)
class Wire:
    """How one completion is written; `theirs` are the tools that the caller runs."""

    turn: Turn
    theirs: Collection[str]
    include_usage: bool = False

    async def chunks(self, events: AsyncGenerator[Event]) -> AsyncGenerator[bytes]:
        """Render chunks, as they come; raises a `ParleyError` before the first one only."""
        begun, calls, usage = False, 0, None
        async with aclosing(events):
            async for event in events:
                if isinstance(event, ErrorEvent) and not begun:
                    raise error_of(event)
                if isinstance(event, ErrorEvent):
                    yield b"data: " + _encode(openai_error(error_of(event))) + b"\n\n"
                    break
                if isinstance(event, UsageEvent):
                    usage = event.usage
                said = self._said(event, calls)
                if said and not begun:
                    yield self._chunk(Delta(role="assistant", content=""))
                if said:
                    begun = True
                    calls += isinstance(event, ToolStart)
                    yield self._chunk(*said)
        if self.include_usage and usage:
            yield self._framed([], _tokens(usage))
        yield _END

    def _said(self, event: Event, calls: int) -> tuple[Delta, str | None] | None:
        match event:
            case TextEvent(text=text):
                return Delta(content=text), None
            case ReasoningEvent(text=text):
                return Delta(reasoning_content=text), None
            case ToolStart() if event.name in self.theirs:
                return Delta(tool_calls=[_call_delta(calls, event)]), None
            case Done(finish_reason=reason):
                return Delta(), _ENDS.get(reason, "stop")
            case _:
                return None

    async def whole(self, events: AsyncGenerator[Event]) -> AsyncGenerator[bytes]:
        """Render the completion, once it is there; raises a `ParleyError` for one that failed."""
        folded = Folded()
        async with aclosing(events):
            async for event in events:
                if isinstance(event, ErrorEvent):
                    raise error_of(event)
                folded = fold([event], folded)
        yield _encode(self._completion(folded))

    def _completion(self, folded: Folded) -> Completion:
        calls = [
            ToolCall(tool.id, CalledFunction(tool.name, tool.arguments))
            for tool in folded.tools
            if tool.name in self.theirs
        ]
        message = AnswerMessage(
            "assistant",
            folded.text if folded.text or not calls else None,
            reasoning_content=folded.reasoning or UNSET,
            tool_calls=calls or UNSET,
        )
        end = _ENDS.get(folded.finish_reason or FinishReason.UNKNOWN, "stop")
        return Completion(
            choices=[AnswerChoice(0, message, None, end)],
            usage=_tokens(folded.usage or Usage(0, 0)),
            object="chat.completion",
            **self._common(),
        )

    def _chunk(self, delta: Delta, end: str | None = None) -> bytes:
        return self._framed([ChunkChoice(0, delta, None, end)], None)

    def _framed(self, choices: list[ChunkChoice], usage: Tokens | None) -> bytes:
        chunk = CompletionChunk(
            choices=choices,
            usage=usage if self.include_usage else UNSET,
            object="chat.completion.chunk",
            **self._common(),
        )
        return b"data: " + _encode(chunk) + b"\n\n"

    def _common(self) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.turn.id.replace('-', '')}",
            "created": int(self.turn.created_at.timestamp()),
            "model": self.turn.model,
        }


def _call_delta(index: int, event: ToolStart) -> CallDelta:
    return CallDelta(index, event.id, "function", CalledFunction(event.name, event.arguments))


def _tokens(usage: Usage) -> Tokens:
    cached, reasoning = usage.cached_tokens, usage.reasoning_tokens
    return Tokens(
        usage.input_tokens,
        usage.output_tokens,
        usage.input_tokens + usage.output_tokens,
        UNSET if cached is None else {"cached_tokens": cached},
        UNSET if reasoning is None else {"reasoning_tokens": reasoning},
    )
