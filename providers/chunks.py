"""Chunks: OpenAI's wire format of an answer, read tolerantly into deltas.

Schema: https://github.com/openai/openai-openapi (CreateChatCompletionStreamResponse). What servers
make of it is wider: fields are null, empty or missing, text is a list of parts, tool calls come
without an index or as one bare object, and errors have five shapes. Unknown fields are skipped.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from parley.chat.deltas import Delta, Finish, FinishReason, Reasoning, Text, ToolCallDelta
from parley.chat.errors import BrokenStream, ProtocolViolation, ProviderError, ProviderFault
from parley.chat.usage import Usage
from providers.config import Connection
from providers.faults import fault, frame_fault
from providers.frames import Frame

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "eos_token": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
# Words of vLLM, SGLang, OpenRouter and DeepSeek for an answer that they gave up.
_GIVEN_UP = frozenset({"abort", "error", "insufficient_system_resource"})


# gc=False: chunks hold no cycles, and a collector that tracks each of them costs a tenth of it.
class _Part(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: Any = None


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: Any = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    extra_content: Any = None


class _Delta(msgspec.Struct, gc=False):
    content: str | list[_Part | str] | None = None
    refusal: Any = None
    reasoning_content: str | None = None
    reasoning: Any = None
    tool_calls: list[_ToolCall] | _ToolCall | None = None


class _Choice(msgspec.Struct, gc=False):
    index: Any = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: Any = None
    finish_reason: str | None = None


class _Details(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    completion_tokens_details: _Details | None = None
    prompt_tokens_details: _Details | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class ChunkReader:
    """Turns frames into deltas and keeps what comes last: the usage and the finish reason.

    `done` is set by ``[DONE]``, `streamed` by the first delta.
    """

    def __init__(self, connection: Connection) -> None:
        self.usage: Usage | None = None
        self.finish: Finish | None = None
        self.done = False
        self.streamed = False
        self._connection = connection
        self._index: int | None = None
        self._last_call = -1
        self._last_id: str | None = None

    def read(self, frames: list[Frame], *, cut: bool = False) -> Iterator[Delta]:
        """Give the deltas of these frames; raises `ProviderError` for one that is an error.

        `cut` says that the stream ended within the last of them.
        """
        for frame in frames:
            data = frame.data
            if data[:6] == b"[DONE]":
                self.done = True
                return
            try:
                chunk = _decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                if not data.strip() and frame.event != "error":
                    continue
                raise self._unreadable(frame, cut=cut) from exc
            if chunk.usage is not None or chunk.error or chunk.choices is None or frame.event:
                self._look_beside(frame, chunk)
            if not chunk.choices:
                continue
            choice = chunk.choices[0]
            if choice.index != self._index or len(chunk.choices) > 1:
                choice = self._ours(chunk.choices)
            for delta in self._deltas(choice):
                self.streamed = True
                yield delta
            if choice.finish_reason:
                self._end(choice.finish_reason)

    def _ours(self, choices: list[_Choice]) -> _Choice:
        """Find the choice that is read from first to last; none other was asked for."""
        numbered = {_index(choice): choice for choice in reversed(choices)}
        if self._index is None:
            self._index = min(numbered)
        return numbered.get(self._index) or _Choice()

    def _end(self, raw: str) -> None:
        self.finish = _finish(raw)
        if raw in _GIVEN_UP:
            raise fault(ProviderFault, self._connection, f"it ended the answer with {raw}")

    def _look_beside(self, frame: Frame, chunk: _Chunk) -> None:
        """Take the usage; raise what a frame says that may be an error."""
        certain = bool(chunk.error) or frame.event == "error"
        if certain or chunk.choices is None:
            error = frame_fault(self._connection, frame, certain=certain)
            if error is not None:
                raise error
        if chunk.usage is not None:
            self.usage = _usage(chunk.usage) or self.usage

    def _deltas(self, choice: _Choice) -> Sequence[Delta]:
        delta = choice.delta or choice.message
        if delta is None:  # with its text beside it, as completions that are no chat have it
            return (Text(choice.text),) if choice.text and isinstance(choice.text, str) else ()
        content, reasoning = delta.content, delta.reasoning_content or delta.reasoning
        is_more = reasoning or delta.tool_calls or delta.refusal
        if type(content) is str and content and not is_more:
            return (Text(content),)  # nearly all of them
        deltas: list[Delta] = []
        if reasoning and isinstance(reasoning, str):
            deltas.append(Reasoning(reasoning))
        if isinstance(content, str) and content:
            deltas.append(Text(content))
        elif content:
            deltas.extend(_parts(content))
        if delta.refusal and isinstance(delta.refusal, str):
            # What a model says in place of the JSON that it was asked for; else nobody would see why.
            deltas.append(Text(delta.refusal))
        if delta.tool_calls:
            deltas.extend(self._tool_calls(delta.tool_calls))
        return deltas

    def _tool_calls(self, calls: list[_ToolCall] | _ToolCall) -> Iterator[ToolCallDelta]:
        for call in calls if isinstance(calls, list) else [calls]:
            function = call.function or _Function()
            index = call.index
            if index is None:
                # Gemini sends no index: a piece that names another call begins one, others continue it.
                named = call.id != self._last_id if call.id else bool(function.name)
                index = self._last_call + 1 if named else max(self._last_call, 0)
            self._last_call = max(self._last_call, index)
            self._last_id = call.id or self._last_id
            arguments = _arguments(function.arguments)
            yield ToolCallDelta(index, call.id, function.name, arguments, _signature(call))

    def _unreadable(self, frame: Frame, *, cut: bool) -> ProviderError:
        """Say what a frame is that is not a chunk: an error of another shape, cut off, or wrong."""
        if error := frame_fault(self._connection, frame, certain=False):
            return error
        if cut:
            return fault(BrokenStream, self._connection)
        return fault(ProtocolViolation, self._connection, "an event that is not a chunk")


def _finish(raw: str) -> Finish:
    return Finish(_FINISH_REASONS.get(raw.lower(), FinishReason.UNKNOWN), raw)


def _index(choice: _Choice) -> int:
    return choice.index if isinstance(choice.index, int) else 0


def _usage(sent: _Usage) -> Usage | None:
    """Take over a usage that is complete and possible; else it would have to be made up."""
    if sent.prompt_tokens is None or sent.completion_tokens is None:
        return None
    if min(sent.prompt_tokens, sent.completion_tokens) < 0:
        return None
    output, given = sent.completion_tokens_details, sent.prompt_tokens_details
    return Usage(
        sent.prompt_tokens,
        sent.completion_tokens,
        reasoning_tokens=output.reasoning_tokens if output else None,
        cached_tokens=given.cached_tokens if given else None,
    )


def _parts(parts: list[_Part | str]) -> Iterator[Delta]:
    """Read text in parts; Mistral's thinking is one of them, and has parts of its own."""
    for part in parts:
        text = part if isinstance(part, str) else part.text
        if text:
            yield Text(text)
        elif isinstance(part, _Part) and (thought := _thought(part.thinking)):
            yield Reasoning(thought)


def _thought(thinking: object) -> str:
    if isinstance(thinking, str):
        return thinking
    pieces = thinking if isinstance(thinking, list) else []
    return "".join(str(piece.get("text") or "") for piece in pieces if isinstance(piece, dict))


def _signature(call: _ToolCall) -> str | None:
    """Keep what Gemini sends beside a call, and refuses its result without, as JSON."""
    sent = call.extra_content
    return msgspec.json.encode(sent).decode() if isinstance(sent, dict) and sent else None


def _arguments(sent: object) -> str:
    """Arguments as JSON text: some servers send the object itself."""
    if sent is None or isinstance(sent, str):
        return sent or ""
    return msgspec.json.encode(sent).decode()
