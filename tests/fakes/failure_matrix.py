"""The failure matrix: what a client should make of each case of `examples/failure-matrix.toml`."""

from pathlib import Path

from parley.chat.deltas import FinishReason
from parley.chat.errors import (
    BrokenStream,
    ContentFiltered,
    ContextOverflow,
    CredentialsRefused,
    ModelMissing,
    Overloaded,
    ProtocolViolation,
    ProviderError,
    ProviderFault,
)

MATRIX = Path(__file__).parents[2] / "examples" / "failure-matrix.toml"

# Text and finish reason where they are not "Hé you" and stop.
WELL: dict[str, tuple[str, FinishReason]] = dict.fromkeys(
    (
        "keepalives", "events without data", "crlf", "lone cr", "no space", "one byte a packet",
        "all in one packet", "byte order mark", "many lines of data", "no final blank line",
        "no done", "no usage", "document in place of a stream", "close ends the stream",
        "choices empty first", "choices null", "delta missing", "content null",
        "content in parts", "empty finish reason", "done then hang", "finish then cut", "reasoning", "slow and whole",
    ),
    ("Hé you", FinishReason.STOP),
) | {
    "no finish reason": ("Hé you", FinishReason.UNKNOWN),
    "separators of unicode": ("Hé\u2028\u0085 you", FinishReason.STOP),
    "two megabytes": ("Hé" + "x" * 2**21 + " you", FinishReason.STOP),
    "tool calls": ("", FinishReason.TOOL_CALLS),
    "tool calls without index": ("", FinishReason.TOOL_CALLS),
}  # fmt: skip
FAILED: dict[str, type[ProviderError]] = {
    "401 empty": CredentialsRefused,
    "404 model": ModelMissing,
    "400 context": ContextOverflow,
    "400 filter": ContentFiltered,
    "429": Overloaded,
    "500": ProviderFault,
    "503 html": Overloaded,
    "200 html": ProtocolViolation,
    "200 empty": BrokenStream,
    "200 empty document": ProtocolViolation,
    "200 json of another kind": ProtocolViolation,
    "bad json": ProtocolViolation,
    "bad utf-8": ProtocolViolation,
    "too large an event": ProtocolViolation,
    "error in the stream": ProviderFault,
    "error by an event's name": ProviderFault,
    "overload of tgi": Overloaded,
    "overload of tgi's messages": Overloaded,
    "error of vllm": ContextOverflow,
    "given up": ProviderFault,
    "cut before the status": BrokenStream,
    "reset before the status": BrokenStream,
    "cut": BrokenStream,
    "reset": BrokenStream,
    "close in place of an end": BrokenStream,
    "clean end without a finish": BrokenStream,
}
SILENT = {
    "hang before the status": "first_event",
    "hang before the first": "first_event",
    "keepalives before the first": "first_event",
    "hang in the middle": "idle",
    "hang with keepalives": "idle",
    "hang with empty data": "idle",
    "byte for byte": "idle",
}
# Answered well, each with its own test.
ALSO = frozenset({"finish then hang", "429 then well"})
# Said in OpenAI's words, or of what only its dialect has.
OPENAI_ONLY = frozenset(
    {
        "choices empty first", "choices null", "delta missing", "content null", "content in parts",
        "empty finish reason", "no done", "no finish reason", "done then hang", "reasoning",
        "tool calls", "tool calls without index", "error of vllm", "given up", "overload of tgi's messages",
    }
)  # fmt: skip
