"""Guests: each browser its own user, by a cookie that only we can make."""

from http.cookies import SimpleCookie
from uuid import UUID

import pytest
from itsdangerous import TimestampSigner
from typing_extensions import override

from parley.auth.guests import COOKIE, MAX_AGE_S, Guests, guest_of_session
from parley.auth.keys import Secret
from parley.chat.turns import Owner

OLD, NEW = Secret("o" * 32), Secret("n" * 32)
ROTATED = Secret(NEW.current, previous=OLD.current)


class SignedBefore(TimestampSigner):
    """Our signer, as it was some time ago."""

    def __init__(self, age_s: int) -> None:
        super().__init__(NEW.derive("guest cookie"))
        self.age_s = age_s

    @override
    def get_timestamp(self) -> int:
        return super().get_timestamp() - self.age_s


def guests(secret: Secret = NEW, *, secure: bool = False, framed: bool = False) -> Guests:
    return Guests(secret, secure=secure, framed=framed)


def sent_back(set_cookie: str) -> dict[str, str]:
    return {name: morsel.value for name, morsel in SimpleCookie(set_cookie).items()}


def cookies_of(guest: Owner, secret: Secret = NEW) -> dict[str, str]:
    return sent_back(guests(secret).cookie(guest))


def test_a_guest_comes_back() -> None:
    guest = guests().new()
    assert guests().of_cookies(cookies_of(guest)) == guest


def test_guests_are_new_people() -> None:
    assert guests().new() != guests().new()


def test_a_guests_id_is_a_uuid() -> None:
    guest = guests().new()
    assert str(UUID(guest.id)) == guest.id
    assert guest.identifier == f"guest:{guest.id}"


def test_no_cookie_is_nobody() -> None:
    assert guests().of_cookies({}) is None
    assert guests().of_cookies({"session": "x"}) is None


@pytest.mark.parametrize("value", ["", "x", "a.b", "a.b.c", "\xff.\xff.\xff", "x" * 100_000])
def test_nonsense_is_nobody(value: str) -> None:
    assert guests().of_cookies({COOKIE: value}) is None


def test_a_bare_id_is_nobody() -> None:
    assert guests().of_cookies({COOKIE: guests().new().id}) is None


def test_anothers_id_under_ones_own_signature_is_nobody() -> None:
    mine, other = guests().new(), guests().new()
    forged = cookies_of(mine)[COOKIE].replace(mine.id, other.id)
    assert guests().of_cookies({COOKIE: forged}) is None


def test_a_signed_value_that_is_no_id_is_nobody() -> None:
    odd = Owner("not-a-uuid", "guest:not-a-uuid")
    assert guests().of_cookies(cookies_of(odd)) is None


def test_a_foreign_secret_makes_nobody() -> None:
    assert guests(NEW).of_cookies(cookies_of(guests().new(), OLD)) is None


def test_the_previous_secret_still_verifies() -> None:
    guest = guests(OLD).new()
    assert guests(ROTATED).of_cookies(cookies_of(guest, OLD)) == guest


def test_the_previous_secret_signs_no_more() -> None:
    cookies = cookies_of(guests().new(), ROTATED)
    assert guests(OLD).of_cookies(cookies) is None
    assert guests(NEW).of_cookies(cookies) is not None


@pytest.mark.parametrize(("age_s", "known"), [(MAX_AGE_S - 60, True), (MAX_AGE_S + 60, False)])
def test_a_cookie_grows_too_old(age_s: int, known: bool) -> None:
    signed = SignedBefore(age_s).sign(guests().new().id).decode()
    assert (guests().of_cookies({COOKIE: signed}) is not None) is known


def test_the_cookie_keeps_out_of_scripts_and_other_sites() -> None:
    cookie = guests().cookie(guests().new())
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert attributes == {"path=/", "httponly", "samesite=lax", f"max-age={MAX_AGE_S}"}


def test_behind_https_the_cookie_stays_there() -> None:
    assert "secure" in guests(secure=True).cookie(guests().new()).lower()


def test_behind_https_other_sites_are_kept_out_too() -> None:
    assert "samesite=lax" in guests(secure=True).cookie(guests().new()).lower()


def test_in_another_sites_frame_the_cookie_is_sent() -> None:
    """Lax cookies stay out of frames; a partitioned one is known in this one site's frames only."""
    cookie = guests(secure=True, framed=True).cookie(guests().new())
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert attributes == {
        "path=/",
        "httponly",
        "secure",
        "samesite=none",
        "partitioned",
        f"max-age={MAX_AGE_S}",
    }


def test_no_browser_takes_a_framed_cookie_without_https() -> None:
    cookie = guests(secure=False, framed=True).cookie(guests().new()).lower()
    assert "samesite=lax" in cookie
    assert "partitioned" not in cookie


def test_a_session_id_remembers() -> None:
    assert guest_of_session(NEW, "a") == guest_of_session(NEW, "a")
    assert guest_of_session(NEW, "a") != guest_of_session(NEW, "b")
    assert guest_of_session(OLD, "a") != guest_of_session(NEW, "a")


def test_a_session_guest_does_not_tell_the_session_id() -> None:
    guest = guest_of_session(NEW, "my-session-id")
    assert "my-session-id" not in guest.identifier


def test_behind_https_no_other_host_makes_a_browser_a_guest() -> None:
    """A neighbour's guest would keep for himself what is said before a sign-in."""
    guest = guests().new()
    made = sent_back(guests(secure=True).cookie(guest))
    (name,) = made
    assert name == f"__Host-{COOKIE}"
    assert guests(secure=True).of_cookies(made) == guest
    assert guests(secure=True).of_cookies({COOKIE: made[name]}) is None
