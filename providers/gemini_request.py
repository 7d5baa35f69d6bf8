"""Requests to Gemini: contents, declared functions and the form of an answer.

Reference: https://ai.google.dev/api/generate-content
"""

import re
from base64 import b64encode

import msgspec

from parley.chat.messages import (
    ImagePart,
    Message,
    Part,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from parley.chat.models import CompletionRequest, ResponseFormat, Sampling, ToolChoice, ToolSpec

# These refuse a call of their own that comes back without its signature. This one Google names for
# calls that another model made: https://ai.google.dev/gemini-api/docs/thought-signatures
_SIGNED = re.compile(r"(models/)?gemini-(?![12]\b)")
_UNSIGNED = "skip_thought_signature_validator"
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def render(request: CompletionRequest, sampling: Sampling, *, thinks: bool) -> dict[str, object]:
    """Write a request; `thinks` asks a model that can for what it thinks."""
    system = [{"text": m.text} for m in request.messages if m.role is Role.SYSTEM]
    body: dict[str, object] = {
        "contents": _contents(request),
        "generationConfig": _generation(sampling, request.response_format, thinks=thinks),
    }
    if system:
        body["systemInstruction"] = {"parts": system}
    if request.tools:
        body["tools"] = [{"functionDeclarations": [_declared(tool) for tool in request.tools]}]
        if request.tool_choice:
            body["toolConfig"] = {"functionCallingConfig": _calling(request.tool_choice)}
    return body


def _contents(request: CompletionRequest) -> list[dict[str, object]]:
    """Write the messages; the results of calls that were made together stay together."""
    contents: list[dict[str, object]] = []
    results: list[dict[str, object]] | None = None
    signed = _SIGNED.match(request.model) is not None
    for message in request.messages:
        if message.role is Role.SYSTEM:
            continue
        parts = _parts(message, signed=signed)
        if message.role is not Role.TOOL:
            results = None
        elif results is not None:
            results += parts
            continue
        else:
            results = parts
        role = "model" if message.role is Role.ASSISTANT else "user"
        contents.append({"role": role, "parts": parts})
    return contents


def _parts(message: Message, *, signed: bool) -> list[dict[str, object]]:
    """Write the parts; only the first of several calls has a signature."""
    parts = [_part(part) for part in message.parts]
    first = next((part for part in parts if "functionCall" in part), None)
    if signed and first is not None:
        first.setdefault("thoughtSignature", _UNSIGNED)
    return parts


def _part(part: Part) -> dict[str, object]:
    match part:
        case TextPart(text):
            return {"text": text}
        case ImagePart(media_type, data):
            return {"inlineData": {"mimeType": media_type, "data": b64encode(data).decode()}}
        case ToolCallPart(id, name, arguments, signature):
            written = {"functionCall": {"id": id, "name": name, "args": _object(arguments)}}
            # JSON came by another dialect's wire.
            own = signature is not None and not signature.startswith("{")
            return {**written, "thoughtSignature": signature} if own else {**written}
        case ToolResultPart(call_id, name, text, is_error):
            said = {"error" if is_error else "output": text}
            return {"functionResponse": {"id": call_id, "name": name, "response": said}}


def _object(arguments: str) -> object:
    """Read arguments; what is no object cannot be sent as one, and is put into one."""
    try:
        read = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        read = arguments
    return read if isinstance(read, dict) else {"arguments": read}


def _declared(tool: ToolSpec) -> dict[str, object]:
    declared: dict[str, object] = {"name": tool.name, "description": tool.description}
    if tool.parameters:
        declared["parametersJsonSchema"] = dict(tool.parameters)
    return declared


def _calling(choice: ToolChoice) -> dict[str, object]:
    if choice.name is None:
        return {"mode": _MODES[choice.mode]}
    return {"mode": "ANY", "allowedFunctionNames": [choice.name]}


def _generation(
    sampling: Sampling, form: ResponseFormat | None, *, thinks: bool
) -> dict[str, object]:
    fields: dict[str, object] = {
        "maxOutputTokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "topP": sampling.top_p,
        "stopSequences": list(sampling.stop) or None,
        "seed": sampling.seed,
        "thinkingConfig": {"includeThoughts": True} if thinks else None,
        "responseMimeType": "application/json" if form else None,
        "responseJsonSchema": dict(form.schema) if form and form.schema is not None else None,
    }
    return {name: value for name, value in fields.items() if value is not None}
