"""Deltas: what a provider yields.

Grammar: ``(Text | Reasoning | ToolCallDelta)* Usage? Finish``: exactly one `Finish`, always
last, or one raised `ProviderError`. One is made for each token: a struct of msgspec costs a third
of a dataclass, frozen or not.
"""

from enum import StrEnum

import msgspec

from parley.chat.usage import Usage


class FinishReason(StrEnum):
    """Why an answer ended; the last four are Parley's own, no provider sends them."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    UNKNOWN = "unknown"
    STOPPED = "stopped"
    ERROR = "error"
    INTERRUPTED = "interrupted"


class Text(msgspec.Struct, frozen=True, gc=False):
    """A piece of the answer, never empty, as the provider cut it."""

    text: str


class Reasoning(msgspec.Struct, frozen=True, gc=False):
    """A piece of the thinking that some models send beside the answer, never empty."""

    text: str


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of a tool call; `arguments` of one `index` concatenate to a JSON document.

    `signature` is what some providers want back with the call.
    """

    index: int
    id: str | None
    name: str | None
    arguments: str
    signature: str | None = None


class Finish(msgspec.Struct, frozen=True, gc=False):
    """The end of a completion; `raw` is the provider's own word."""

    reason: FinishReason
    raw: str | None = None


Delta = Text | Reasoning | ToolCallDelta | Usage | Finish
