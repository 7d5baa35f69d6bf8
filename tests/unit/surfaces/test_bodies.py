"""Bodies: bounded before they are whole, refused with a reason."""

from collections.abc import AsyncIterator, Iterable

import msgspec
import pytest
from starlette.requests import Request
from starlette.types import Message

from parley.chat.errors import InvalidRequest, TooLarge
from parley.surfaces.http.bodies import decode_body, read_body

JSON = {"content-type": "application/json"}
LIMIT = 64


class Shape(msgspec.Struct):
    name: str
    count: int = 0


class Client:
    """Sends a body in pieces, and remembers how many were asked for."""

    def __init__(
        self, *parts: bytes, headers: dict[str, str] | None = None, leaves: bool = False
    ) -> None:
        raw = [
            (k.encode(), v.encode("latin-1"))
            for k, v in (JSON if headers is None else headers).items()
        ]
        self.taken = 0
        self._messages = self._all(parts, leaves)
        self.request = Request({"type": "http", "headers": raw}, self._receive)

    async def _receive(self) -> Message:
        self.taken += 1
        return await anext(self._messages)

    @staticmethod
    async def _all(parts: Iterable[bytes], leaves: bool) -> AsyncIterator[Message]:
        for part in parts:
            yield {"type": "http.request", "body": part, "more_body": True}
        if leaves:
            yield {"type": "http.disconnect"}
        yield {"type": "http.request", "body": b"", "more_body": False}


async def decode(*parts: bytes, headers: dict[str, str] | None = None) -> Shape:
    return await decode_body(Client(*parts, headers=headers).request, Shape, LIMIT)


async def test_reads_a_body_in_pieces() -> None:
    assert await decode(b'{"name": ', b'"a", "count": 2}') == Shape("a", 2)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/x+json",
    ],
)
async def test_takes_json_by_any_of_its_names(content_type: str) -> None:
    assert await decode(b'{"name":"a"}', headers={"content-type": content_type}) == Shape("a")


@pytest.mark.parametrize(
    "headers",
    [{}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}],
)
async def test_refuses_what_a_foreign_form_can_send(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest, match="content-type"):
        await decode(b'{"name":"a"}', headers=headers)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"name": 1}',
        b'{"count": 1}',
        b'{"name":"a","count":1e9}',
        b'{"name":"\xff"}',
        b'{"name":"\\ud800"}',
        b"\xef\xbb\xbf{}",
        b'{"name":"a"} x',
    ],
)
async def test_refuses_what_does_not_fit(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        await decode(body)


async def test_refuses_what_is_nested_too_deeply() -> None:
    """A value that nobody asked for is skipped recursively: it must not become a 500."""
    deep = b'{"name":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(InvalidRequest, match="nested"):
        await decode_body(Client(deep).request, Shape, len(deep))


async def test_a_body_at_the_limit_is_read() -> None:
    assert await read_body(Client(b"x" * LIMIT).request, LIMIT) == b"x" * LIMIT


async def test_an_announced_size_is_refused_unread() -> None:
    client = Client(b"x", headers={"content-length": str(LIMIT + 1)})
    with pytest.raises(TooLarge, match="LIMIT_BODY_BYTES"):
        await read_body(client.request, LIMIT)
    assert client.taken == 0


async def test_an_unannounced_size_is_refused_at_the_limit() -> None:
    client = Client(*[b"x" * 40] * 100)
    with pytest.raises(TooLarge):
        await read_body(client.request, LIMIT)
    assert client.taken == 2


@pytest.mark.parametrize("announced", ["", "many", "-1", "\xb2"])
async def test_a_senseless_announcement_is_no_news(announced: str) -> None:
    client = Client(b"x", headers={"content-length": announced})
    assert await read_body(client.request, LIMIT) == b"x"


async def test_a_client_that_leaves_is_no_failure_of_ours() -> None:
    with pytest.raises(InvalidRequest, match="closed"):
        await read_body(Client(b"x", leaves=True).request, LIMIT)
