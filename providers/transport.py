"""The transport: HTTP to a model server, with deadlines, limits and typed errors.

One pool of connections for each provider. The environment is not trusted (no proxies, no netrc)
and redirects are not followed: both would send keys where nobody meant to.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress

import aiohttp
import msgspec

from parley.chat.errors import (
    CredentialsRefused,
    Overloaded,
    ProtocolViolation,
    ProviderError,
    RequestRefused,
    TimedOut,
    Unreachable,
)
from providers.complaints import WEB_PAGE, read_body
from providers.config import Connection
from providers.event_source import EventSource
from providers.faults import fault, network_fault, refusal, unanswered
from providers.secret_parts import userinfo_of

_REFUSAL_BODY_S = 2.0
_MAX_REFUSAL_BYTES = 64 * 2**10
_MAX_BODY_BYTES = 4 * 2**20
# The headers that keys travel in; one may be in a query too.
_SENT_AS = ("Authorization", "x-goog-api-key")


class Transport:
    """Speaks to one server; opens its session on first use, on the loop that uses it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._session: aiohttp.ClientSession | None = None
        self._open: set[aiohttp.ClientResponse] = set()
        # Requests that have a connection or wait for one.
        self._busy = 0
        self._closed = False

    @asynccontextmanager
    async def events(
        self, path: str, body: object, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[EventSource]:
        """Post `body` as JSON, with `headers` over the connection's, and give the events of the answer.

        Leaving closes the socket on every path; only after an answer whose reader called it
        complete the connection goes back to the pool. Raises `ProviderError`.
        """
        begun_at = asyncio.get_running_loop().time()
        async with self._posted(path, self._encode(body), begun_at, headers) as response:
            await self._accept(response)
            with closing(EventSource(self.connection, response, begun_at)) as source:
                yield source
                if source.complete:
                    await source.drain()

    async def get(self, path: str, timeout_s: float) -> bytes:
        """Read a small document whole; raises `ProviderError`."""
        return await self._document("GET", path, None, timeout_s)

    async def ask(self, path: str, body: object, timeout_s: float) -> bytes:
        """Post `body` as JSON and read a small document whole; raises `ProviderError`."""
        return await self._document("POST", path, self._encode(body), timeout_s)

    async def aclose(self) -> None:
        """Close all connections for good; answers that are being read end as broken."""
        self._closed = True
        # Closing the session alone would leave their readers waiting until a deadline.
        for response in self._open:
            response.close()
        if self._session is not None:
            await self._session.close()

    async def _document(
        self, method: str, path: str, body: bytes | None, timeout_s: float
    ) -> bytes:
        try:
            with self._counted(), self._translated("first_event", TimeoutError):
                async with (
                    asyncio.timeout(timeout_s),
                    self._opened().request(
                        method, self._url(path), data=body, allow_redirects=False
                    ) as response,
                ):
                    await self._accept(response)
                    return await _bounded(response, _MAX_BODY_BYTES)
        except TimedOut as error:
            if error.phase == "connect":
                raise
            raise unanswered(self.connection, timeout_s) from error

    async def _post(
        self, path: str, body: bytes, begun_at: float, headers: Mapping[str, str] | None
    ) -> aiohttp.ClientResponse:
        deadlines = self.connection.deadlines
        limit_s, phase = min((deadlines.first_event_s, "first_event"), (deadlines.total_s, "total"))
        with self._translated(phase):
            async with asyncio.timeout_at(begun_at + limit_s):
                return await self._opened().post(
                    self._url(path), data=body, headers=headers, allow_redirects=False
                )

    @asynccontextmanager
    async def _posted(
        self, path: str, body: bytes, begun_at: float, headers: Mapping[str, str] | None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        with self._counted():
            response = await self._post(path, body, begun_at, headers)
            self._open.add(response)
            try:
                yield response
            finally:
                # Without effect on a body that was read to its end: that connection is in the pool.
                response.close()
                self._open.discard(response)

    @contextmanager
    def _counted(self) -> Generator[None]:
        """Count a request."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    @contextmanager
    def _translated(
        self, phase: str, unconnected: type[TimeoutError] = aiohttp.ConnectionTimeoutError
    ) -> Generator[None]:
        """Turn what aiohttp raises into our errors; `unconnected` is what a wait for a connection is."""
        most = self.connection.max_connections
        try:
            yield
        except unconnected as exc:
            if self._busy <= most:
                raise network_fault(self.connection, exc, phase) from exc
            # Says nothing of the server: it is not left alone for it.
            said = f"all {most} connections to it are in use"
            raise fault(Overloaded, self.connection, said) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise network_fault(self.connection, exc, phase) from exc
        except ValueError as exc:
            raise self._unsendable() from exc

    def _unsendable(self) -> ProviderError:
        """Say why a request cannot be written: HTTP has one header for a key and for a password."""
        if not userinfo_of(self.connection.base_url):
            said = "it has characters that HTTP does not allow"
            return fault(CredentialsRefused, self.connection, said)
        said = "its address has a user and a password, which go where the key does"
        settings = f"{self.connection.key_setting} or {self.connection.url_setting}"
        advice = f"Leave one of them out: {settings}."
        return fault(CredentialsRefused, self.connection, said, advice=advice)

    async def _accept(self, response: aiohttp.ClientResponse) -> None:
        if not 200 <= response.status < 300:
            raise await self._refusal(response)
        if response.content_type == "text/html":
            title = read_body(await self._said(response)).text
            said = WEB_PAGE if title in {"", WEB_PAGE} else f'{WEB_PAGE}, "{title}"'
            raise fault(ProtocolViolation, self.connection, said, quotes=True)

    async def _refusal(self, response: aiohttp.ClientResponse) -> ProviderError:
        body = await self._said(response)
        sent = response.request_info.headers
        keyed = any(name in sent for name in _SENT_AS) or bool(self.connection.query)
        return refusal(self.connection, response.status, response.headers, body, keyed=keyed)

    async def _said(self, response: aiohttp.ClientResponse) -> bytes:
        """Read the body of what is no answer, as far as it comes soon."""
        # The status says most: a body that does not come is not waited for.
        with suppress(aiohttp.ClientError, OSError):
            async with asyncio.timeout(_REFUSAL_BODY_S):
                return await _bounded(response, _MAX_REFUSAL_BYTES)
        return b""

    def _encode(self, body: object) -> bytes:
        try:
            return msgspec.json.encode(body)
        except UnicodeEncodeError as exc:
            said, advice = "the text is not valid Unicode", "Remove its broken characters."
            raise fault(RequestRefused, self.connection, said, advice=advice) from exc

    def _url(self, path: str) -> str:
        query = self.connection.query
        mark = "&" if "?" in path else "?"
        return f"{self.connection.base_url}{path}{mark if query else ''}{query}"

    def _opened(self) -> aiohttp.ClientSession:
        if self._closed:
            raise fault(Unreachable, self.connection, "its connections were closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self.connection.max_connections),
                timeout=aiohttp.ClientTimeout(connect=self.connection.deadlines.connect_s),
                headers=self._headers(),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                # Below this aiohttp asks for more with each chunk that is taken out: 8 KiB, and not
                # its 64, are a twentieth less for a token of a flood.
                read_bufsize=8192,
            )
        return self._session

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", **self.connection.headers}
        if self.connection.api_key:
            headers["Authorization"] = f"Bearer {self.connection.api_key}"
        return headers


async def _bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read a body up to a limit; what is beyond it is left."""
    body = bytearray()
    async for data in response.content.iter_any():
        body += data
        if len(body) >= limit:
            break
    return bytes(body[:limit])
