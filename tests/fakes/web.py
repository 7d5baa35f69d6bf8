"""A web to read: a hostile HTTP server, a DNS server that changes its mind, and a way to ask it."""

import asyncio
import gzip
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TypeAlias, cast

from typing_extensions import override

from tests.patience import PATIENCE_S

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Answer = Callable[["Web", Writer, str], Awaitable[None]]


@dataclass
class Web:
    """The server; `seen` are the request lines and headers of what came."""

    pages: dict[str, bytes | Answer]
    port: int = 0
    seen: list[str] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def serve(self, reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._answer(reader, writer)
        finally:
            self.tasks.discard(task)
            writer.transport.abort() if task.cancelling() else writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: Reader, writer: Writer) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.seen.append(head)
        path = head.split(" ")[1]
        page = self.pages.get(path.partition("?")[0], page_of("", status="404 Not Found"))
        if not isinstance(page, bytes):
            await page(self, writer, head)
            return
        writer.write(page)
        await writer.drain()


def page_of(
    body: str | bytes, kind: str = "text/html", status: str = "200 OK", extra: str = ""
) -> bytes:
    data = body.encode() if isinstance(body, str) else body
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{extra}\r\n"
    )
    return head.encode() + data


def redirect_to(url: str) -> bytes:
    return page_of("", status="302 Found", extra=f"Location: {url}\r\n")


async def endless(web: Web, writer: Writer, head: str) -> None:
    """Send zeros for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    while True:
        writer.write(bytes(64 * 1024))
        await writer.drain()


async def slow(web: Web, writer: Writer, head: str) -> None:
    """Begin, and never go on."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nb")
    await writer.drain()
    await asyncio.Event().wait()


def bomb(mebibytes: int) -> bytes:
    """Make a page that is small on the wire and large when it is unpacked."""
    packed = gzip.compress(bytes(mebibytes * 2**20))
    return page_of(packed, extra="Content-Encoding: gzip\r\n")


def endless_behind(packed: bytes) -> Answer:
    """Send something packed, and then bytes for ever that unpack to nothing."""

    async def send(web: Web, writer: Writer, head: str) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\n\r\n"
        )
        writer.write(packed)
        # A block of a deflate stream that holds nothing, again and again.
        empty = b"\0\0\0\xff\xff" * 8192
        while True:
            writer.write(empty)
            await writer.drain()

    return send


@asynccontextmanager
async def web(pages: Mapping[str, bytes | Answer]) -> AsyncIterator[Web]:
    served = Web(dict(pages))
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0, limit=2**20)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        tasks = list(served.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


class _Names(asyncio.DatagramProtocol):
    """Answers the question for any name with the next of its addresses, again and again the last."""

    def __init__(self, answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    @override
    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        address = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        question = data[12 : data.index(0, 12) + 5]
        head = data[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0)
        record = struct.pack("!HHHIH", 0xC00C, 1, 1, 0, 4) + IPv4Address(address).packed
        self.transport.sendto(head + question + record, addr)


@dataclass
class Dns:
    """A DNS server whose time to live is 0, and how often it was asked."""

    port: int
    names: _Names

    async def lookup(self, host: str, port: int) -> Sequence[str]:
        """Ask it, over UDP."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()

        class Ask(asyncio.DatagramProtocol):
            @override
            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                if not answer.done():
                    answer.set_result(data)

        transport, _ = await loop.create_datagram_endpoint(
            Ask, remote_addr=("127.0.0.1", self.port)
        )
        try:
            labels = b"".join(bytes([len(part)]) + part for part in host.encode().split(b"."))
            asked = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"
            transport.sendto(asked)
            async with asyncio.timeout(PATIENCE_S):
                return [str(IPv4Address((await answer)[-4:]))]
        finally:
            transport.close()


@asynccontextmanager
async def dns(*answers: str) -> AsyncIterator[Dns]:
    loop = asyncio.get_running_loop()
    transport, names = await loop.create_datagram_endpoint(
        lambda: _Names(answers), local_addr=("127.0.0.1", 0)
    )
    try:
        yield Dns(transport.get_extra_info("sockname")[1], names)
    finally:
        transport.close()
