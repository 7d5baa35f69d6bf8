"""Callers: whose turn it is, and which thread a session id names."""

from collections.abc import Mapping
from uuid import uuid4

import pytest
from starlette.requests import HTTPConnection

from parley.auth.callers import Callers
from parley.auth.guests import Guests
from parley.auth.keys import Secret
from parley.auth.principal import Kind, Principal, Scope
from parley.chat.errors import Forbidden, Unauthenticated
from parley.chat.turns import Owner
from tests.unit.surfaces.asgi import connection

SECRET = Secret("s" * 32)
GUESTS = Guests(SECRET, secure=False)
ANYONE = connection()
MEMBER = Owner("6d1f8d2e-5a35-4b43-9f0e-0d7b1c1c2a11", "member")


def callers(secret: Secret = SECRET, *, allow_guests: bool = True) -> Callers:
    return Callers(secret, Guests(secret, secure=False), allow_guests=allow_guests)


def browser_of(guest: Owner) -> dict[str, str]:
    return {"cookie": GUESTS.cookie(guest).split(";")[0]}


async def known(made: Callers, headers: Mapping[str, str]) -> HTTPConnection:
    """A request after the middleware has asked who it is."""
    request = connection(headers)
    await made.identify(request)
    return request


async def test_a_browser_is_known_by_its_cookie() -> None:
    guest = GUESTS.new()
    request = await known(callers(), browser_of(guest))
    principal = callers().required(request)
    assert (principal.owner, principal.kind) == (guest, Kind.GUEST)
    assert callers().known(await known(callers(), {})) is None


async def test_whom_nobody_asked_about_is_nobody() -> None:
    assert callers().known(connection(browser_of(GUESTS.new()))) is None
    with pytest.raises(Unauthenticated, match="API key"):
        callers().required(ANYONE)


async def test_who_is_welcomed_is_known_afterwards() -> None:
    request = connection()
    welcomed = callers().welcome(request)
    assert welcomed is not None
    guest, cookie = welcomed
    assert callers().known(request) == guest
    again = await known(callers(), {"cookie": cookie.split(";")[0]})
    assert callers().required(again).owner == guest.owner


async def test_the_api_hands_a_new_guest_its_cookie() -> None:
    guest, cookie = callers().of_api(connection())
    assert cookie is not None
    same = await known(callers(), {"cookie": cookie.split(";")[0]})
    assert callers().of_api(same) == (callers().required(same), None)
    assert callers().required(same).owner == guest.owner


def test_each_socket_of_nobody_is_a_guest_of_its_own() -> None:
    one, other = (callers().of_socket(connection()) for _ in range(2))
    assert one.kind is other.kind is Kind.GUEST
    assert one.owner != other.owner


def test_stateless_callers_are_nobody() -> None:
    principal = callers().stateless(connection())
    assert principal.kind is Kind.ANONYMOUS
    assert principal.seal_name == principal.owner.identifier == "anonymous"


def test_stateless_callers_are_counted_by_address() -> None:
    """So that a limit of each owner is one of each address; this machine's own is many callers."""
    one, same, other, local, local_too = (
        callers().stateless(connection(peer=peer)).owner
        for peer in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "127.0.0.1", "127.0.0.1")
    )
    assert one == same
    assert one != other
    assert local != local_too


async def test_who_is_known_is_known_to_stateless_surfaces_too() -> None:
    request = await known(callers(), browser_of(GUESTS.new()))
    principal = callers().stateless(request)
    assert principal == callers().required(request)
    assert principal.seal_name == principal.owner.id


class Door:
    """A way that lets its own caller in, and turns away who knocks and is not."""

    async def identify(self, connection: HTTPConnection) -> Principal | None:
        match connection.headers.get("x-door"):
            case None:
                return None
            case "mine":
                return Principal(MEMBER, Kind.USER)
            case _:
                raise Unauthenticated("Not you.")


async def test_other_ways_come_before_guests() -> None:
    made = callers()
    made.use([Door()])
    guest = GUESTS.new()
    assert made.required(await known(made, {"x-door": "mine"} | browser_of(guest))).owner == MEMBER
    assert made.required(await known(made, browser_of(guest))).owner == guest
    with pytest.raises(Unauthenticated, match="Not you"):
        await known(made, {"x-door": "other"} | browser_of(guest))


def test_what_a_principal_may_not_do_is_refused() -> None:
    reader = Principal(MEMBER, Kind.USER, frozenset({Scope.READ}), key_id="k")
    reader.require(Scope.READ)
    with pytest.raises(Forbidden, match="scope chat, which this key"):
        reader.require(Scope.CHAT)


def test_a_session_id_names_one_thread() -> None:
    first, again = (callers().of_session(ANYONE, "a") for _ in range(2))
    assert first == again
    assert first.thread_id != callers().of_session(ANYONE, "b").thread_id


async def test_a_session_id_is_scoped_to_its_owner() -> None:
    """Who knows the session id of a browser's thread does not get in by it."""
    with_cookie = await known(callers(), browser_of(GUESTS.new()))
    mine = callers().of_session(with_cookie, "a")
    anyones = callers().of_session(ANYONE, "a")
    assert mine.owner != anyones.owner
    assert mine.thread_id != anyones.thread_id


async def test_a_browsers_session_id_may_be_its_threads() -> None:
    thread_id = str(uuid4())
    with_cookie = await known(callers(), browser_of(GUESTS.new()))
    assert callers().of_session(with_cookie, thread_id).maybe_thread_id == thread_id
    assert callers().of_session(with_cookie, thread_id.upper()).maybe_thread_id == thread_id
    assert callers().of_session(with_cookie, "a").maybe_thread_id is None


def test_without_a_cookie_a_uuid_is_only_a_name() -> None:
    assert callers().of_session(ANYONE, str(uuid4())).maybe_thread_id is None


@pytest.mark.parametrize("with_cookie", [False, True])
async def test_a_new_secret_still_finds_the_thread_of_the_one_before(with_cookie: bool) -> None:
    caller = await known(callers(), browser_of(GUESTS.new()) if with_cookie else {})
    rotated = callers(Secret("n" * 32, previous=SECRET.current)).of_session(caller, "a")
    assert rotated.before == callers().of_session(caller, "a")
    assert rotated.before.thread_id != rotated.thread_id
    assert (rotated.before.owner == rotated.owner) is with_cookie


def test_without_a_secret_before_there_is_one_thread() -> None:
    assert callers().of_session(ANYONE, "a").before is None


def test_the_log_never_has_the_session_id() -> None:
    session = callers().of_session(ANYONE, "5f2a91c0-session")
    assert len(session.log_name) == 8
    assert not "5f2a91c0-session".startswith(session.log_name)


async def test_without_guests_nobody_comes_in() -> None:
    closed = callers(allow_guests=False)
    assert closed.welcome(connection()) is None
    assert await closed.identify(connection(browser_of(GUESTS.new()))) is None
    for enter in (closed.of_api, closed.of_socket, closed.stateless):
        with pytest.raises(Unauthenticated, match="ALLOW_GUESTS"):
            enter(connection())
    with pytest.raises(Unauthenticated, match="ALLOW_GUESTS"):
        closed.of_session(ANYONE, "a")
