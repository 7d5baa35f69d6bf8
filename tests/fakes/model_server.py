"""A model server that sends exactly the bytes it is told to, when it is told to.

async with model_server(sse(chunk("Hello"), wait(gate), chunk(" you"), finish(), DONE)) as server:
    ...  # talk to server.base_url
    assert server.requests[0].json["model"] == "m"

One reply for each POST, in order; the last one repeats. `server.routes` answers other paths, as
`{"GET /v1/models": json_reply(…)}`; there is no `POST /tokenize` unless it is one of them. A reply
is a list of steps: bytes are sent as they are (one HTTP chunk, one write), anything else is a step
of parley/fake_server/exchange.py, or below.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from typing_extensions import override

from parley.fake_server.exchange import (
    EVENT_STREAM,
    KEEPALIVE,
    Closed,
    Exchange,
    FakeServer,
    Reply,
    Request,
    Step,
    body,
    cut,
    drip,
    hang,
    json_reply,
    listening,
    reset,
)

# The product's own fake has the server, and what a reply does; here is what tests make it say.
__all__ = [
    "EVENT_STREAM",
    "KEEPALIVE",
    "Closed",
    "Reply",
    "Step",
    "body",
    "cut",
    "drip",
    "hang",
    "json_reply",
    "reset",
]

DONE = b"data: [DONE]\n\n"


# --- what is said ---------------------------------------------------------------------------------


def event(payload: object) -> bytes:
    """One event with this JSON."""
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"


def delta(fields: object, finish_reason: str | None = None) -> bytes:
    """A chunk with this delta."""
    choice = {"index": 0, "delta": fields, "logprobs": None, "finish_reason": finish_reason}
    return event(_document("chat.completion.chunk", choices=[choice]))


def chunk(text: str) -> bytes:
    """A chunk with a piece of the answer."""
    return delta({"content": text})


def finish(reason: str = "stop") -> bytes:
    """The chunk with the finish reason."""
    return delta({}, reason)


def usage(input_tokens: int = 3, output_tokens: int = 2) -> bytes:
    """The chunk that `include_usage` asks for."""
    counts = _counts(input_tokens, output_tokens)
    return event(_document("chat.completion.chunk", choices=[], usage=counts))


def answer(*words: str) -> tuple[bytes, ...]:
    """A complete answer: the words, the finish reason, the usage and the end."""
    return (*(chunk(word) for word in words), finish(), usage(), DONE)


def completion(text: str) -> dict[str, object]:
    """The document of an answer that is not streamed."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return _document("chat.completion", choices=[choice], usage=_counts(3, 2))


def tgi_tokens(*texts: str) -> bytes:
    """TGI's answer to `/tokenize`: these are the tokens."""
    tokens = [{"id": n, "text": t, "start": 0, "stop": len(t)} for n, t in enumerate(texts)]
    return json.dumps(tokens, ensure_ascii=False, separators=(",", ":")).encode()


def vllm_tokens(count: int) -> bytes:
    """vLLM's answer to `/tokenize`."""
    ids = ",".join(map(str, range(count)))
    return b'{"count":%d,"max_model_len":4096,"tokens":[%s],"token_strs":null}' % (
        count,
        ids.encode(),
    )


def llama_tokens(count: int) -> bytes:
    """llama.cpp's answer to `/tokenize`."""
    return b'{"tokens":[%s]}' % ",".join(map(str, range(count))).encode()


def _document(kind: str, **fields: object) -> dict[str, object]:
    return {"id": "fake-1", "object": kind, "created": 1700000000, "model": "fake", **fields}


def _counts(input_tokens: int, output_tokens: int) -> dict[str, int]:
    total = input_tokens + output_tokens
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": total,
    }


# --- how it is said -------------------------------------------------------------------------------


def wait(gate: asyncio.Event | asyncio.Barrier) -> Step:
    """Go on when the test opens the gate, or when all have come to the barrier."""

    async def step(exchange: Exchange) -> None:
        await exchange.either(gate.wait())

    return step


def tell(reached: asyncio.Event) -> Step:
    """Let the test know that the reply has come so far."""

    async def step(exchange: Exchange) -> None:
        reached.set()

    return step


def sse(*steps: bytes | Step) -> Reply:
    """A stream of events."""
    return Reply(steps)


def close_delimited(*steps: bytes | Step) -> Reply:
    """A stream of events whose only end is that of the connection."""
    return Reply(steps, framing="close")


def raw(*steps: bytes | Step) -> Reply:
    """Bytes on the socket, status line and all."""
    return Reply(steps, framing="none")


# Of a server without these routes, as most are: it is asked in the background, whenever it may be, which no test
# has to expect.
_BACKGROUND = {"POST /tokenize", "GET /v1/models"}
_NOTHING = json_reply({"detail": "Not Found"}, 404)


# --- who says it ----------------------------------------------------------------------------------


class ModelServer(FakeServer):
    """The running fake: what it was asked, and how many connections it saw.

    `asked` is set by the first request, `left` by the first client that leaves before its answer
    is complete.
    """

    def __init__(self, replies: tuple[Reply, ...]) -> None:
        super().__init__()
        self.replies = list(replies)
        self.routes: dict[str, Reply] = {}
        self.requests: list[Request] = []
        self.asked = asyncio.Event()

    @override
    def reply_to(self, request: Request) -> Reply:
        asked = f"{request.method} {request.path}"
        if asked in _BACKGROUND and asked not in self.routes:
            return _NOTHING
        self.requests.append(request)
        self.asked.set()
        return self.routes.get(asked) or self._next(request)

    def _next(self, request: Request) -> Reply:
        if request.method != "POST" or not self.replies:
            return _NOTHING
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@asynccontextmanager
async def model_server(*replies: Reply, port: int = 0) -> AsyncGenerator[ModelServer]:
    """Run a fake model server on 127.0.0.1, on a free port unless one is given."""
    server = ModelServer(replies)
    async with listening(server, port=port):
        yield server
