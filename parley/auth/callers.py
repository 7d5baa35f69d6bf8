"""Callers: who is calling, the same on every surface (docs/reference.md, Who is calling)."""

from dataclasses import dataclass, replace
from uuid import UUID

from starlette.requests import HTTPConnection

from parley.auth.guests import Guests, guest_of_session
from parley.auth.keys import Secret
from parley.chat.errors import Unauthenticated
from parley.chat.turns import Owner

_NO_GUESTS = "Sign in first: this server has no guests (ALLOW_GUESTS)."


@dataclass(frozen=True, slots=True)
class Session:
    """The thread that a session id names for its owner.

    `maybe_thread_id` is the session id itself where it may be the id of an own thread: then it
    names that one. `before` is what the session id named under the previous secret.
    """

    owner: Owner
    thread_id: str
    maybe_thread_id: str | None
    before: "Session | None" = None

    @property
    def log_name(self) -> str:
        """What the log may say of a session: its id is what lets one in."""
        return self.thread_id[:8]


class Callers:
    """Says who is calling, the same on every surface."""

    def __init__(
        self,
        secret: Secret,
        guests: Guests,
        *,
        allow_guests: bool,
    ) -> None:
        """Recognise guests if they are allowed."""
        self._secret = secret
        self._guests = guests
        self._allow_guests = allow_guests

    def of_browser(self, connection: HTTPConnection) -> Owner | None:
        """Recognise the user of a browser; None for one who has no cookie yet."""
        return self._guests.of_cookies(connection.cookies) if self._allow_guests else None

    def welcome(self) -> tuple[Owner, str] | None:
        """Make a new guest and its ``Set-Cookie`` header; None where guests are not allowed."""
        if not self._allow_guests:
            return None
        guest = self._guests.new()
        return guest, self._guests.cookie(guest)

    def of_session(self, connection: HTTPConnection, session_id: str) -> Session:
        """Find owner and thread of a session id; raises `Unauthenticated`."""
        if not self._allow_guests:
            raise Unauthenticated(_NO_GUESTS)
        browser = self.of_browser(connection)
        session = _session(self._secret, browser, session_id)
        if not self._secret.previous:
            return session
        return replace(session, before=_session(Secret(self._secret.previous), browser, session_id))


def _session(secret: Secret, browser: Owner | None, session_id: str) -> Session:
    owner = browser or guest_of_session(secret, session_id)
    thread_id = secret.keyed_uuid("session thread", owner.id, session_id)
    return Session(owner, thread_id, _canonical_uuid(session_id) if browser else None)


def _canonical_uuid(text: str) -> str | None:
    try:
        canonical = str(UUID(text))
    except ValueError:
        return None
    return canonical if canonical == text.lower() else None
