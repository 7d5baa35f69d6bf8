"""Callers: whose turn it is, and which thread a session id names."""

from uuid import uuid4

import pytest

from parley.auth.callers import Callers
from parley.auth.guests import Guests
from parley.auth.keys import Secret
from parley.chat.errors import Unauthenticated
from parley.chat.turns import Owner
from tests.unit.surfaces.asgi import connection

SECRET = Secret("s" * 32)
GUESTS = Guests(SECRET, secure=False)
ANYONE = connection()


def callers(secret: Secret = SECRET, *, allow_guests: bool = True) -> Callers:
    return Callers(secret, Guests(secret, secure=False), allow_guests=allow_guests)


def browser_of(guest: Owner) -> dict[str, str]:
    return {"cookie": GUESTS.cookie(guest).split(";")[0]}


def test_a_browser_is_known_by_its_cookie() -> None:
    guest = GUESTS.new()
    assert callers().of_browser(connection(browser_of(guest))) == guest
    assert callers().of_browser(ANYONE) is None


def test_who_is_welcomed_is_known_afterwards() -> None:
    welcomed = callers().welcome()
    assert welcomed is not None
    guest, cookie = welcomed
    assert callers().of_browser(connection({"cookie": cookie.split(";")[0]})) == guest


def test_a_session_id_names_one_thread() -> None:
    first, again = (callers().of_session(ANYONE, "a") for _ in range(2))
    assert first == again
    assert first.thread_id != callers().of_session(ANYONE, "b").thread_id


def test_a_session_id_is_scoped_to_its_owner() -> None:
    """Who knows the session id of a browser's thread does not get in by it."""
    with_cookie = connection(browser_of(GUESTS.new()))
    mine = callers().of_session(with_cookie, "a")
    anyones = callers().of_session(ANYONE, "a")
    assert mine.owner != anyones.owner
    assert mine.thread_id != anyones.thread_id


def test_a_browsers_session_id_may_be_its_threads() -> None:
    thread_id = str(uuid4())
    with_cookie = connection(browser_of(GUESTS.new()))
    assert callers().of_session(with_cookie, thread_id).maybe_thread_id == thread_id
    assert callers().of_session(with_cookie, thread_id.upper()).maybe_thread_id == thread_id
    assert callers().of_session(with_cookie, "a").maybe_thread_id is None


def test_without_a_cookie_a_uuid_is_only_a_name() -> None:
    assert callers().of_session(ANYONE, str(uuid4())).maybe_thread_id is None


@pytest.mark.parametrize("with_cookie", [False, True])
def test_a_new_secret_still_finds_the_thread_of_the_one_before(with_cookie: bool) -> None:
    caller = connection(browser_of(GUESTS.new())) if with_cookie else ANYONE
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


def test_without_guests_nobody_comes_in() -> None:
    closed = callers(allow_guests=False)
    assert closed.welcome() is None
    assert closed.of_browser(connection(browser_of(GUESTS.new()))) is None
    with pytest.raises(Unauthenticated, match="ALLOW_GUESTS"):
        closed.of_session(ANYONE, "a")
