"""Readings: what an answer says, in either dialect, and how it was said."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from parley.conformance.wire import Event, Response, decoded
from providers.complaints import WEB_PAGE, read_body


@dataclass(slots=True)
class Reading:
    """An answer as a reader has it. `pieces` are those with text, thinking included."""

    response: Response
    pieces: list[tuple[float, str]] = field(default_factory=list)
    thinking: bool = False
    finish: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    usage_beside_finish: bool = False
    done: bool = False
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(text for _, text in self.pieces)

    @property
    def ok(self) -> bool:
        """Whether it is an answer, whole and without an error."""
        understood = self.error is None and not self.odd
        return self.response.status == 200 and understood and self.response.end == "whole"

    @property
    def trouble(self) -> str:
        """What went wrong, in a few words."""
        response = self.response
        if response.status not in {0, 200}:
            return f"{response.status}: {said(response)}"
        return self.error or response.why or "; ".join(self.odd) or "nothing in it was understood"


def read(response: Response) -> Reading:
    """Read a stream, or a document in its place."""
    reading = Reading(response)
    if response.status != 200:
        return reading
    if response.events:
        for event in response.events:
            _read_event(reading, event)
    elif isinstance(document := response.json, dict):
        _read_object(reading, document, response.took_s)
    elif response.body:
        reading.odd.append(f"{_kind(response)}, which is no JSON")
    else:
        reading.odd.append("an empty answer")
    return reading


def _kind(response: Response) -> str:
    """Name what is no JSON: a page by its title, if it has one."""
    title = read_body(response.body).text if response.content_type == "text/html" else ""
    return (
        f'a web page, "{title}"'
        if title not in {"", WEB_PAGE}
        else response.content_type or "no type"
    )


def _read_event(reading: Reading, event: Event) -> None:
    data = event.frame.data
    if not data.strip():
        return  # of a ping: nothing to read
    if data == b"[DONE]":
        reading.done = True
        return
    payload = decoded(data)
    if not isinstance(payload, dict):
        reading.odd.append("an event that is no JSON object")
        return
    if event.frame.event == "error" and "error" not in payload:
        payload = {"error": payload}
    _read_object(reading, payload, event.at_s)


def _read_object(reading: Reading, payload: dict[str, Any], at_s: float) -> None:
    if payload.get("error"):
        reading.error = complaint(payload)
    if isinstance(payload.get("token"), dict) or "generated_text" in payload:
        _read_native(reading, payload, at_s)
    for choice in _dicts(payload.get("choices")):
        _read_choice(reading, choice, at_s)
    usage = payload.get("usage")
    if isinstance(usage, dict):
        reading.input_tokens = _count(usage.get("prompt_tokens"))
        reading.output_tokens = _count(usage.get("completion_tokens"))
        reading.usage_beside_finish = bool(payload.get("choices"))


def _read_choice(reading: Reading, choice: dict[str, Any], at_s: float) -> None:
    delta = choice.get("delta") or choice.get("message")
    if not isinstance(delta, dict):
        delta = {}
    for name in ("reasoning_content", "reasoning", "content"):
        if isinstance(text := delta.get(name), str) and text:
            reading.pieces.append((at_s, text))
            reading.thinking |= name != "content"
    calls = delta.get("tool_calls")
    reading.tool_calls += _dicts([calls] if isinstance(calls, dict) else calls)
    reading.finish = _word(choice.get("finish_reason")) or reading.finish


def _read_native(reading: Reading, payload: dict[str, Any], at_s: float) -> None:
    token = payload.get("token")
    if not isinstance(token, dict):  # a document
        reading.pieces.append((at_s, str(payload["generated_text"])))
    elif isinstance(token.get("text"), str) and token["text"] and not token.get("special"):
        reading.pieces.append((at_s, token["text"]))
    details = payload.get("details")
    if isinstance(details, dict):
        reading.finish = _word(details.get("finish_reason"))
        reading.input_tokens = _count(details.get("input_length"))
        reading.output_tokens = _count(details.get("generated_tokens"))


def said(response: Response) -> str:
    """Say what the body of a refusal says, in one line."""
    if response.why and not response.body:
        return response.why
    document = response.json
    if document is None:
        text = read_body(response.body).text
        return " ".join(text.split())[:160] or "no body"
    return complaint(document)


def complaint(document: Any) -> str:
    """Find the words of an error, whatever its shape."""
    found = next(_words(document), None)
    return " ".join((found or "an error of no known shape").split())[:160]


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _words(item)
    elif isinstance(value, dict):
        for name in ("error", "message", "detail", "msg"):
            yield from _words(value.get(name))


def shape(response: Response) -> str:
    """Name the shape of a refusal's body."""
    document = response.json
    if isinstance(document, list):
        return "a list"
    if not isinstance(document, dict):
        return f"{response.content_type or 'no type'}" if response.body else "no body"
    error = document.get("error")
    if isinstance(error, dict):
        return "OpenAI's shape" if "message" in error else "an object in error"
    if isinstance(error, str):
        return "TGI's shape" if "error_type" in document else "a text in error"
    return "FastAPI's shape" if "detail" in document else "another shape"


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None
