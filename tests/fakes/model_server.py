"""A model server that sends exactly the bytes it is told to, when it is told to.

async with model_server(sse(chunk("Hello"), wait(gate), chunk(" you"), finish(), DONE)) as server:
    ...  # talk to server.base_url
    assert server.requests[0].json["model"] == "m"

One reply for each POST, in order; the last one repeats. `server.routes` answers other paths, as
`{"GET /v1/models": json_reply(…)}`; there is no `POST /tokenize` unless it is one of them. A reply
is a list of steps: bytes are sent as they are (one HTTP chunk, one write), anything else is a step
below.
"""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": keepalive\n\n"
EVENT_STREAM = {"Content-Type": "text/event-stream"}


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


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Exchange:
    """One request being answered: what steps work on."""

    def __init__(self, writer: asyncio.StreamWriter, framed: bool) -> None:
        self.writer = writer
        self.left = asyncio.Event()
        self._framed = framed

    async def send(self, data: bytes) -> None:
        if self.writer.is_closing():  # uvloop would say it with a RuntimeError
            raise ConnectionResetError
        if self._framed:
            data = b"%x\r\n%s\r\n" % (len(data), data)
        self.writer.write(data)
        await self.writer.drain()

    async def either(self, happens: Awaitable[object], within_s: float | None = None) -> None:
        """Wait for something, for the client to leave, or for so long."""
        waits = [asyncio.ensure_future(happens), asyncio.ensure_future(self.left.wait())]
        try:
            await asyncio.wait(waits, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits:
                waiting.cancel()


Step = Callable[[Exchange], Awaitable[None]]


class Closed(Exception):
    """The server has closed the connection."""


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


async def hang(exchange: Exchange) -> None:
    """Say nothing until the client leaves."""
    await exchange.left.wait()


async def cut(exchange: Exchange) -> None:
    """Close the connection in the middle (FIN)."""
    exchange.writer.close()
    raise Closed


async def reset(exchange: Exchange) -> None:
    """Break the connection in the middle (RST)."""
    sock: socket.socket = exchange.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.writer.transport.abort()
    raise Closed


def drip(data: bytes = KEEPALIVE, every_s: float = 0.01) -> Step:
    """Send these bytes again and again until the client leaves."""

    async def step(exchange: Exchange) -> None:
        while not exchange.left.is_set():
            await exchange.send(data)
            await exchange.either(asyncio.Event().wait(), every_s)

    return step


@dataclass(frozen=True)
class Reply:
    """An answer: status, headers, steps. `framing` is chunked, close, or none (raw bytes only)."""

    steps: tuple[bytes | Step, ...] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: EVENT_STREAM)
    framing: str = "chunked"

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} Fake", *(f"{k}: {v}" for k, v in self.headers.items())]
        lines.append(
            "Transfer-Encoding: chunked" if self.framing == "chunked" else "Connection: close"
        )
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def sse(*steps: bytes | Step) -> Reply:
    """A stream of events."""
    return Reply(steps)


def close_delimited(*steps: bytes | Step) -> Reply:
    """A stream of events whose only end is that of the connection."""
    return Reply(steps, framing="close")


def raw(*steps: bytes | Step) -> Reply:
    """Bytes on the socket, status line and all."""
    return Reply(steps, framing="none")


def body(
    data: bytes, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Reply:
    """A document in one piece."""
    return Reply((data,) if data else (), status, {"Content-Type": content_type, **(headers or {})})


def json_reply(
    payload: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Reply:
    """A JSON document."""
    return body(json.dumps(payload).encode(), "application/json", status, headers)


# Of a server without this route, as most are: it is asked once, which no test has to expect.
NO_TOKENIZE = json_reply({"detail": "Not Found"}, 404)


# --- who says it ----------------------------------------------------------------------------------


class ModelServer:
    """The running fake: what it was asked, and how many connections it saw.

    `asked` is set by the first request, `left` by the first client that leaves before its answer
    is complete.
    """

    def __init__(self, replies: tuple[Reply, ...]) -> None:
        self.replies = list(replies)
        self.routes: dict[str, Reply] = {}
        self.requests: list[Request] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.root}/v1"

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that is gone, or a step that closed: either way this connection is over.
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, Closed):
                while await self._exchange(reader, writer):
                    pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read_request(reader)
        reply = self._reply(request)
        if reply is not NO_TOKENIZE:
            self.requests.append(request)
            self.asked.set()
        exchange = Exchange(writer, reply.framing == "chunked")
        watch = asyncio.ensure_future(self._watch(reader, exchange))
        try:
            await self._perform(reply, exchange)
        except OSError:  # a write that failed saw the client's end before the watch did
            self.left.set()
            raise
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        return reply.framing == "chunked"

    async def _watch(self, reader: asyncio.StreamReader, exchange: Exchange) -> None:
        """Nothing is sent while a reply is under way: what can be read is the client's end."""
        with contextlib.suppress(OSError):
            assert await reader.read(1) == b"", "a client sent a request before it had its answer"
        exchange.left.set()
        self.left.set()

    async def _perform(self, reply: Reply, exchange: Exchange) -> None:
        if reply.framing != "none":
            exchange.writer.write(reply.head())
        for step in reply.steps:
            await (exchange.send(step) if isinstance(step, bytes) else step(exchange))
        if reply.framing == "chunked":
            exchange.writer.write(b"0\r\n\r\n")

    def _reply(self, request: Request) -> Reply:
        route = self.routes.get(f"{request.method} {request.path}")
        if route is not None:
            return route
        if request.path == "/tokenize":
            return NO_TOKENIZE
        if request.method != "POST" or not self.replies:
            return json_reply({"detail": "Not Found"}, 404)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@asynccontextmanager
async def model_server(*replies: Reply, port: int = 0) -> AsyncGenerator[ModelServer]:
    """Run a fake model server on 127.0.0.1, on a free port unless one is given."""
    server = ModelServer(replies)
    listener = await asyncio.start_server(server.accept, "127.0.0.1", port)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await server.aclose()


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    sent = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, sent)
