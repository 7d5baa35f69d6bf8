"""The wire: requests to a model server, and all that came back, with the time of each event.

Nothing is mended and nothing raised: what a server does wrong is what is looked for here.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp

from providers.faults import CLOSED, reason_of
from providers.frames import Frame, FrameReader

End = Literal["whole", "cut", "timeout", "left", "unreachable"]

_MAX_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Event:
    """One event and when it came, in seconds after the request."""

    at_s: float
    frame: Frame


@dataclass(slots=True)
class Response:
    """What a server answered; `status` 0 and `why` where it did not."""

    status: int = 0
    content_type: str = ""
    events: list[Event] = field(default_factory=list)
    body: bytes = b""
    end: End = "whole"
    why: str = ""
    took_s: float = 0.0

    @property
    def json(self) -> Any:
        """The document, None where it is none."""
        return decoded(self.body)


def decoded(data: bytes) -> Any:
    """Read JSON; None where it is none."""
    try:
        return json.loads(data)
    except ValueError:
        return None


class Wire:
    """Speaks to one server, each request within `timeout_s`; counts the requests."""

    def __init__(
        self, session: aiohttp.ClientSession, base_url: str, api_key: str | None, timeout_s: float
    ) -> None:
        self._session = session
        address, _, self.query = base_url.strip().partition("#")[0].partition("?")
        self.address = address.rstrip("/")
        self._api_key = api_key
        self._timeout_s = timeout_s
        self.requests = 0

    async def get(self, path: str) -> Response:
        """Read a document."""
        return await self._ask("GET", path, None, self._api_key, None)

    async def post(
        self,
        path: str,
        body: Mapping[str, object],
        *,
        leave_after: int | None = None,
        api_key: str | None = None,
    ) -> Response:
        """Post JSON and read all of the answer, or leave after so many events."""
        return await self._ask("POST", path, body, api_key or self._api_key, leave_after)

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        api_key: str | None,
        leave_after: int | None,
    ) -> Response:
        self.requests += 1
        response, loop = Response(), asyncio.get_running_loop()
        begun_at = loop.time()
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        url = f"{self.address}{path}" + (f"?{self.query}" if self.query else "")
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session.request(
                    method, url, json=body, headers=headers, allow_redirects=False
                ) as answer,
            ):
                await _read(answer, response, begun_at, leave_after)
        except TimeoutError:
            response.end = "timeout"
            response.why = f"nothing more came within {self._timeout_s:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            response.end = "cut" if response.status else "unreachable"
            response.why = _why(error)
        response.took_s = loop.time() - begun_at
        return response


def _why(error: Exception) -> str:
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return "its address is not a URL: it begins with http:// or https://"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"it cannot be reached: {reason_of(error)}"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return CLOSED
    return str(error) or type(error).__name__


async def _read(
    answer: aiohttp.ClientResponse, response: Response, begun_at: float, leave_after: int | None
) -> None:
    response.status, response.content_type = answer.status, answer.content_type
    reader, loop = FrameReader(), asyncio.get_running_loop()
    streamed, body = answer.content_type == "text/event-stream", bytearray()
    async for data in answer.content.iter_any():
        body += data
        if streamed:
            _take(response, reader.feed(data), loop.time() - begun_at)
        response.body = bytes(body)
        if len(body) > _MAX_BYTES or (leave_after and len(response.events) >= leave_after):
            answer.close()
            response.end = "left"
            return
        if streamed and response.events and response.events[-1].frame.data == b"[DONE]":
            return  # a server may hold the connection
    if streamed:
        _take(response, reader.close(), loop.time() - begun_at)


def _take(response: Response, frames: list[Frame], at_s: float) -> None:
    response.events += [Event(at_s, frame) for frame in frames]


@asynccontextmanager
async def open_wire(base_url: str, api_key: str | None, timeout_s: float) -> AsyncGenerator[Wire]:
    """Open connections to a server; neither proxies nor netrc of the environment are used."""
    # A connection for each request: one that the server closed meanwhile would look like a fault.
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True),
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield Wire(session, base_url, api_key, timeout_s)
