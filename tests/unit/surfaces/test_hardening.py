"""Hardening: what every response tells a browser, whichever route made it."""

import httpx2
import pytest
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message

from parley.surfaces.http.hardening import Hardening
from tests.unit.surfaces.asgi import client_of

PAGE = "default-src 'self'; frame-ancestors "


async def answered(
    app: ASGIApp, ancestors: tuple[str, ...] = ("'self'",), url: str | None = None
) -> httpx2.Headers:
    async with client_of(Hardening(app, frame_ancestors=ancestors, public_url=url)) as client:
        return (await client.get("/")).headers


@pytest.mark.parametrize("response", [PlainTextResponse("x"), HTMLResponse("x"), Response()])
async def test_every_response_is_what_it_says_and_tells_nobody_where(response: Response) -> None:
    headers = await answered(response)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("url", "is_told"),
    [("https://chat.example", True), ("http://chat.example", False), (None, False)],
)
async def test_browsers_stay_at_https_where_it_is(url: str | None, is_told: bool) -> None:
    headers = await answered(PlainTextResponse("x"), url=url)
    assert ("strict-transport-security" in headers) is is_told


async def test_a_page_that_says_nothing_may_be_framed_by_those_alone() -> None:
    headers = await answered(HTMLResponse("x"), ("'self'", "https://huggingface.co"))
    ancestors = "frame-ancestors 'self' https://huggingface.co"
    assert headers["content-security-policy"] == ancestors


async def test_a_pages_own_policy_is_completed() -> None:
    page = HTMLResponse("x", headers={"content-security-policy": PAGE})
    assert (await answered(page))["content-security-policy"] == f"{PAGE}'self'"
    page = HTMLResponse("x", headers={"content-security-policy": "default-src 'none'"})
    said = (await answered(page))["content-security-policy"]
    assert said == "default-src 'none'; frame-ancestors 'self'"


async def test_a_stricter_policy_stays() -> None:
    strict = "sandbox; frame-ancestors 'none'"
    page = HTMLResponse("x", headers={"content-security-policy": strict})
    assert (await answered(page))["content-security-policy"] == strict


async def test_a_page_that_says_whom_it_tells_is_heard() -> None:
    page = HTMLResponse("x", headers={"referrer-policy": "same-origin"})
    assert (await answered(page))["referrer-policy"] == "same-origin"


async def test_sockets_pass() -> None:
    sent: list[Message] = []

    async def app(scope: object, receive: object, send: object) -> None:
        sent.append({"type": "seen"})

    async def nothing() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    hardened = Hardening(app, frame_ancestors=("'self'",), public_url=None)
    await hardened({"type": "websocket"}, nothing, send)
    assert sent == [{"type": "seen"}]
