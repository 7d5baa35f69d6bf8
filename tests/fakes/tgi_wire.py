"""TGI's two wires, byte for byte as its router 3.3 writes them; checked against its schema.

Errors of a stream come inside HTTP 200. Chat says 422 whatever it was; the native wire has types,
and no end but the event with `generated_text`.
"""

import json

from tests.fakes.model_server import Reply, body, event, json_reply

INFO: dict[str, object] = {
    "model_id": "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    "model_sha": "0e1d2c",
    "model_pipeline_tag": "text-generation",
    "max_concurrent_requests": 128,
    "max_best_of": 2,
    "max_stop_sequences": 4,
    "max_input_tokens": 4095,
    "max_total_tokens": 4096,
    "validation_workers": 2,
    "max_client_batch_size": 4,
    "router": "text-generation-router",
    "version": "3.3.7",
    "sha": "1a2b3c",
    "docker_label": "sha-1a2b3c",
}
NO_TEMPLATE = {"error": "Template error: template not found", "error_type": "template_error"}
TOO_LONG = (
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048."
    " Given: 2000 `inputs` tokens and 100 `max_new_tokens`"
)
UNAUTHORIZED = body(b"", "text/plain", 401)


def token(
    text: str, *, special: bool = False, end: dict[str, object] | None = None, said: str = ""
) -> bytes:
    """An event of the native wire; `end` are the details of the last one, `said` all the text."""
    return event(
        {
            "index": 1,
            "token": {"id": 2, "text": text, "logprob": -0.25, "special": special},
            "generated_text": said if end is not None else None,
            "details": end,
        }
    )


def details(reason: str = "eos_token", given: int = 3, made: int = 2) -> dict[str, object]:
    """Why a native answer ended, and what it took."""
    return {
        "finish_reason": reason,
        "generated_tokens": made,
        "seed": None,
        "input_length": given,
    }


def tokens(*texts: str) -> tuple[bytes, ...]:
    """A complete native answer: its end is a special token, which is no text."""
    end = token("</s>", special=True, end=details(), said="".join(texts))
    return (*(token(text) for text in texts), end)


def generation_error(message: str, kind: str) -> bytes:
    """An error of the native wire."""
    return event({"error": message, "error_type": kind})


def chat_chunk(text: str, finish: str | None = None) -> bytes:
    """A chunk of the Messages API: no id, and the role in every delta."""
    delta = {"role": "assistant", "content": text}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return event(_chat_document([choice], None))


def chat_usage(given: int = 3, made: int = 2) -> bytes:
    """The chunk that `include_usage` asks for."""
    counts = {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
    }
    return event(_chat_document([], counts))


def chat_error(message: str) -> bytes:
    """An error of the Messages API, whatever it was."""
    return event({"error": {"message": message, "http_status_code": 422}})


def generation(text: str) -> bytes:
    """An answer that is not streamed."""
    end = {k: v for k, v in details().items() if k != "input_length"} | {
        "input_length": 3,
        "prefill": [],
        "tokens": [],
    }
    return json.dumps({"generated_text": text, "details": end}).encode()


def info(**fields: object) -> Reply:
    """What `/info` says."""
    return json_reply({**INFO, **fields})


def _chat_document(choices: list[object], usage: object) -> dict[str, object]:
    return {
        "object": "chat.completion.chunk",
        "id": "",
        "created": 1700000000,
        "model": INFO["model_id"],
        "system_fingerprint": "3.3.7-native",
        "choices": choices,
        "usage": usage,
    }
