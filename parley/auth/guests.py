"""Guests: each browser is its own user by a signed cookie, never Chainlit's login cookie."""

from collections.abc import Mapping
from uuid import UUID, uuid4

from itsdangerous import BadSignature, TimestampSigner

from parley.auth.cookies import Cookies
from parley.auth.keys import Secret
from parley.chat.turns import Owner

COOKIE = "parley_guest"
MAX_AGE_S = 365 * 24 * 3600


class Guests:
    """Makes and recognises guests."""

    def __init__(self, secret: Secret, *, secure: bool, framed: bool = False) -> None:
        """Sign with `secret`; `secure` cookies travel over HTTPS only.

        `framed` says that the page is shown in another site's frame, as a Hugging Face Space is;
        the cookies of such a page have to be secure.
        """
        self._signer = TimestampSigner(secret.derive("guest cookie"))
        self._cookies = Cookies(secure, framed)

    def new(self) -> Owner:
        """Make a guest nobody was before."""
        return _guest(str(uuid4()))

    def of_cookies(self, cookies: Mapping[str, str]) -> Owner | None:
        """Recognise a guest by the cookie; None where it is missing, forged or too old."""
        value = self._cookies.read(cookies, COOKIE)
        if not value:
            return None
        try:
            guest_id = self._signer.unsign(value, max_age=MAX_AGE_S).decode()
            return _guest(str(UUID(guest_id)))
        except (BadSignature, ValueError):
            return None

    def cookie(self, guest: Owner) -> str:
        """Render the ``Set-Cookie`` header that makes a browser this guest."""
        value = self._signer.sign(guest.id).decode()
        return self._cookies.render(self._cookies.host_only(COOKIE), value, MAX_AGE_S)

    def goodbye(self) -> str:
        """Render the ``Set-Cookie`` header by which a browser is no guest any more."""
        return self._cookies.render(self._cookies.host_only(COOKIE), "", 0)


def guest_of_session(secret: Secret, session_id: str) -> Owner:
    """Give the guest that a caller without a cookie is: its session id remembers."""
    owner_id = secret.keyed_uuid("session guest", session_id)
    return Owner(owner_id, f"session:{owner_id}")


def _guest(guest_id: str) -> Owner:
    return Owner(guest_id, f"guest:{guest_id}")
