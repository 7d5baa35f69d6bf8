"""Deltas: what a provider yields.

Grammar: ``(Text | Reasoning | ToolCallDelta)* Usage? Finish``: exactly one `Finish`, always
last, or one raised `ProviderError`. Deltas are not frozen: they are made once for each token and
a frozen dataclass costs three times as much to build; nobody may change one.
"""

from dataclasses import dataclass
from enum import StrEnum

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


@dataclass(slots=True)
class Text:
    """A piece of the answer, never empty, as the provider cut it."""

    text: str


@dataclass(slots=True)
class Reasoning:
    """A piece of the thinking that some models send beside the answer, never empty."""

    text: str


@dataclass(slots=True)
class ToolCallDelta:
    """A piece of a tool call; `arguments` of one `index` concatenate to a JSON document.

    `signature` is what some providers want back with the call.
    """

    index: int
    id: str | None
    name: str | None
    arguments: str
    signature: str | None = None


@dataclass(slots=True)
class Finish:
    """The end of a completion; `raw` is the provider's own word."""

    reason: FinishReason
    raw: str | None = None


Delta = Text | Reasoning | ToolCallDelta | Usage | Finish
