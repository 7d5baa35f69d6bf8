"""Requests in OpenAI's dialect: messages, tools and forms of an answer, as its servers take them.

Schema: https://github.com/openai/openai-openapi (CreateChatCompletionRequest). Servers differ in a
few things, which `Habits` names.
"""

from base64 import b64encode
from dataclasses import dataclass, replace

import msgspec

from parley.chat.messages import ImagePart, Message, Role, ToolCallPart, ToolResultPart
from parley.chat.models import CompletionRequest, ResponseFormat, Sampling, ToolChoice, ToolSpec


@dataclass(frozen=True, slots=True)
class Habits:
    """In what a server's dialect is its own.

    `length` is its word for the longest answer. `signed` says that it takes back what it sent
    beside a call. `calls_alone`: it reads either text or calls from a message, the text if both are
    there. `arguments` is also its word for a tool's parameters, and in a call the object itself.
    `grammar`: the form of an answer is TGI's grammar.
    """

    length: str = "max_tokens"
    signed: bool = True
    calls_alone: bool = False
    arguments: bool = False
    grammar: bool = False


COMPATIBLE = Habits()
# Its reasoning models refuse `max_tokens`, and other servers know no other name.
OPENAI = Habits(length="max_completion_tokens", signed=False)
# Its templates quote arguments once more that are a string (router 3.3, `serialize_as_string`).
TGI = Habits(calls_alone=True, arguments=True, grammar=True)
# An Inference Endpoint runs TGI, vLLM, llama.cpp or SGLang, and does not say which.
ENDPOINT = Habits(calls_alone=True, grammar=True)


def render(
    request: CompletionRequest, defaults: Sampling, habits: Habits = COMPATIBLE
) -> dict[str, object]:
    """Write a request, with the fields that are set and no others."""
    drawn = request.sampling.or_else(defaults)
    fields: dict[str, object] = {
        habits.length: drawn.max_tokens,
        "temperature": drawn.temperature,
        "top_p": drawn.top_p,
        "stop": list(drawn.stop) or None,
        "seed": drawn.seed,
        "tools": [_tool(tool, habits) for tool in request.tools] or None,
        "tool_choice": _choice(request.tool_choice) if request.tools else None,
        "response_format": _form(request.response_format, habits),
    }
    return {
        "model": request.model,
        "messages": [_message(message, habits) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        **{name: value for name, value in fields.items() if value is not None},
    }


def narrowed(request: CompletionRequest) -> CompletionRequest:
    """Offer only the tool that has to be called, for servers that know no choice by its name."""
    choice = request.tool_choice
    if choice is None or choice.name is None:
        return request
    tools = tuple(tool for tool in request.tools if tool.name == choice.name)
    return replace(request, tools=tools, tool_choice=ToolChoice("required"))


def _message(message: Message, habits: Habits) -> dict[str, object]:
    if message.role is Role.TOOL:
        return _result(message)
    if message.tool_calls:
        return _calling(message, habits)
    return {"role": message.role.value, "content": _content(message)}


def _content(message: Message) -> str | list[dict[str, object]]:
    if not message.images:
        return message.text
    return [
        {"type": "image_url", "image_url": {"url": data_url(part)}}
        if isinstance(part, ImagePart)
        else {"type": "text", "text": part.text}
        for part in message.parts
        if not isinstance(part, ToolCallPart)
    ]


def _calling(message: Message, habits: Habits) -> dict[str, object]:
    calls = [_call(call, habits) for call in message.tool_calls]
    said = {"content": message.text} if message.text and not habits.calls_alone else {}
    return {"role": message.role.value, **said, "tool_calls": calls}


def _call(call: ToolCallPart, habits: Habits) -> dict[str, object]:
    arguments = _object(call.arguments) if habits.arguments else call.arguments
    written: dict[str, object] = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
    # JSON is what came by this dialect; another one's signatures mean nothing here.
    if habits.signed and call.signature and call.signature.startswith("{"):
        written["extra_content"] = msgspec.Raw(call.signature.encode())
    return written


def _object(arguments: str) -> object:
    """Read arguments; a model may write what is no JSON."""
    try:
        return msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return arguments


def _result(message: Message) -> dict[str, object]:
    result = next(part for part in message.parts if isinstance(part, ToolResultPart))
    return {"role": "tool", "tool_call_id": result.call_id, "content": result.text}


def _tool(tool: ToolSpec, habits: Habits) -> dict[str, object]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "arguments" if habits.arguments else "parameters": dict(tool.parameters),
    }
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice | None) -> str | dict[str, object] | None:
    if choice is None:
        return None
    if choice.name is None:
        return choice.mode
    return {"type": "function", "function": {"name": choice.name}}


def _form(form: ResponseFormat | None, habits: Habits) -> dict[str, object] | None:
    if form is None:
        return None
    if form.schema is None:
        return {"type": "json_object"}
    named = {"name": form.name, "schema": dict(form.schema)}
    written: dict[str, object] = {
        "type": "json_schema",
        "json_schema": {**named, "strict": form.strict},
    }
    # Beside OpenAI's word, which TGI reads over, for it may be another server after all.
    return {**written, "value": named} if habits.grammar else written


def data_url(image: ImagePart) -> str:
    """Write an image into an address."""
    return f"data:{image.media_type};base64,{b64encode(image.data).decode()}"
