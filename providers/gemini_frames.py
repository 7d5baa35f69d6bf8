"""Gemini's frames: `streamGenerateContent`, read into deltas by google-genai's types.

Reference: https://ai.google.dev/api/generate-content
There is no ``[DONE]`` on this wire: an answer is complete when its stream ends after a finish reason.
"""

from collections.abc import Iterator

import msgspec
import pydantic

from parley.chat.deltas import Delta, Finish, FinishReason, Reasoning, Text, ToolCallDelta
from parley.chat.errors import (
    BrokenStream,
    ContentFiltered,
    ProtocolViolation,
    ProviderError,
    ProviderFault,
)
from parley.chat.messages import Message, Role
from parley.chat.models import Sampling
from parley.chat.usage import Usage
from providers.config import Connection
from providers.faults import event_fault, fault
from providers.frames import Frame

try:
    from google.genai import types
except ImportError as exc:
    raise ImportError(
        "Gemini needs the package of the extra `gemini`: pip install google-genai"
    ) from exc

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


def render(messages: tuple[Message, ...], sampling: Sampling, *, thinks: bool) -> dict[str, object]:
    """Write a request; `thinks` asks a model that can for what it thinks."""
    system = [types.Part(text=m.text) for m in messages if m.role is Role.SYSTEM]
    generation = types.GenerationConfig(
        max_output_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        stop_sequences=list(sampling.stop) or None,
        seed=sampling.seed,
        thinking_config=types.ThinkingConfig(include_thoughts=True) if thinks else None,
    )
    body: dict[str, object] = {
        "contents": [_json(_content(m)) for m in messages if m.role is not Role.SYSTEM],
        "generationConfig": _json(generation),
    }
    if system:
        body["systemInstruction"] = _json(types.Content(parts=system))
    return body


def _content(message: Message) -> types.Content:
    role = "model" if message.role is Role.ASSISTANT else "user"
    return types.Content(role=role, parts=[types.Part(text=message.text)])


def _json(value: pydantic.BaseModel) -> dict[str, object]:
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


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

        `cut` says that the stream ended within the last of them. An answer that the filter left
        nothing of is an error too.
        """
        for frame in frames:
            if frame.event != "error" and (not frame.data.strip() or frame.data[:6] == b"[DONE]"):
                continue
            response = self._response(frame, cut=cut)
            self.usage = _usage(response.usage_metadata) or self.usage
            candidate = response.candidates[0] if response.candidates else None
            if candidate is not None:
                for delta in self._deltas(candidate):
                    self.streamed = True
                    yield delta
                if candidate.finish_reason is not None:
                    self._raw = candidate.finish_reason.value
            self._check_filter(response, candidate)

    def _check_filter(
        self, response: types.GenerateContentResponse, candidate: types.Candidate | None
    ) -> None:
        feedback = response.prompt_feedback
        if feedback is not None and feedback.block_reason is not None:
            said = f"the message was blocked ({feedback.block_reason.value})"
            raise fault(ContentFiltered, self._connection, said)
        finish = self.finish
        filtered = finish is not None and finish.reason is FinishReason.CONTENT_FILTER
        if candidate is not None and filtered and not self.streamed:
            raise fault(ContentFiltered, self._connection, f"the answer was blocked ({self._raw})")

    def _deltas(self, candidate: types.Candidate) -> Iterator[Delta]:
        for part in (candidate.content.parts if candidate.content else None) or ():
            if part.text:
                yield Reasoning(part.text) if part.thought else Text(part.text)
            if part.function_call is not None:
                call = part.function_call
                arguments = msgspec.json.encode(call.args or {}).decode()
                yield ToolCallDelta(self._calls, call.id, call.name, arguments)
                self._calls += 1

    def _response(self, frame: Frame, *, cut: bool) -> types.GenerateContentResponse:
        payload = self._payload(frame, cut=cut)
        error = event_fault(self._connection, payload)
        if error is None and frame.event == "error":
            error = event_fault(self._connection, {"error": payload})
            error = error or fault(ProviderFault, self._connection)
        if error is not None:
            raise error
        if not isinstance(payload, dict):
            raise self._wrong()
        return self._typed(payload)

    def _payload(self, frame: Frame, *, cut: bool) -> object:
        try:
            payload: object = msgspec.json.decode(frame.data)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            if frame.event == "error":
                return frame.data.decode(errors="replace")
            if cut:
                raise fault(BrokenStream, self._connection) from exc
            raise self._wrong() from exc
        return payload

    def _typed(self, payload: dict[str, object]) -> types.GenerateContentResponse:
        try:
            # As google-genai reads responses: without the fields that it does not know.
            return types.GenerateContentResponse._from_response(response=payload, kwargs={})
        except (pydantic.ValidationError, TypeError, AttributeError) as exc:
            raise self._wrong() from exc

    def _wrong(self) -> ProviderError:
        return fault(ProtocolViolation, self._connection, "an event that is not a response")


def _usage(sent: types.GenerateContentResponseUsageMetadata | None) -> Usage | None:
    """Take over a usage that is complete; thoughts are counted apart, and are paid as output."""
    if sent is None or sent.prompt_token_count is None:
        return None
    thoughts, answer = sent.thoughts_token_count, sent.candidates_token_count
    if thoughts is None and answer is None:
        return None
    return Usage(
        sent.prompt_token_count,
        (answer or 0) + (thoughts or 0),
        reasoning_tokens=thoughts,
        cached_tokens=sent.cached_content_token_count,
    )
