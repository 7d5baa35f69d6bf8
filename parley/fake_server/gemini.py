"""Gemini's own dialect: no names for events, no `[DONE]`, lines that end in CR LF.

Reference: https://ai.google.dev/api/generate-content
"""

import json
from collections.abc import Iterator

from parley.fake_server.answer import Answer, Complaint, Dialect, Piece, Said, Spoken, encoded

_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY", "tool_calls": "STOP"}
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def _stream(answer: Answer) -> Iterator[Said]:
    """Write a response for each piece; the last one has the reason why it ends."""
    count = len(answer.pieces)
    for mark, piece in enumerate(answer.pieces, 1):
        last = mark == count and bool(answer.finish)
        yield "finish" if last else mark, encoded(_response(answer, (piece,), last=last))
    if not count and answer.finish:
        yield "finish", encoded(_response(answer, (), last=True))


def _document(answer: Answer) -> dict[str, object]:
    whole = [Spoken(answer.thinking, thought=True)] if answer.thinking else []
    whole += [Spoken(answer.text)] if answer.text else []
    return _response(answer, (*whole, *answer.tool_calls), last=True)


def _response(answer: Answer, pieces: tuple[Piece, ...], *, last: bool) -> dict[str, object]:
    candidate: dict[str, object] = {
        "content": {"parts": [_part(piece) for piece in pieces], "role": "model"}
    }
    if last and answer.finish:
        candidate["finishReason"] = _FINISH.get(answer.finish, answer.finish)
    response: dict[str, object] = {"candidates": [candidate | {"index": 0}]}
    if answer.usage:
        response["usageMetadata"] = _usage(answer, last=last)
    return response | {"modelVersion": answer.model, "responseId": f"fake{answer.number:018d}"}


def _part(piece: Piece) -> dict[str, object]:
    if isinstance(piece, Spoken):
        return {"text": piece.text} | ({"thought": True} if piece.thought else {})
    try:
        arguments = json.loads(piece.arguments)
    except ValueError:
        arguments = {"raw": piece.arguments}
    return {"functionCall": {"name": piece.name, "args": arguments}}


def _usage(answer: Answer, *, last: bool) -> dict[str, int]:
    spent, given = answer.input_tokens, answer.output_tokens if last else 0
    counts = {"promptTokenCount": spent, "totalTokenCount": spent + given}
    return counts | ({"candidatesTokenCount": given} if last else {})


def _complaint(complaint: Complaint) -> bytes:
    status = complaint.code or _STATUS.get(complaint.status, "UNKNOWN")
    error = {"code": complaint.status, "message": complaint.message, "status": status}
    return encoded({"error": error})


GEMINI = Dialect(
    "gemini", _stream, _document, _complaint, lambda c: [_complaint(c)], newline="crlf"
)


def model(name: str, context_window: int) -> dict[str, object]:
    """Describe a model."""
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "description": "A fake model of parley fake-server",
        "inputTokenLimit": context_window,
        "outputTokenLimit": context_window,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }
