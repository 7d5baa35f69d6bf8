"""Gemini's frames: `streamGenerateContent`, read into deltas.

Reference: https://ai.google.dev/api/generate-content
There is no ``[DONE]`` on this wire: an answer is complete when its stream ends after a finish reason.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from parley.chat.deltas import Delta, Finish, FinishReason, Reasoning, Text, ToolCallDelta
from parley.chat.errors import (
    BrokenStream,
    ContentFiltered,
    ProtocolViolation,
    ProviderError,
    ProviderFault,
)
from parley.chat.usage import Usage
from providers.config import Connection
from providers.faults import fault, frame_fault
from providers.frames import Frame

_FINISH_REASONS = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "IMAGE_SAFETY": FinishReason.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
}
# What Google's libraries write where there is none yet.
_NO_REASON = frozenset({None, "", "FINISH_REASON_UNSPECIFIED"})


# gc=False: responses hold no cycles, and a collector that tracks each of them costs a tenth of it.
class _Call(msgspec.Struct, gc=False):
    name: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"{}")
    id: str | None = None


class _Part(msgspec.Struct, rename="camel", gc=False):
    text: str | None = None
    thought: bool | None = None
    function_call: _Call | None = None
    thought_signature: str | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel", gc=False):
    content: _Content | None = None
    finish_reason: str | None = None
    index: int | None = None


class _Feedback(msgspec.Struct, rename="camel", gc=False):
    block_reason: str | None = None


class _Usage(msgspec.Struct, rename="camel", gc=False):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None


class _Response(msgspec.Struct, rename="camel", gc=False):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Response).decode


class ResponseReader:
    """Turns frames into deltas and keeps what comes last: the usage and the finish reason.

    `streamed` is set by the first delta.
    """

    def __init__(self, connection: Connection) -> None:
        self.usage: Usage | None = None
        self.streamed = False
        self._connection = connection
        self._raw: str | None = None
        self._calls = 0

    @property
    def finish(self) -> Finish | None:
        """The end that was sent; a call of a tool ends with STOP like any text."""
        if self._raw is None:
            return None
        reason = _FINISH_REASONS.get(self._raw, FinishReason.UNKNOWN)
        if reason is FinishReason.STOP and self._calls:
            reason = FinishReason.TOOL_CALLS
        return Finish(reason, self._raw)

    def read(self, frames: list[Frame], *, cut: bool = False) -> Iterator[Delta]:
        """Give the deltas of these frames; raises `ProviderError` for one that is an error.

        `cut` says that the stream ended within the last of them. An answer that there is
        nothing of, by the filter or a call that the model got wrong, is an error too.
        """
        for frame in frames:
            if frame.event != "error" and (not frame.data.strip() or frame.data[:6] == b"[DONE]"):
                continue
            response = self._response(frame, cut=cut)
            if response.usage_metadata is not None:
                self.usage = _usage(response.usage_metadata) or self.usage
            # One answer is asked for; pieces of another would be mixed into it.
            candidate = next((c for c in response.candidates or () if not c.index), None)
            if candidate is not None:
                for delta in self._deltas(candidate):
                    self.streamed = True
                    yield delta
                if candidate.finish_reason not in _NO_REASON:
                    self._raw = candidate.finish_reason
                    self._check_answer()
            if response.prompt_feedback is not None:
                self._check_message(response.prompt_feedback)

    def _check_message(self, feedback: _Feedback) -> None:
        if feedback.block_reason is not None:
            said = f"the message was blocked ({feedback.block_reason})"
            raise fault(ContentFiltered, self._connection, said)

    def _check_answer(self) -> None:
        finish = self.finish
        if finish is None or self.streamed:
            return
        if finish.reason is FinishReason.CONTENT_FILTER:
            raise fault(ContentFiltered, self._connection, f"the answer was blocked ({self._raw})")
        if finish.reason is FinishReason.UNKNOWN:  # a call that was none, above all
            raise fault(ProviderFault, self._connection, f"it wrote no answer ({self._raw})")

    def _deltas(self, candidate: _Candidate) -> Iterator[Delta]:
        for part in (candidate.content.parts if candidate.content else None) or ():
            if part.text:
                yield Reasoning(part.text) if part.thought else Text(part.text)
            if (call := part.function_call) is not None:
                arguments = bytes(call.args).decode()
                yield ToolCallDelta(
                    self._calls,
                    call.id,
                    call.name,
                    "{}" if arguments == "null" else arguments,
                    part.thought_signature,
                )
                self._calls += 1

    def _response(self, frame: Frame, *, cut: bool) -> _Response:
        try:
            response = _decode(frame.data)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise self._unreadable(frame, cut=cut) from exc
        certain = response.error is not None or frame.event == "error"
        if certain or response.candidates is None:
            error = frame_fault(self._connection, frame, certain=certain)
            if error is not None:
                raise error
        return response

    def _unreadable(self, frame: Frame, *, cut: bool) -> ProviderError:
        """Say what a frame is that is no response: an error of another shape, cut off, or wrong."""
        if error := frame_fault(self._connection, frame, certain=frame.event == "error"):
            return error
        if cut:
            return fault(BrokenStream, self._connection)
        return fault(ProtocolViolation, self._connection, "an event that is not a response")


def _usage(sent: _Usage) -> Usage | None:
    """Take over a usage that is complete; thoughts are counted apart, and are paid as output."""
    thoughts, answer = sent.thoughts_token_count, sent.candidates_token_count
    if sent.prompt_token_count is None or (thoughts is None and answer is None):
        return None
    return Usage(
        sent.prompt_token_count,
        (answer or 0) + (thoughts or 0),
        reasoning_tokens=thoughts,
        cached_tokens=sent.cached_content_token_count,
    )
