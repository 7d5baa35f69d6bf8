"""Tunnel: a client that is not ours gets out where tools may go, in bounds, and nowhere else."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network

import pytest

from parley.tools.safe_http import HttpConfig
from parley.tools.tunnel import open_tunnel
from tests.fakes.web import endless, page_of, slow, web
from tests.patience import PATIENCE_S, until

Spoken = Callable[..., Awaitable[bytes]]


@asynccontextmanager
async def tunnelled(config: HttpConfig, *, key: bool = True) -> AsyncIterator[Spoken]:
    """Give what sends bytes to a tunnel, behind its password, and reads up to the end."""
    async with open_tunnel(config) as proxy:
        password, _, address = proxy.removeprefix("http://").rpartition("@")
        host, _, port = address.partition(":")

        async def speak(first: bytes, then: bytes = b"") -> bytes:
            reader, writer = await asyncio.open_connection(host, int(port))
            sent = b64encode(password.encode()) if key else b"d3Jvbmc="
            writer.write(first + b"\r\nProxy-Authorization: Basic " + sent + b"\r\n\r\n" + then)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    return await reader.read()
            finally:
                writer.transport.abort()

        yield speak


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (b"CONNECT 127.0.0.1:443 HTTP/1.1", b"502"),
        (b"CONNECT [::ffff:127.0.0.1]:443 HTTP/1.1", b"502"),
        (b"CONNECT 169.254.169.254:443 HTTP/1.1", b"502"),
        (b"CONNECT rebind.example:443 HTTP/1.1", b"502"),
        (b"CONNECT a.example:22 HTTP/1.1", b"502"),
        (b"CONNECT a.example:80 HTTP/1.1", b"502"),
        (b"CONNECT user@a.example:443 HTTP/1.1", b"502"),
        (b"CONNECT \xff:443 HTTP/1.1", b"502"),
        (b"CONNECT", b"502"),
        (b"GET http://127.0.0.1/ HTTP/1.1", b"405"),
    ],
)
async def test_tunnel_leads_where_tools_may_go_and_nowhere_else(
    first: bytes, status: bytes
) -> None:
    async def here(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with tunnelled(HttpConfig(ports=frozenset({443}), lookup=here)) as speak:
        assert (await speak(first)).split(b" ")[1] == status


async def test_tunnel_is_for_who_knows_its_password() -> None:
    async with tunnelled(HttpConfig(), key=False) as speak:
        assert b" 407 " in await speak(b"CONNECT a.example:443 HTTP/1.1")
    async with tunnelled(HttpConfig()) as speak:
        assert await speak(b"x" * 100_000) == b""


@pytest.mark.parametrize("path", ["/fine", "/endless", "/slow"])
async def test_what_comes_through_a_tunnel_is_whole_or_bounded(path: str) -> None:
    async with web({"/fine": page_of("x" * 900_000), "/endless": endless, "/slow": slow}) as served:
        config = HttpConfig(
            limit_bytes=2**20,
            total_s=2 if path == "/slow" else PATIENCE_S,
            ports=frozenset({served.port}),
            networks=(ip_network("127.0.0.1/32"),),
        )
        async with tunnelled(config) as speak:
            connect = f"CONNECT 127.0.0.1:{served.port} HTTP/1.1".encode()
            got = await speak(connect, f"GET {path} HTTP/1.1\r\n\r\n".encode())
        assert got.startswith(b"HTTP/1.1 200 Connection established\r\n\r\n")
        assert {
            "/fine": got.endswith(b"x" * 900_000),
            "/endless": len(got) <= 2**20 + 100,
            "/slow": got.endswith(b"b"),
        }[path]


async def test_closed_tunnel_lets_nothing_go_on() -> None:
    async with web({"/slow": slow}) as served:
        config = HttpConfig(ports=frozenset({served.port}), networks=(ip_network("127.0.0.1/32"),))
        async with tunnelled(config) as speak:
            connect = f"CONNECT 127.0.0.1:{served.port} HTTP/1.1".encode()
            speaking = asyncio.ensure_future(speak(connect, b"GET /slow HTTP/1.1\r\n\r\n"))
            await until(lambda: served.seen)
        with suppress(ConnectionError):
            await speaking
