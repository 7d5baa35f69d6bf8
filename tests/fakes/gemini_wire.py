"""Gemini's own wire, `streamGenerateContent?alt=sse`: no names of events, no end but the body's.

Reference: https://ai.google.dev/api/generate-content
"""

import json


def response(
    *parts: object, finish: str | None = None, usage: dict[str, int] | None = None, **fields: object
) -> bytes:
    """An event with these parts; lines end in CR LF, as Google's do."""
    candidate: dict[str, object] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    document: dict[str, object] = {"candidates": [candidate]}
    if usage is not None:
        document["usageMetadata"] = usage
    return gemini_event(
        {**document, "modelVersion": "gemini-2.5-flash", "responseId": "x", **fields}
    )


def gemini_event(payload: object) -> bytes:
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\r\n\r\n"


def said(text: str) -> bytes:
    """A piece of the answer."""
    return response({"text": text}, usage={"promptTokenCount": 3, "totalTokenCount": 3})


def thought(text: str) -> bytes:
    """A piece of what the model thinks."""
    return response({"text": text, "thought": True})


def ended(reason: str = "STOP", **counts: int) -> bytes:
    """The last event."""
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5, **counts}
    return response({"text": ""}, finish=reason, usage=usage)


def answer(*texts: str) -> tuple[bytes, ...]:
    """A complete answer."""
    return (*(said(text) for text in texts), ended())


def failure(code: int, status: str, message: str) -> dict[str, object]:
    """An error, of a refusal or in a stream."""
    return {"error": {"code": code, "message": message, "status": status}}
