"""Opening the page makes a guest; nothing else does."""

import httpx2
import pytest
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from parley.auth.callers import Callers, Way
from parley.auth.guests import Guests
from parley.auth.keys import Secret
from parley.auth.limits import Allowance, LimitConfig, open_limits
from parley.auth.principal import Principal
from parley.chat.errors import Unauthenticated
from parley.chat.owner import current_owner
from parley.live.memory_counters import MemoryCounters
from parley.surfaces.account.revocation import Revocations
from parley.surfaces.account.visitors import Visitors
from tests.unit.surfaces.asgi import client_of


class Wrong(Way):
    """Credentials that never hold."""

    @override
    async def identify(self, connection: HTTPConnection) -> Principal | None:
        raise Unauthenticated("This key is unknown.")


SECRET = Secret("s" * 32)
GUESTS = Guests(SECRET, secure=False)
PAGE = {"accept": "text/html,*/*"}


async def who(scope: Scope, receive: Receive, send: Send) -> None:
    owner = current_owner.get()
    await PlainTextResponse(owner.identifier if owner else "nobody")(scope, receive, send)


def visitors(*, allow_guests: bool = True) -> Visitors:
    callers = Callers(SECRET, GUESTS, allow_guests=allow_guests)
    return Visitors(who, callers=callers, revocations=Revocations())


async def test_opening_the_page_makes_a_guest() -> None:
    async with client_of(visitors()) as client:
        first = await client.get("/", headers=PAGE)
        again = await client.get("/", headers=PAGE)
    assert first.text.startswith("guest:")
    assert first.text == again.text
    assert "set-cookie" in first.headers
    assert "set-cookie" not in again.headers


async def test_a_cookie_is_never_cached() -> None:
    async with client_of(visitors()) as client:
        assert (await client.get("/", headers=PAGE)).headers["cache-control"] == "no-store"


async def test_two_browsers_are_two_guests() -> None:
    app = visitors()
    async with client_of(app) as one, client_of(app) as other:
        assert (await one.get("/", headers=PAGE)).text != (await other.get("/", headers=PAGE)).text


@pytest.mark.parametrize(
    ("method", "accept"), [("GET", "*/*"), ("GET", "application/json"), ("POST", "text/html")]
)
async def test_nothing_else_makes_a_guest(method: str, accept: str) -> None:
    async with client_of(visitors()) as client:
        response = await client.request(method, "/", headers={"accept": accept})
    assert response.text == "nobody"
    assert "set-cookie" not in response.headers


async def test_a_forged_cookie_is_nobody() -> None:
    async with client_of(visitors()) as client:
        forged = GUESTS.new().id + ".aaaa.bbbb"
        response = await client.get("/", headers={"cookie": f"parley_guest={forged}"})
    assert response.text == "nobody"


async def test_without_guests_nobody_is_welcome() -> None:
    async with client_of(visitors(allow_guests=False)) as client:
        response = await client.get("/thread/1", headers=PAGE)
        program = await client.get("/")
    assert (response.status_code, response.headers["location"]) == (
        303,
        "/login?back_to=%2Fthread%2F1",
    )
    assert "set-cookie" not in response.headers
    assert program.text == "nobody"


@pytest.mark.parametrize("path", ["/login", "/auth/oauth/x/callback", "/public/account.css"])
async def test_the_way_in_is_open_to_nobody(path: str) -> None:
    async with client_of(visitors(allow_guests=False)) as client:
        assert (await client.get(path, headers=PAGE)).text == "nobody"


async def test_the_owner_does_not_outlive_the_request() -> None:
    async with client_of(visitors()) as client:
        await client.get("/", headers=PAGE)
    assert current_owner.get() is None


async def test_credentials_that_do_not_hold_count_for_their_address() -> None:
    callers = Callers(SECRET, GUESTS, allow_guests=False)
    callers.use([Wrong()])
    config = LimitConfig(guest=Allowance(requests_a_minute=2))
    async with open_limits(config, MemoryCounters()) as limits:
        callers.limits = limits
        app = Visitors(who, callers=callers, revocations=Revocations())
        statuses = [await status_from(app, "192.0.2.7") for _ in range(3)]
        assert statuses == [401, 401, 429]
        assert await status_from(app, "192.0.2.8") == 401


async def status_from(app: Visitors, peer: str) -> int:
    transport = httpx2.ASGITransport(app=app, client=(peer, 50000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://chat.example") as client:
        return (await client.get("/api/v1/models")).status_code
