"""OpenAI shapes: what ``/v1`` takes and gives, in the names of OpenAI's published schema.

Fields that are not named here are ignored, as every server of this dialect does: clients send many.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

Count = msgspec.Meta(ge=1)


class ImageUrl(msgspec.Struct):
    """An image as a ``data:`` URL."""

    url: str


class ContentPart(msgspec.Struct):
    """A piece of a message: text, or an image."""

    type: str
    text: str | None = None
    image_url: ImageUrl | None = None


class CalledFunction(msgspec.Struct):
    """What a model called; `arguments` is JSON as it wrote it."""

    name: str
    arguments: str = ""


class ToolCall(msgspec.Struct):
    """A call of a tool."""

    id: str
    function: CalledFunction
    type: str = "function"


class AskedMessage(msgspec.Struct):
    """A message of the conversation that the caller brings along."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class FunctionSpec(msgspec.Struct):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolShape(msgspec.Struct):
    """A tool of the caller's."""

    type: Literal["function"]
    function: FunctionSpec


class ChosenFunction(msgspec.Struct):
    """The name of a function."""

    name: str


class ChosenTool(msgspec.Struct):
    """The tool that must be called."""

    type: Literal["function"]
    function: ChosenFunction


class JsonSchema(msgspec.Struct):
    """The form that an answer must have."""

    name: str = "answer"
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class AnswerFormat(msgspec.Struct):
    """How the answer is to be written."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct):
    """Whether the last chunk says what it cost."""

    include_usage: bool | None = None


class CompletionBody(msgspec.Struct):
    """The body of ``POST /v1/chat/completions``; `parley_tools` names tools that Parley runs."""

    model: str
    messages: list[AskedMessage]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[ToolShape] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    response_format: AnswerFormat | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    parley_tools: list[str] | None = None


class Tokens(msgspec.Struct):
    """What an answer cost."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int] | UnsetType = UNSET
    completion_tokens_details: dict[str, int] | UnsetType = UNSET


class CallDelta(msgspec.Struct):
    """A call of a tool, in a chunk."""

    index: int
    id: str
    type: str
    function: CalledFunction


class Delta(msgspec.Struct, omit_defaults=True):
    """What is new in a chunk."""

    role: str | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[CallDelta] | UnsetType = UNSET


class ChunkChoice(msgspec.Struct):
    """The answer's part of a chunk."""

    index: int
    delta: Delta
    logprobs: None
    finish_reason: str | None


class CompletionChunk(msgspec.Struct):
    """One event of a streamed answer."""

    id: str
    object: str
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Tokens | UnsetType | None = UNSET


class AnswerMessage(msgspec.Struct):
    """The answer."""

    role: str
    content: str | None
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class AnswerChoice(msgspec.Struct):
    """The answer, and how it ended."""

    index: int
    message: AnswerMessage
    logprobs: None
    finish_reason: str


class Completion(msgspec.Struct):
    """A whole answer."""

    id: str
    object: str
    created: int
    model: str
    choices: list[AnswerChoice]
    usage: Tokens


class ListedModel(msgspec.Struct):
    """A model that can be asked."""

    id: str
    object: str
    created: int
    owned_by: str


class ListedModels(msgspec.Struct):
    """All of them, the default first."""

    object: str
    data: list[ListedModel]


class OpenAIErrorBody(msgspec.Struct):
    """What went wrong, in OpenAI's words; `code` is one of ours."""

    message: str
    type: str
    param: str | None
    code: str
    request_id: str


class OpenAIError(msgspec.Struct):
    """The body of every refusal of ``/v1``."""

    error: OpenAIErrorBody
