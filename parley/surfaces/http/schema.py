"""Schema: what the routes say of themselves in the OpenAPI document, from the shapes they use.

Bodies are read by bodies.py and answers written by msgspec; FastAPI is only told about them.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

_REF = "#/components/schemas/{name}"
_ERRORS = {
    401: "Nobody is known to be calling",
    403: "The caller may not",
    404: "No such thing, or another's",
    409: "Used before with another body",
    413: "Over a limit of size",
    422: "Cannot be understood",
    429: "Over a limit",
    503: "Storage or server not available",
}

Kind = Literal["application/json", "text/event-stream", "text/markdown", "text/plain"]


class ErrorBody(msgspec.Struct):
    """What went wrong: a stable word, what to do, and the id that the log has it under."""

    code: str
    message: str
    request_id: str


class ErrorAnswer(msgspec.Struct):
    """The body of every refusal."""

    error: ErrorBody


def taking(shape: type[msgspec.Struct]) -> dict[str, Any]:
    """Describe a JSON body: `openapi_extra` of a route."""
    content = {"application/json": {"schema": _reference(shape)}}
    return {"requestBody": {"required": True, "content": content}}


def giving(
    shape: type[msgspec.Struct] | None = None,
    *,
    status: int = 200,
    kinds: Mapping[Kind, str] | None = None,
    error: type[msgspec.Struct] = ErrorAnswer,
) -> dict[int | str, dict[str, Any]]:
    """Describe what a route answers: `responses` of a route.

    A `shape` as JSON, and `kinds` of content that is text, each with what it is; else no content.
    """
    content: dict[str, Any] = {}
    if shape:
        content["application/json"] = {"schema": _reference(shape)}
    for kind, what in (kinds or {}).items():
        content[kind] = {"schema": _text(kind, what)}
    answers: dict[int | str, dict[str, Any]] = {status: {"description": "It went well"}}
    if content:
        answers[status]["content"] = content
    refusal = {"application/json": {"schema": _reference(error)}}
    for code, said in _ERRORS.items():
        answers[code] = {"description": said, "content": refusal}
    return answers


def _text(kind: Kind, what: str) -> dict[str, Any]:
    """Describe text; of a stream of events, one of them."""
    if kind != "text/event-stream":
        return {"type": "string", "description": what}
    parts = {"data": {"type": "string"}, "id": {"type": "string"}}
    return {"type": "object", "description": what, "properties": parts}


def with_refusals(operation: dict[str, Any]) -> None:
    """Say of an operation that it may refuse, as all of them do, in its own shape or in ours."""
    answers = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]
    refusal = {"application/json": {"schema": _reference(ErrorAnswer)}}
    answers.setdefault("default", {"description": "It was refused", "content": refusal})


def components() -> dict[str, Any]:
    """Give the schemas of all shapes that were spoken of."""
    _, schemas = msgspec.json.schema_components(
        list(_spoken_of), schema_hook=_any, ref_template=_REF
    )
    return schemas


def _any(kind: type) -> dict[str, Any]:
    """Describe what msgspec has no schema for: `object` is any JSON."""
    if kind is object:
        return {"description": "Any JSON"}
    raise NotImplementedError


# Filled while routes are made, read when the document is.
_spoken_of: dict[type[msgspec.Struct], None] = {}


def _reference(shape: type[msgspec.Struct]) -> dict[str, str]:
    _spoken_of[shape] = None
    return {"$ref": _REF.format(name=shape.__name__)}
