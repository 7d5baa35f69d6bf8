"""OpenAI's dialect, as OpenAI writes it, and as TGI's Messages API does.

Reference: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from collections.abc import Callable, Iterator

from parley.fake_server.answer import Answer, Complaint, Dialect, Said, Spoken, encoded
from parley.fake_server.script import ToolCall

_DONE = b"[DONE]"
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def _stream(answer: Answer) -> Iterator[Said]:
    """Write the role first, as OpenAI does, then piece by piece."""
    chunk = _chunks(answer)
    yield 0, chunk({"role": "assistant", "content": "", "refusal": None}, None)
    calls = 0
    for mark, piece in enumerate(answer.pieces, 1):
        if isinstance(piece, Spoken):
            name = "reasoning_content" if piece.thought else "content"
            yield mark, chunk({name: piece.text}, None)
            continue
        for call in _call_deltas(piece, calls):
            yield mark, chunk({"tool_calls": [call]}, None)
        calls += 1
    if answer.finish:
        yield "finish", chunk({}, answer.finish)
    if answer.usage and _wants_usage(answer):
        yield (
            "usage",
            encoded({**_head(answer, "chat.completion.chunk"), "choices": []} | _usage(answer)),
        )
    yield "end", _DONE


def _chunks(answer: Answer) -> Callable[[object, str | None], bytes]:
    head = _head(answer, "chat.completion.chunk")
    tail = {"usage": None} if answer.usage and _wants_usage(answer) else {}

    def chunk(delta: object, finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return encoded({**head, "choices": [choice], **tail})

    return chunk


def _call_deltas(call: ToolCall, number: int) -> Iterator[dict[str, object]]:
    """Write the name first, then the arguments; without an index all of it at once."""
    name, arguments = {"name": call.name}, call.arguments
    first = {"id": call.id or f"call_fake{number}", "type": "function"}
    if not call.index:
        yield {**first, "function": {**name, "arguments": arguments}}
        return
    yield {"index": number, **first, "function": {**name, "arguments": ""}}
    middle = len(arguments) // 2
    for part in filter(None, (arguments[:middle], arguments[middle:])):
        yield {"index": number, "function": {"arguments": part}}


def _document(answer: Answer) -> dict[str, object]:
    message: dict[str, object] = {
        "role": "assistant",
        "content": answer.text or None,
        "refusal": None,
    }
    if answer.thinking:
        message["reasoning_content"] = answer.thinking
    if answer.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id or f"call_fake{number}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for number, call in enumerate(answer.tool_calls)
        ]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": answer.finish or None,
    }
    usage = _usage(answer) if answer.usage else {}
    return {**_head(answer, "chat.completion"), "choices": [choice], **usage}


def _head(answer: Answer, kind: str) -> dict[str, object]:
    return {
        "id": f"chatcmpl-fake{answer.number:025d}",
        "object": kind,
        "created": answer.created,
        "model": answer.model,
        "service_tier": "default",
        "system_fingerprint": "fp_fake000000",
    }


def _wants_usage(answer: Answer) -> bool:
    options = answer.asked.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _usage(answer: Answer) -> dict[str, object]:
    spent, given = answer.input_tokens, answer.output_tokens
    counts = {"prompt_tokens": spent, "completion_tokens": given, "total_tokens": spent + given}
    return {"usage": counts}


def _complaint(complaint: Complaint) -> bytes:
    default = "server_error" if complaint.status >= 500 else "invalid_request_error"
    kind = _TYPES.get(complaint.status, default)
    error = {"message": complaint.message, "type": kind, "param": None, "code": complaint.code}
    return encoded({"error": error})


OPENAI = Dialect(
    "openai",
    _stream,
    _document,
    _complaint,
    lambda complaint: [_complaint(complaint)],
    headers={"Content-Type": "text/event-stream; charset=utf-8"},
)


def models(names: list[str], context_window: int) -> dict[str, object]:
    """List models as OpenAI does, with the window as vLLM tells it and abilities as OpenRouter."""
    row = {
        "object": "model",
        "created": 1686935002,
        "owned_by": "parley",
        "supported_parameters": ["tools", "tool_choice", "response_format"],
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
    }
    return {
        "object": "list",
        "data": [{"id": name, **row, "max_model_len": context_window} for name in names],
    }
