"""Exchanges: a small HTTP server that sends the bytes it is told to, when it is told to.

A reply is a list of steps: bytes are sent as they are (one HTTP chunk, one write), anything else
is a step that works on the exchange: waits, hangs, breaks the connection.
"""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

KEEPALIVE = b": keepalive\n\n"
EVENT_STREAM = {"Content-Type": "text/event-stream"}
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_MAX_HEAD_BYTES = 64 * 2**10
_MAX_BODY_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Read the body; raises `ValueError` where it is no JSON."""
        return json.loads(self.body)


class Exchange:
    """One request being answered: what steps work on."""

    def __init__(self, writer: asyncio.StreamWriter, framed: bool) -> None:
        self.writer = writer
        self.left = asyncio.Event()
        self._framed = framed

    async def send(self, data: bytes) -> None:
        """Send bytes now; raises `OSError` where the client is gone."""
        if not data:  # as an HTTP chunk it would be the end of the body
            return
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


def pause(seconds: float) -> Step:
    """Go on after so long, or when the client leaves."""

    async def step(exchange: Exchange) -> None:
        await exchange.either(asyncio.Event().wait(), seconds)
        if exchange.left.is_set():
            raise Closed

    return step


def drip(data: bytes = KEEPALIVE, every_s: float = 0.01) -> Step:
    """Send these bytes again and again until the client leaves."""

    async def step(exchange: Exchange) -> None:
        while not exchange.left.is_set():
            await exchange.send(data)
            await exchange.either(asyncio.Event().wait(), every_s)

    return step


@dataclass(frozen=True)
class Reply:
    """An answer: status, headers, steps.

    `framing` is chunked, length (only bytes then), close, or none (raw bytes, status line and all).
    """

    steps: tuple[bytes | Step, ...] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: EVENT_STREAM)
    framing: str = "chunked"

    def head(self) -> bytes:
        """Write the status line and the headers."""
        lines = [f"HTTP/1.1 {self.status} {_PHRASES.get(self.status, 'Fake')}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines.append(self._framing_header())
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    def _framing_header(self) -> str:
        if self.framing == "chunked":
            return "Transfer-Encoding: chunked"
        if self.framing == "length":
            return f"Content-Length: {sum(len(s) for s in self.steps if isinstance(s, bytes))}"
        return "Connection: close"


def body(
    data: bytes, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Reply:
    """Make a document in one piece."""
    return Reply((data,) if data else (), status, {"Content-Type": content_type, **(headers or {})})


def json_reply(
    payload: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Reply:
    """Make a JSON document."""
    return body(json.dumps(payload).encode(), "application/json", status, headers)


class FakeServer:
    """Accepts connections and answers requests, until it is closed.

    `left` is set by the first client that leaves before its answer is complete.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.left = asyncio.Event()
        self.host = "127.0.0.1"
        self.port = 0
        self._tasks: set[asyncio.Future[None]] = set()

    @property
    def root(self) -> str:
        """Where it is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def base_url(self) -> str:
        """Where clients of OpenAI's dialect look for it."""
        return f"{self.root}/v1"

    def reply_to(self, request: Request) -> Reply:
        """Choose the answer to a request."""
        raise NotImplementedError

    def over(self, request: Request, reply: Reply, *, complete: bool) -> None:
        """Take note of an answer that was sent, or was not to its end."""

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection in a task of its own."""
        self.connections += 1
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Break off every answer that is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that is gone, or a step that closed: either way this connection is over.
        try:
            with contextlib.suppress(
                OSError, EOFError, ValueError, asyncio.LimitOverrunError, Closed
            ):
                while await self._exchange(reader, writer):
                    pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read_request(reader)
        reply = self.reply_to(request)
        exchange = Exchange(writer, reply.framing == "chunked")
        watch = asyncio.ensure_future(self._watch(reader, exchange))
        complete = False
        try:
            await self._perform(reply, exchange)
            complete = not exchange.left.is_set()
        except OSError:  # a write that failed saw the client's end before the watch did
            self.left.set()
            raise
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            self.over(request, reply, complete=complete)
        return reply.framing in {"chunked", "length"}

    async def _watch(self, reader: asyncio.StreamReader, exchange: Exchange) -> None:
        """Nothing is sent while a reply is under way: what can be read is the client's end."""
        with contextlib.suppress(OSError):
            await reader.read(1)
        exchange.left.set()
        self.left.set()

    async def _perform(self, reply: Reply, exchange: Exchange) -> None:
        if reply.framing != "none":
            exchange.writer.write(reply.head())
        for step in reply.steps:
            await (exchange.send(step) if isinstance(step, bytes) else step(exchange))
        if reply.framing == "chunked":
            exchange.writer.write(b"0\r\n\r\n")


@asynccontextmanager
async def listening(
    server: FakeServer, host: str = "127.0.0.1", port: int = 0
) -> AsyncGenerator[None]:
    """Let a server listen, on a free port unless one is given; raises `OSError` if it cannot."""
    listener = await asyncio.start_server(server.accept, host, port, limit=_MAX_HEAD_BYTES)
    server.host, server.port = host, listener.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        listener.close()
        await server.aclose()


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    sent = b""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        sent = await _read_chunks(reader)
    elif length := int(headers.get("content-length", "0")):
        sent = await reader.readexactly(min(length, _MAX_BODY_BYTES))
    return Request(method, path, headers, sent)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    sent = b""
    while length := int(await reader.readline(), 16):
        sent += (await reader.readexactly(length + 2))[:-2]
        if len(sent) > _MAX_BODY_BYTES:
            raise ValueError("the body is too large")
    await reader.readuntil(b"\r\n")
    return sent
