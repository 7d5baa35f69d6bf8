"""Socket clients: pages without a browser, on raw WebSockets, so that they cost little of their core.

Run: ``python -m benchmarks.socket_clients PORT COUNT``. Prints ``ready`` when all are connected; for
each script that is then read from standard input they all ask at once, in a new thread each time,
and a line of JSON tells what they saw.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from time import perf_counter
from typing import cast
from uuid import uuid4

import uvloop
from typing_extensions import override

from benchmarks.upstream import TOKEN

_MARK = TOKEN.strip().encode()
_TEXT, _PING = 0x81, b"2"


class Client(asyncio.Protocol):
    """One socket: what came, and when."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._is_open = False
        self._heard = asyncio.Event()
        self.idle = False
        self.answered = False
        self.times: list[float] = []
        self.tokens = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type

    @override
    def data_received(self, data: bytes) -> None:
        """Cut what came into frames."""
        now = perf_counter()
        buffer = self._buffer
        buffer += data
        if not self._is_open:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            assert buffer.startswith(b"HTTP/1.1 101"), bytes(buffer[:200])
            self._is_open = True
            del buffer[: end + 4]
        while frame := _first_frame(buffer):
            start, end = frame
            self._take(bytes(buffer[start:end]), now)
            del buffer[:end]

    def _take(self, packet: bytes, now: float) -> None:
        if packet == _PING:
            self.send(b"3")
        elif packet.startswith(b"0{"):
            who = {"sessionId": str(uuid4()), "clientType": "webapp"}
            self.send(b"40" + json.dumps(who).encode())
        elif packet.startswith(b"40{"):
            self.send(b'42["connection_successful"]')
        elif packet.startswith((b'42["stream_token"', b'42["stream_start"')):
            self.times.append(now)
        elif packet.startswith((b'42["update_message"', b'42["new_message"')):
            tokens = packet.count(_MARK)
            if tokens and b'"assistant_message"' in packet:
                self.times.append(now)
                self.tokens = max(self.tokens, tokens)
        elif packet.startswith(b'42["task_end"'):
            self.idle = True
        self._heard.set()

    def send(self, packet: bytes) -> None:
        """Send a text frame; a mask of zeroes is one too."""
        assert self._transport is not None
        size = len(packet)
        head = (
            bytes([_TEXT, 0x80 | size]) if size < 126 else bytes([_TEXT, 0xFE]) + size.to_bytes(2)
        )
        self._transport.write(head + b"\0\0\0\0" + packet)

    async def until_idle(self) -> None:
        """Wait until nothing runs in the thread."""
        while not self.idle:
            self._heard.clear()
            await self._heard.wait()

    async def ask(self, script: str) -> None:
        """Ask, and read the answer to its end."""
        self.idle, self.times, self.tokens = False, [], 0
        step = {"id": str(uuid4()), "type": "user_message", "output": script, "name": "me"}
        step["createdAt"] = datetime.now(UTC).isoformat()
        said = ["client_message", {"message": step, "fileReferences": []}]
        self.send(b"42" + json.dumps(said).encode())
        await self.until_idle()


def _first_frame(buffer: bytearray) -> tuple[int, int] | None:
    """Find the payload of the first frame, when it is there whole."""
    if len(buffer) < 2:
        return None
    size, start = buffer[1], 2
    if size >= 126:
        start = 4 if size == 126 else 10
        if len(buffer) < start:
            return None
        size = int.from_bytes(buffer[2:start])
    return (start, start + size) if len(buffer) >= start + size else None


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """Connect as a new guest's page does."""
    cookie = await _new_guest(port)
    transport, client = await asyncio.get_running_loop().create_connection(
        Client, "127.0.0.1", port
    )
    transport.write(
        b"GET /ws/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n"
        b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\ncookie: %s\r\n\r\n" % (port, cookie)
    )
    await client.until_idle()
    yield client
    transport.close()


async def _new_guest(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET / HTTP/1.1\r\nhost: 127.0.0.1:%d\r\naccept: text/html\r\nconnection: close\r\n\r\n"
        % port
    )
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    lines = [line for line in head.split(b"\r\n") if line.lower().startswith(b"set-cookie:")]
    return b"; ".join(line.partition(b":")[2].partition(b";")[0].strip() for line in lines)


async def main(port: int, count: int) -> None:
    """Do as standard input says."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(port)) for _ in range(count)]
        print("ready", flush=True)
        while script := (await asyncio.to_thread(sys.stdin.readline)).strip():
            began_at = perf_counter()
            await asyncio.gather(*(client.ask(script) for client in clients))
            print(json.dumps(_seen(clients, perf_counter() - began_at)), flush=True)


def _seen(clients: list[Client], seconds: float) -> dict[str, object]:
    gaps = [b - a for client in clients for a, b in pairwise(client.times)]
    return {
        "seconds": seconds,
        "tokens": [client.tokens for client in clients],
        "frames": sum(len(client.times) for client in clients),
        "gaps": [round(gap * 1000, 1) for gap in gaps],
    }


if __name__ == "__main__":
    os.environ["PYTHONUNBUFFERED"] = "1"
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
