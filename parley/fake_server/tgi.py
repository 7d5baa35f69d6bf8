"""TGI's two dialects: its Messages API and the native one, as its router writes them.

Reference: https://huggingface.github.io/text-generation-inference/ and router/src/server.rs of
version 3.3. What its published schema does not say: errors of a stream come inside HTTP 200, an id
is always empty, the native stream has no end but that of the body.
"""

from collections.abc import Iterator
from dataclasses import replace

from parley.fake_server.answer import Answer, Complaint, Dialect, Said, Spoken, encoded

VERSION = "3.3.7"
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
    "x-compute-type": "cpu+optimized",
    "x-compute-characters": "1",
}
_NATIVE_FINISH = {"stop": "eos_token", "length": "length", "stop_sequence": "stop_sequence"}
_ERROR_TYPES = {
    422: "validation",
    424: "generation",
    429: "overloaded",
    500: "incomplete_generation",
}


def _chat_stream(answer: Answer) -> Iterator[Said]:
    """Write the role in every delta; no piece goes without text."""
    last = len(answer.pieces)
    for mark, piece in enumerate(answer.pieces, 1):
        if isinstance(piece, Spoken):
            delta: dict[str, object] = {"role": "assistant", "content": piece.text}
            yield mark, _chunk(answer, delta, None)
            continue
        # The name comes once it is known, with a brace; the arguments after it as they are written.
        for part in ("{", piece.arguments.removeprefix("{")):
            call = {"index": 0, "id": "0", "type": "function"}
            function = {"name": piece.name if part == "{" else None, "arguments": part}
            delta = {"role": "assistant", "tool_calls": [{**call, "function": function}]}
            yield mark, _chunk(answer, delta, None)
    if answer.finish:
        finish = "stop" if answer.finish == "tool_calls" else answer.finish
        yield "finish", _chunk(answer, {"role": "assistant", "content": ""}, finish)
    options = answer.asked.get("stream_options")
    if answer.usage and last and isinstance(options, dict) and options.get("include_usage"):
        yield (
            "usage",
            encoded(
                {**_head(answer, "chat.completion.chunk"), "choices": [], "usage": _usage(answer)}
            ),
        )
    yield "end", b"[DONE]"


def _chunk(answer: Answer, delta: object, finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = _head(answer, "chat.completion.chunk")
    return encoded({**head, "choices": [choice], "usage": None})


def _head(answer: Answer, kind: str) -> dict[str, object]:
    return {
        "object": kind,
        "id": "",
        "created": answer.created,
        "model": answer.model,
        "system_fingerprint": f"{VERSION}-native",
    }


def _usage(answer: Answer) -> dict[str, int]:
    spent, given = answer.input_tokens, answer.output_tokens
    return {"prompt_tokens": spent, "completion_tokens": given, "total_tokens": spent + given}


def _chat_document(answer: Answer) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant"}
    if not answer.tool_calls:
        message["content"] = answer.text
    else:
        message["tool_calls"] = [
            {
                "id": "0",
                "type": "function",
                "function": {"name": c.name, "description": None, "arguments": c.arguments},
            }
            for c in answer.tool_calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}
    return {**_head(answer, "chat.completion"), "choices": [choice], "usage": _usage(answer)}


def _native_stream(answer: Answer) -> Iterator[Said]:
    """Write token by token; the last one carries the whole text and what it cost."""
    tokens = [(p.text, False) for p in answer.pieces if isinstance(p, Spoken) and not p.thought]
    if answer.finish == "stop":
        tokens.append(("</s>", True))
    for index, (text, special) in enumerate(tokens, 1):
        last = index == len(tokens) and bool(answer.finish)
        token = _token(index, text, special=special)
        end: dict[str, object] = (
            {"generated_text": answer.text, "details": _details(answer)} if last else {}
        )
        rest = end or {"generated_text": None, "details": None}
        yield "finish" if last else index, encoded({"index": index, "token": token, **rest})


def _token(index: int, text: str, *, special: bool = False) -> dict[str, object]:
    return {"id": 2 if special else 100 + index, "text": text, "logprob": -0.25, "special": special}


def _details(answer: Answer) -> dict[str, object]:
    return {
        "finish_reason": _NATIVE_FINISH.get(answer.finish, answer.finish),
        "generated_tokens": answer.output_tokens,
        "seed": None,
        "input_length": answer.input_tokens,
    }


def _native_document(answer: Answer) -> dict[str, object]:
    spoken = (piece.text for piece in answer.pieces if isinstance(piece, Spoken))
    details = {k: v for k, v in _details(answer).items() if k != "input_length"} | {
        "prefill": [],
        "tokens": [_token(index, text) for index, text in enumerate(spoken, 1)],
    }
    parameters = answer.asked.get("parameters")
    told = isinstance(parameters, dict) and parameters.get("details")
    return {"generated_text": answer.text} | ({"details": details} if told else {})


def _chat_failure(complaint: Complaint) -> list[bytes]:
    """Say 422 whatever it was, and end the stream as if it were well."""
    error = {"message": complaint.message, "http_status_code": 422}
    return [encoded({"error": error}), b"[DONE]"]


def _complaint(complaint: Complaint) -> bytes:
    if complaint.status == 401:
        return b""
    kind = complaint.code or _ERROR_TYPES.get(complaint.status, "generation")
    return encoded({"error": complaint.message, "error_type": kind})


TGI_CHAT = Dialect(
    "tgi chat", _chat_stream, _chat_document, _complaint, _chat_failure, headers=_HEADERS
)
TGI_NATIVE = Dialect(
    "tgi", _native_stream, _native_document, _complaint, lambda c: [_complaint(c)], headers=_HEADERS
)

# At its root TGI is what Hugging Face's pipelines were: the answer is a list.
TGI_COMPATIBLE = replace(TGI_NATIVE, document=lambda answer: [_native_document(answer)])


def info(model: str, context_window: int) -> dict[str, object]:
    """Tell what a router is run with."""
    return {
        "model_id": model,
        "model_sha": None,
        "model_pipeline_tag": "text-generation",
        "max_concurrent_requests": 128,
        "max_best_of": 2,
        "max_stop_sequences": 4,
        "max_input_tokens": max(context_window - 1, 0),
        "max_total_tokens": context_window,
        "validation_workers": 2,
        "max_client_batch_size": 4,
        "router": "text-generation-router",
        "version": VERSION,
        "sha": None,
        "docker_label": None,
    }


def tokens(pieces: tuple[str, ...]) -> list[dict[str, object]]:
    """Cut a text into tokens, as `/tokenize` does."""
    rows: list[dict[str, object]] = []
    start = 0
    for index, text in enumerate(pieces, 1):
        rows.append({"id": 100 + index, "text": text, "start": start, "stop": start + len(text)})
        start += len(text)
    return rows
