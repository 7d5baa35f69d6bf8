"""Safe HTTP: the only way out for a tool, to addresses that a model or a web page has named.

The address of a host is looked up once, checked, and that very address is connected to: the check
is where the socket is made, so that no notation, no second answer of a DNS server and no redirect
goes around it. Nothing of the environment is used, no proxy, no cookie, no password.
"""

import asyncio
import re
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address

import aiohttp
from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override
from yarl import URL

from parley.tools.addresses import Network, may_connect
from parley.tools.failures import ToolFailed

_PIECE_BYTES = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DEFAULT_PORTS = frozenset({80, 443})
_ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_URL_CHARS = 2000
_NOT_IN_URLS = re.compile(r"[\x00-\x20\x7f\\]")

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
Before = Callable[[URL], Awaitable[None]]


async def look_up(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a host; raises `OSError`."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Where tools may go, and how much they may take.

    `networks` may be reached beside the public internet, and `hosts` with their ports wherever
    they are: what whoever runs Parley has named, not what a model does.
    """

    limit_bytes: int = 2 * 1024 * 1024
    total_s: float = 20.0
    connect_s: float = 5.0
    most_redirects: int = 5
    ports: frozenset[int] = _DEFAULT_PORTS
    networks: tuple[Network, ...] = ()
    hosts: frozenset[tuple[str, int]] = frozenset()
    user_agent: str = "Parley"
    lookup: Lookup = field(default=look_up, repr=False)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document, and the address at which it was in the end."""

    url: str
    status: int
    media_type: str
    body: bytes
    charset: str = ""


class SafeHttp:
    """Fetches documents; make one with `open_http`."""

    def __init__(self, config: HttpConfig, session: aiohttp.ClientSession) -> None:
        """Send requests through `session`, which was made for this."""
        self._config = config
        self._session = session

    def checked(self, url: str) -> URL:
        """Read an address, and refuse those that no tool may go to; raises `ToolFailed`."""
        return check_url(url, self._config)

    async def get(
        self,
        url: str,
        *,
        types: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        before: Before | None = None,
    ) -> Fetched:
        """Fetch a document, over redirects; raises `ToolFailed`.

        `types` are the media types that are wanted, those ending in ``/`` as beginnings; an error's
        page is of any. A redirect to another origin is not sent the `headers`. `before` is asked
        for each address before it is fetched, and may raise.
        """
        here = self.checked(url)
        async with self._in_time():
            for _ in range(self._config.most_redirects + 1):
                if before:
                    await before(here)
                found = await self._hop(here, types, headers)
                if isinstance(found, Fetched):
                    return found
                if found.origin() != here.origin():
                    headers = None
                here = found
        raise ToolFailed(f"{_shown(here)} leads on and on: too many redirects.", "unavailable")

    async def _hop(
        self, here: URL, types: Sequence[str], headers: Mapping[str, str] | None
    ) -> Fetched | URL:
        """Fetch what is there, or the address that it leads to, checked like the first one."""
        async with self._request("GET", here, headers) as response:
            following = _redirect(response, here)
            if following is None:
                return await self._read(response, here, types)
        return self.checked(str(following))

    async def post(self, url: str, json: object, headers: Mapping[str, str]) -> Fetched:
        """Send JSON, and give the answer; redirects are not followed. Raises `ToolFailed`."""
        here = self.checked(url)
        async with self._in_time(), self._request("POST", here, headers, json) as response:
            return await self._read(response, here, ())

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._config.total_s):
                yield
        except TimeoutError:
            raise ToolFailed("The server took too long to answer.", "timeout") from None

    @asynccontextmanager
    async def _request(
        self, method: str, url: URL, headers: Mapping[str, str] | None, json: object = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(
                method, url, headers=headers, json=json, allow_redirects=False
            ) as response:
                yield response
        except aiohttp.ServerTimeoutError:
            raise ToolFailed(f"{_shown(url)} did not answer in time.", "timeout") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if refused := _refusal(error):
                raise ToolFailed(str(refused), "not_allowed") from None
            kind = type(error).__name__
            raise ToolFailed(f"{_shown(url)} cannot be reached ({kind}).", "unavailable") from None

    async def _read(
        self, response: aiohttp.ClientResponse, url: URL, types: Sequence[str]
    ) -> Fetched:
        media_type = response.content_type.lower()
        if response.status < 400 and types and not _is_among(media_type, types):
            raise ToolFailed(
                f"{_shown(url)} is of the type {media_type[:80]}, which cannot be read here.",
                "unsupported",
            )
        body = bytearray()
        async for piece in self._decoded(response, url):
            body += piece
            if len(body) > self._config.limit_bytes:
                raise self._too_large(url)
        charset = response.charset or ""
        return Fetched(str(url), response.status, media_type, bytes(body), charset)

    async def _decoded(self, response: aiohttp.ClientResponse, url: URL) -> AsyncIterator[bytes]:
        """Give the body, never more of it at once than a piece, however it is packed."""
        if (response.content_length or 0) > self._config.limit_bytes:
            raise self._too_large(url)
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        pieces = self._received(response, url)
        if encoding == "identity":
            async for piece in pieces:
                yield piece
            return
        if encoding not in _ENCODINGS:
            raise ToolFailed(f"{_shown(url)} is packed in a way that is not known.", "unsupported")
        try:
            async for piece in _unpacked(pieces, zlib.decompressobj(_ENCODINGS[encoding])):
                yield piece
        except zlib.error:
            raise ToolFailed(f"{_shown(url)} is packed wrongly.", "unavailable") from None

    async def _received(self, response: aiohttp.ClientResponse, url: URL) -> AsyncIterator[bytes]:
        """Give what comes over the wire; bytes that unpack to nothing might come for ever."""
        taken = 0
        async for piece in response.content.iter_chunked(_PIECE_BYTES):
            taken += len(piece)
            if taken > self._config.limit_bytes:
                raise self._too_large(url)
            yield piece

    def _too_large(self, url: URL) -> ToolFailed:
        limit = self._config.limit_bytes
        return ToolFailed(f"{_shown(url)} is larger than {limit} bytes.", "too_large")


async def _unpacked(
    pieces: AsyncIterator[bytes], unpack: "zlib._Decompress"
) -> AsyncIterator[bytes]:
    """Unpack up to the end of the stream; what comes behind it is not even kept."""
    async for piece in pieces:
        packed = piece
        while packed and not unpack.eof:
            yield unpack.decompress(packed, _PIECE_BYTES)
            packed = unpack.unconsumed_tail
        if unpack.eof:
            return
    while rest := unpack.decompress(b"", _PIECE_BYTES):
        yield rest


class NotAllowed(OSError):
    """The address of a host is none that a tool may connect to."""


class Guard(AbstractResolver):
    """Looks hosts up, and lets nothing connect but to the addresses that are allowed."""

    def __init__(self, config: HttpConfig) -> None:
        self._config = config
        # Where the origins are that have been named, whatever their addresses.
        self._named: set[tuple[str, int]] = set()

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._config.lookup(host, port)
        if (host, port) in self._config.hosts:
            self._named.update((address, port) for address in found)
        checked = [address for address in found if self._may_connect(address, port)]
        if found and not checked:
            raise NotAllowed(_not_allowed(host))
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in checked
        ]

    @override
    async def close(self) -> None:
        """There is nothing to close."""

    async def dial(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a host; raises `OSError` or `TimeoutError`."""
        loop, failed = asyncio.get_running_loop(), OSError("The host has no address.")
        async with asyncio.timeout(self._config.connect_s):
            for found in await self.resolve(host, port):
                address = (found["host"], port)
                made = self.socket((found["family"], socket.SOCK_STREAM, 0, "", address))
                made.setblocking(False)
                try:
                    await loop.sock_connect(made, address)
                    return await asyncio.open_connection(sock=made)
                except OSError as error:
                    made.close()
                    failed = error
                except BaseException:
                    made.close()
                    raise
        raise failed

    def socket(self, info: AddrInfoType) -> socket.socket:
        """Make the socket of a connection: nothing connects without one."""
        family, kind, proto, _, address = info
        host, port = str(address[0]), int(address[1])
        if not self._may_connect(host, port):
            raise NotAllowed(_not_allowed(host))
        return socket.socket(family, kind, proto)

    def _may_connect(self, address: str, port: int) -> bool:
        named = (address, port) in self._named or (address, port) in self._config.hosts
        return named or may_connect(address, self._config.networks)


@asynccontextmanager
async def open_http(config: HttpConfig) -> AsyncIterator[SafeHttp]:
    """Open what fetches; leaving it closes all connections."""
    guard = Guard(config)
    connector = aiohttp.TCPConnector(
        resolver=guard,
        use_dns_cache=False,
        socket_factory=guard.socket,
        limit=64,
        limit_per_host=8,
        force_close=True,  # a connection is for one request, and so is its check
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.connect_s),
        headers={"User-Agent": config.user_agent, "Accept-Encoding": "gzip, deflate"},
    ) as session:
        yield SafeHttp(config, session)


def check_url(url: str, config: HttpConfig) -> URL:
    """Read an address, and refuse those that no tool may go to; raises `ToolFailed`."""
    if len(url) > _URL_CHARS or _NOT_IN_URLS.search(url):
        raise ToolFailed("This is no address of a web page.", "invalid_arguments")
    try:
        found = URL(url)
        host, port = found.host, found.port
    except ValueError:
        raise ToolFailed("This is no address of a web page.", "invalid_arguments") from None
    if found.scheme not in {"http", "https"} or not host or port is None:
        raise ToolFailed("Only http:// and https:// addresses can be read.", "not_allowed")
    if found.user is not None or found.password is not None:
        raise ToolFailed("An address with a user or a password in it is not read.", "not_allowed")
    if (host, port) in config.hosts:
        return found
    if port not in config.ports:
        raise ToolFailed(f"The port {port} may not be used.", "not_allowed")
    if _is_literal(host) and not may_connect(host, config.networks):
        raise ToolFailed(_not_allowed(host), "not_allowed")
    return found


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _refusal(error: BaseException | None) -> NotAllowed | None:
    """Find our own refusal in what the client makes of it."""
    while error is not None:
        inner = getattr(error, "os_error", None)
        for found in (error, inner):
            if isinstance(found, NotAllowed):
                return found
        error = error.__cause__
    return None


def _redirect(response: aiohttp.ClientResponse, here: URL) -> URL | None:
    location = response.headers.get("Location")
    if response.status not in _REDIRECTS or not location:
        return None
    try:
        return here.join(URL(location))
    except ValueError:
        raise ToolFailed(f"{_shown(here)} leads nowhere.", "unavailable") from None


def _is_among(media_type: str, types: Sequence[str]) -> bool:
    return any(
        media_type.startswith(wanted) if wanted.endswith("/") else media_type == wanted
        for wanted in types
    )


def _shown(url: URL) -> str:
    """Show a host to the model: of the rest it knows what it wrote."""
    return url.host or "The server"


def _not_allowed(host: str) -> str:
    return f"{host[:100]} is not on the public internet, and may not be read."
