"""Another site may not use a visitor's cookies here."""

import pytest
from starlette.types import Receive, Scope, Send

from parley.surfaces.origins import OriginGuard
from tests.unit.surfaces.asgi import client_of, hello, open_socket

ALLOWED = frozenset({"https://friend.example"})
OWN = [
    "http://chat.example",
    "https://chat.example",
    "HTTP://CHAT.EXAMPLE",
    "https://friend.example",
]
FOREIGN = [
    "http://evil.example",
    "http://chat.example.evil.example",
    "http://chat.example:8080",
    "http://friend.example",
    "https://friend.example.evil.example",
    "null",
    "",
    "nonsense",
    "http://[",
    "chat.example",
]


@pytest.mark.parametrize("origin", OWN)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_own_pages_may_write(origin: str, method: str) -> None:
    async with client_of(OriginGuard(hello, allowed=ALLOWED)) as client:
        response = await client.request(method, "/", headers={"origin": origin})
    assert response.status_code == 200


@pytest.mark.parametrize("origin", FOREIGN)
async def test_another_site_may_not_write(origin: str) -> None:
    async with client_of(OriginGuard(hello, allowed=ALLOWED)) as client:
        response = await client.post("/", headers={"origin": origin})
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "forbidden"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_reading_is_for_cors_to_judge(method: str) -> None:
    async with client_of(OriginGuard(hello, allowed=ALLOWED)) as client:
        response = await client.request(method, "/", headers={"origin": "http://evil.example"})
    assert response.status_code == 200


async def test_what_is_no_browser_may_write() -> None:
    async with client_of(OriginGuard(hello, allowed=ALLOWED)) as client:
        assert (await client.post("/")).status_code == 200


async def test_an_empty_host_is_nobodys_origin() -> None:
    async with client_of(OriginGuard(hello, allowed=ALLOWED)) as client:
        response = await client.post("/", headers={"origin": "null", "host": ""})
    assert response.status_code == 403


OF_NOBODY = ["localhost", "localhost:8000", "127.0.0.1:8000", "192.168.1.7", "[::1]:8000"]
OF_SOMEBODY = ["rebound.example", "rebound.example:8000", "localhost.rebound.example", "7f000001.x"]


@pytest.mark.parametrize("host", [*OF_NOBODY, *OF_SOMEBODY])
async def test_without_a_public_url_any_name_may_lead_here(host: str) -> None:
    """So that http://myserver:8000 works on a network at home."""
    assert await wrote_to(host, OriginGuard(hello, allowed=frozenset())) == 200


@pytest.mark.parametrize("host", OF_NOBODY)
async def test_with_a_public_url_an_address_does(host: str) -> None:
    assert await wrote_to(host, pinned()) == 200


@pytest.mark.parametrize("host", OF_SOMEBODY)
async def test_with_a_public_url_a_foreign_name_does_not(host: str) -> None:
    """Host and Origin agree when another site has pointed its own name at this machine."""
    assert await wrote_to(host, pinned()) == 403
    sent = await open_socket(pinned(), {"origin": f"http://{host}", "host": host})
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_the_refusal_says_where_to_go() -> None:
    async with client_of(pinned()) as client:
        response = await client.post("/", headers={"origin": "http://x.example"})
    message = response.json()["error"]["message"]
    assert "https://chat.example" in message
    assert "PUBLIC_URL" in message


def pinned() -> OriginGuard:
    public_url = "https://chat.example"
    return OriginGuard(hello, allowed=frozenset({public_url}), public_url=public_url)


async def wrote_to(host: str, guard: OriginGuard) -> int:
    async with client_of(guard) as client:
        response = await client.post("/", headers={"origin": f"http://{host}", "host": host})
    return response.status_code


async def accept(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept"})


@pytest.mark.parametrize("origin", OWN)
async def test_own_pages_may_open_sockets(origin: str) -> None:
    sent = await open_socket(OriginGuard(accept, allowed=ALLOWED), {"origin": origin})
    assert [message["type"] for message in sent] == ["websocket.accept"]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_another_site_may_not_open_sockets(origin: str) -> None:
    sent = await open_socket(OriginGuard(accept, allowed=ALLOWED), {"origin": origin})
    assert [message["type"] for message in sent] == ["websocket.close"]
