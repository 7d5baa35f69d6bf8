"""Tunnel: the way out for a client that is not ours, through the checks of `safe_http`.

A proxy on the loopback, for whoever knows its password and while it is open: each connection is
asked for by name, looked up, checked and made here, as a tool's own are. Only TLS goes through it,
which it does not open: how much comes back is bounded, what that is packed in is not.
"""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from hmac import compare_digest
from secrets import token_urlsafe

from parley.tools.failures import ToolFailed
from parley.tools.safe_http import Guard, HttpConfig, check_url

_HEAD_BYTES = 16 * 1024
_PIECE_BYTES = 64 * 1024
_MOST_CONNECTIONS = 64
_AUTHORIZATION = b"proxy-authorization:"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[str, int], Awaitable[Streams]]


@asynccontextmanager
async def open_tunnel(config: HttpConfig, dial: Dial | None = None) -> AsyncIterator[str]:
    """Open a tunnel, and give its address as a proxy; leaving it ends what goes through it.

    `dial` makes the connections, those of `config` where it is not there.
    """
    tunnel = _Tunnel(config, dial or Guard(config).dial)
    server = await asyncio.start_server(tunnel.serve, "127.0.0.1", 0, limit=_HEAD_BYTES)
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"http://parley:{tunnel.password}@127.0.0.1:{port}"
    finally:
        server.close()
        await tunnel.close()


class _Refused(Exception):
    """A connection that is not made; the text is the status line's end."""


class _Tunnel:
    def __init__(self, config: HttpConfig, dial: Dial) -> None:
        self.password = token_urlsafe()
        self._config = config
        self._dial = dial
        self._key = b"Basic " + b64encode(f"parley:{self.password}".encode())
        self._running: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._running) >= _MOST_CONNECTIONS:  # pragma: no cover - never None
            writer.transport.abort()
            return
        self._running.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(self._config.total_s):
                    await self._serve(reader, writer)
        finally:
            self._running.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        try:
            streams = await self._connected(head)
        except _Refused as refused:
            writer.write(f"HTTP/1.1 {refused}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        from_server, to_server = streams
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            limit = self._config.limit_bytes
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, to_server, limit))
                both.create_task(_copy(from_server, writer, limit))
        except* OSError:
            pass  # one of the two has left
        finally:
            to_server.transport.abort()

    async def _connected(self, head: bytes) -> Streams:
        first, *rest = head.split(b"\r\n")
        method, _, target = first.partition(b" ")
        keys = [line[len(_AUTHORIZATION) :].strip() for line in rest if _is_key(line)]
        if len(keys) != 1 or not compare_digest(keys[0], self._key):
            raise _Refused("407 Proxy Authentication Required")
        if method != b"CONNECT":
            raise _Refused("405 Method Not Allowed")
        try:
            url = check_url(f"https://{target.split(b' ')[0].decode('ascii')}", self._config)
            return await self._dial(url.host or "", url.port or 0)
        except (ToolFailed, OSError, TimeoutError, ValueError):
            raise _Refused("502 Bad Gateway") from None


def _is_key(line: bytes) -> bool:
    return line.lower().startswith(_AUTHORIZATION)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> None:
    """Hand on what comes, up to its end or the limit; the other direction ends with this one."""
    copied = 0
    while data := await reader.read(_PIECE_BYTES):
        copied += len(data)
        if copied > limit:
            break
        writer.write(data)
        await writer.drain()
    else:
        writer.close()
        await writer.wait_closed()
    raise ConnectionResetError
