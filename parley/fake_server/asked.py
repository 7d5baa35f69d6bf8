"""What a request asks for, whichever dialect it is written in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parley.fake_server.script import words


@dataclass(frozen=True, slots=True)
class Asked:
    """What matters of a request: `message` is the last one, `input_tokens` counts words."""

    body: Mapping[str, Any]
    model: str | None
    message: str
    input_tokens: int
    stream: bool
    max_tokens: int | None
    stop: tuple[str, ...]
    tool: str | None
    as_json: bool

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
        _first_tool(body.get("tools")),
        "json" in str(_dict(body.get("response_format")).get("type", "")),
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


def _first_tool(tools: Any) -> str | None:
    first = _dict(tools[0]) if isinstance(tools, list) and tools else {}
    declared = first.get("functionDeclarations")
    function = declared[0] if isinstance(declared, list) and declared else first.get("function")
    name = _dict(function).get("name")
    return name if isinstance(name, str) else None


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
