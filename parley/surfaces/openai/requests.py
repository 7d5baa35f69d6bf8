"""OpenAI requests: the body of a completion, as a turn in the words of the core."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from parley.chat.errors import InvalidRequest
from parley.chat.messages import (
    ImagePart,
    Message,
    Part,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from parley.chat.models import ResponseFormat, Sampling, ToolChoice, ToolSpec
from parley.chat.turns import Extras
from parley.surfaces.openai.shapes import AskedMessage, ChosenTool, CompletionBody, ContentPart

_MOST_MESSAGES = 2000
_MOST_STOPS = 16
_LARGEST_SEED = 2**63
_DATA_URL = re.compile(r"data:(image/[a-z.+-]+);base64,([A-Za-z0-9+/=\s]*)")
_INSTRUCTIONS = {"system", "developer"}
_NO_SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked: the message, what came before it, and how it is to be answered.

    `text` is None where the conversation ends with the results of tools.
    """

    text: str | None
    images: tuple[ImagePart, ...]
    system_prompt: str | None
    earlier: tuple[Message, ...]


def asked_of(body: CompletionBody) -> Asked:
    """Read the conversation; raises `InvalidRequest` for one that is none."""
    if not 1 <= len(body.messages) <= _MOST_MESSAGES:
        raise InvalidRequest(f"messages must be 1 to {_MOST_MESSAGES}.")
    count = next((n for n, m in enumerate(body.messages) if m.role not in _INSTRUCTIONS), None)
    if count is None:
        raise InvalidRequest("messages has no message of a user.")
    prompt = "\n\n".join(_text(message.content) for message in body.messages[:count])
    rest = body.messages[count:]
    last = rest[-1]
    names = {call.id: call.function.name for m in rest for call in m.tool_calls or ()}
    if last.role == "user":
        earlier = tuple(_message(message, names) for message in rest[:-1])
        return Asked(_text(last.content), _images(last.content), prompt or None, earlier)
    if last.role != "tool":
        raise InvalidRequest("The last message must be one of role user or tool.")
    return Asked(None, (), prompt or None, tuple(_message(message, names) for message in rest))


def sampling_of(body: CompletionBody) -> Sampling:
    """Read how the answer is drawn; raises `InvalidRequest`."""
    if body.n not in {None, 1}:
        raise InvalidRequest("n must be 1: one answer for a request.")
    if body.logprobs:
        raise InvalidRequest("logprobs are not given by this server. Leave the field out.")
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    if len(stop) > _MOST_STOPS or not all(1 <= len(text) <= 200 for text in stop):
        raise InvalidRequest(f"stop must be at most {_MOST_STOPS} texts of 1 to 200 characters.")
    for name, value, low, high in (
        ("temperature", body.temperature, 0, 2),
        ("top_p", body.top_p, 0, 1),
        ("max_tokens", body.max_tokens, 1, 2**31),
        ("max_completion_tokens", body.max_completion_tokens, 1, 2**31),
        ("seed", body.seed, -_LARGEST_SEED, _LARGEST_SEED),
    ):
        if value is not None and not low <= value <= high:
            raise InvalidRequest(f"{name} must be {low} to {high}.")
    return Sampling(
        max_tokens=body.max_completion_tokens or body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        stop=tuple(stop),
        seed=body.seed,
    )


def extras_of(body: CompletionBody, images: tuple[ImagePart, ...], *, stateless: bool) -> Extras:
    """Read what the message brings along.

    A client of OpenAI's expects a model and nothing beside it: without a conversation, whose tools
    are its own affair, Parley's are used only where they are named.
    """
    use_tools: tuple[str, ...] | None = () if stateless else None
    if body.parley_tools is not None:
        use_tools = tuple(body.parley_tools)
    tools = tuple(
        ToolSpec(
            tool.function.name,
            tool.function.description or "",
            tool.function.parameters or _NO_SCHEMA,
        )
        for tool in body.tools or ()
    )
    return Extras(
        images=images,
        tools=tools,
        tool_choice=_choice(body) if tools else None,
        response_format=_format(body),
        use_tools=use_tools,
    )


def _choice(body: CompletionBody) -> ToolChoice | None:
    chosen = body.tool_choice
    if isinstance(chosen, ChosenTool):
        return ToolChoice("required", chosen.function.name)
    return ToolChoice(chosen) if chosen else None


def _format(body: CompletionBody) -> ResponseFormat | None:
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return ResponseFormat()
    if wanted.json_schema is None or wanted.json_schema.schema is None:
        raise InvalidRequest("response_format.json_schema needs a schema.")
    schema = wanted.json_schema
    return ResponseFormat(schema.schema, schema.name, bool(schema.strict))


def _message(message: AskedMessage, names: dict[str, str]) -> Message:
    match message.role:
        case "tool":
            id = message.tool_call_id or ""
            if id not in names:
                raise InvalidRequest("A message of role tool must answer a call before it.")
            return Message(Role.TOOL, (ToolResultPart(id, names[id], _text(message.content)),))
        case "assistant":
            calls = [
                ToolCallPart(call.id, call.function.name, call.function.arguments or "{}")
                for call in message.tool_calls or ()
            ]
            return _made(Role.ASSISTANT, [*_texts(message.content), *calls])
        case "user":
            return _made(Role.USER, [*_texts(message.content), *_images(message.content)])
        case _:
            return _made(Role.SYSTEM, _texts(message.content))


def _made(role: Role, parts: Sequence[Part]) -> Message:
    return Message(role, tuple(parts) or (TextPart(""),))


def _texts(content: str | list[ContentPart] | None) -> list[Part]:
    text = _text(content)
    return [TextPart(text)] if text else []


def _text(content: str | list[ContentPart] | None) -> str:
    if isinstance(content, list):
        return "\n".join(part.text or "" for part in content if _is_text(part))
    return content or ""


def _is_text(part: ContentPart) -> bool:
    if part.type not in {"text", "image_url"}:
        raise InvalidRequest("A part of a message must be of type text or image_url.")
    return part.type == "text"


def _images(content: str | list[ContentPart] | None) -> tuple[ImagePart, ...]:
    if not isinstance(content, list):
        return ()
    return tuple(_image(part) for part in content if not _is_text(part))


def _image(part: ContentPart) -> ImagePart:
    found = _DATA_URL.fullmatch(part.image_url.url) if part.image_url else None
    if found is None:
        raise InvalidRequest(
            "An image must be a data: URL of its bytes in base64; addresses are not fetched."
        )
    try:
        return ImagePart(found[1], base64.b64decode(found[2], validate=False))
    except (binascii.Error, ValueError):
        raise InvalidRequest("An image is not valid base64.") from None
