"""What a request asks for, whichever dialect it is written in."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parley.fake_server.script import words


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that is offered, and the JSON Schema of its arguments."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What matters of a request: `message` is the last one, `input_tokens` counts words.

    `tool` is what `must_call` or may be called: the first that the message has a word of, or the
    first of all, with the schema of its arguments; None where nothing is offered,
    nothing may be called, or the last message is what a call gave. `form` is the schema of the JSON
    that is wanted, an empty one for any.
    """

    body: Mapping[str, Any]
    model: str | None
    message: str
    input_tokens: int
    stream: bool
    max_tokens: int | None
    stop: tuple[str, ...]
    tool: Tool | None
    must_call: bool
    form: Mapping[str, Any] | None

    def bounded(self, pieces: Sequence[str]) -> tuple[list[str], str | None]:
        """Keep what the request allows, and say why it ends there, if it does."""
        kept, finish = list(pieces), None
        if self.max_tokens is not None and len(kept) > self.max_tokens:
            kept, finish = kept[: max(self.max_tokens, 0)], "length"
        text = "".join(kept)
        ends = [at for stop in self.stop if stop and (at := text.find(stop)) >= 0]
        if ends:
            kept, finish = _up_to(kept, min(ends)), "stop"
        return kept, finish


def read_asked(body: Any, model: str | None) -> Asked:
    """Read a request's body; raises `ValueError` or `TypeError` for what is none."""
    if not isinstance(body, dict):
        raise TypeError("no object")
    parameters = _dict(body.get("parameters")) or _dict(body.get("generationConfig")) or body
    limit = next((parameters[n] for n in _LIMITS if isinstance(parameters.get(n), int)), None)
    texts = _texts(body)
    return Asked(
        body,
        model or (body["model"] if isinstance(body.get("model"), str) else None),
        texts[-1] if texts else "",
        sum(len(words(text)) for text in texts),
        body.get("stream") is True,
        limit,
        _stops(parameters),
        None if _is_answered(body) else _offered(body, texts[-1] if texts else ""),
        _must_call(body),
        _form(body),
    )


_LIMITS = ("max_tokens", "max_completion_tokens", "max_new_tokens", "maxOutputTokens")


def _stops(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    stop = parameters.get("stop") or parameters.get("stopSequences") or ()
    listed = [stop] if isinstance(stop, str) else stop
    return (
        tuple(text for text in listed if isinstance(text, str)) if isinstance(listed, list) else ()
    )


def _texts(body: Mapping[str, Any]) -> list[str]:
    if isinstance(body.get("inputs"), str):
        return [body["inputs"]]
    messages = body.get("messages") or body.get("contents") or []
    if not isinstance(messages, list):
        raise TypeError("messages is no list")
    return [_text(message) for message in messages]


def _text(message: Any) -> str:
    content = _dict(message).get("content") or _dict(message).get("parts") or ""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(text for part in parts if isinstance(text := _dict(part).get("text"), str))


def _must_call(body: Mapping[str, Any]) -> bool:
    choice = body.get("tool_choice")
    calling = _dict(_dict(body.get("toolConfig")).get("functionCallingConfig"))
    return choice == "required" or isinstance(choice, dict) or calling.get("mode") == "ANY"


def _offered(body: Mapping[str, Any], message: str) -> Tool | None:
    """Find the tool that has to be called, or the one that may be."""
    choice = body.get("tool_choice")
    calling = _dict(_dict(body.get("toolConfig")).get("functionCallingConfig"))
    if choice == "none" or calling.get("mode") == "NONE":
        return None
    named = _dict(_dict(choice).get("function")).get("name")
    names = [named] if named else calling.get("allowedFunctionNames")
    tools = [t for t in _tools(body.get("tools")) if not names or t.name in names]
    return next((t for t in tools if is_about(message, t.name)), next(iter(tools), None))


def is_about(message: str, tool: str) -> bool:
    """Whether a message has a word of a tool's name: "search for tea" is about `web_search`."""
    return any(word in message.lower() for word in re.findall("[a-z]{4,}", tool.lower()))


def _tools(tools: Any) -> Iterator[Tool]:
    for tool in tools if isinstance(tools, list) else []:
        declared = _dict(tool).get("functionDeclarations")
        for function in declared if isinstance(declared, list) else [_dict(tool).get("function")]:
            name = _dict(function).get("name")
            if isinstance(name, str):
                yield Tool(name, _parameters(_dict(function)))


def _parameters(function: Mapping[str, Any]) -> Mapping[str, Any]:
    """Find the schema, by OpenAI's, TGI's or Google's word."""
    words = ("parameters", "arguments", "parametersJsonSchema")
    return next((found for word in words if (found := _dict(function.get(word)))), {})


def _is_answered(body: Mapping[str, Any]) -> bool:
    """Whether the last message is what a call gave."""
    messages = body.get("messages") or body.get("contents") or [None]
    last = _dict(messages[-1]) if isinstance(messages, list) else {}
    parts = last.get("parts")
    shown = any("functionResponse" in _dict(part) for part in parts or ())
    return last.get("role") == "tool" or (isinstance(parts, list) and shown)


def _form(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Find the schema of the wanted JSON; None where text is wanted."""
    form = _dict(body.get("response_format"))
    generation = _dict(body.get("generationConfig"))
    if "json" in str(form.get("type", "")):
        named = _dict(form.get("json_schema")) or _dict(form.get("value"))
        return _dict(named.get("schema")) or named
    if "json" in str(generation.get("responseMimeType", "")):
        return _dict(generation.get("responseJsonSchema"))
    return None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _up_to(pieces: Sequence[str], end: int) -> list[str]:
    kept: list[str] = []
    for piece in pieces:
        kept.append(piece[:end])
        end -= len(piece)
        if end <= 0:
            break
    return [piece for piece in kept if piece]
