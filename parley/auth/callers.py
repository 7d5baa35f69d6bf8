"""Callers: who is calling, the same on every surface (docs/reference.md, Who is calling).

The middleware (surfaces/account/visitors.py) asks `identify` once for each HTTP request and each WebSocket;
everything after it asks for what was found: `known`, or one of the ways in which a surface takes
somebody whom nobody knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID, uuid4

from starlette.requests import HTTPConnection

from parley.auth.addresses import Addresses, is_loopback
from parley.auth.guests import Guests, guest_of_session
from parley.auth.keys import Secret
from parley.auth.principal import ANONYMOUS, Kind, Principal
from parley.chat.errors import Unauthenticated
from parley.chat.turns import Owner

_NO_GUESTS = "Sign in first, or send an API key: this server has no guests (ALLOW_GUESTS)."
_PRINCIPAL = "parley.principal"
_COOKIES = "parley.cookies"


class Way(Protocol):
    """One way of being recognised: an API key, a proxy's header, a session."""

    async def identify(self, connection: HTTPConnection) -> Principal | None:
        """Say who it is; None where this way is not taken.

        Raises `Unauthenticated` where it is taken and does not lead in.
        """
        ...


def hand_cookie(connection: HTTPConnection, cookie: str) -> None:
    """Have the response to this request send a ``Set-Cookie`` header."""
    connection.scope.setdefault(_COOKIES, []).append(cookie)


def handed_cookies(connection: HTTPConnection) -> Sequence[str]:
    """Give the ``Set-Cookie`` headers that the response is to send."""
    handed: Sequence[str] = connection.scope.get(_COOKIES, ())
    return handed


def opens_page(connection: HTTPConnection) -> bool:
    """Whether a browser opens a page, and not a page or a program asks for something."""
    accepted = connection.headers.get("accept", "")
    return connection.scope.get("method") == "GET" and "text/html" in accepted


class RequestLimits(Protocol):
    """How many requests one may make."""

    async def check_request(self, owner: Owner | None, count: int = 1) -> None:
        """Count a request, or what is as much as several; raises `RateLimited`."""
        ...


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
        addresses: Addresses | None = None,
    ) -> None:
        """Recognise guests if they are allowed; `use` adds what comes before them."""
        self._secret = secret
        self._guests = guests
        self._allow_guests = allow_guests
        self._addresses = addresses or Addresses()
        self._ways: Sequence[Way] = ()
        # What everybody may use; app.py sets it before anybody is let in.
        self.limits: RequestLimits | None = None

    def use(self, ways: Sequence[Way]) -> None:
        """Ask these first, in this order."""
        self._ways = ways

    async def identify(self, connection: HTTPConnection) -> Principal | None:
        """Find out who calls, and remember it for `known`; None for one whom nobody knows.

        Raises `Unauthenticated` for credentials that do not hold.
        """
        principal = await self._identified(connection)
        if principal is None and self._allow_guests:
            guest = self._guests.of_cookies(connection.cookies)
            principal = self._principal(connection, guest, Kind.GUEST) if guest else None
        connection.scope[_PRINCIPAL] = principal
        return principal

    async def _identified(self, connection: HTTPConnection) -> Principal | None:
        for way in self._ways:
            if principal := await way.identify(connection):
                return replace(principal, address=self._addresses.of(connection))
        return None

    def address(self, connection: HTTPConnection) -> str:
        """Give where a request comes from; empty where it cannot be known."""
        return self._addresses.of(connection)

    def known(self, connection: HTTPConnection) -> Principal | None:
        """Give whom `identify` found for this request or socket."""
        found: Principal | None = connection.scope.get(_PRINCIPAL)
        return found

    def required(self, connection: HTTPConnection) -> Principal:
        """Give whom `identify` found; raises `Unauthenticated` where that is nobody."""
        if principal := self.known(connection):
            return principal
        raise Unauthenticated("Nobody is known to be calling. Send an API key or a cookie.")

    def welcome(self, connection: HTTPConnection) -> tuple[Principal, str] | None:
        """Make a new guest and its ``Set-Cookie`` header; None where guests are not allowed."""
        if not self._allow_guests:
            return None
        guest = self._guests.new()
        principal = self._principal(connection, guest, Kind.GUEST)
        connection.scope[_PRINCIPAL] = principal
        return principal, self._guests.cookie(guest)

    def of_api(self, connection: HTTPConnection) -> tuple[Principal, str | None]:
        """Give who calls an API with a history, and the ``Set-Cookie`` of one who is new.

        Raises `Unauthenticated` where guests are not allowed.
        """
        if principal := self.known(connection):
            return principal, None
        if welcome := self.welcome(connection):
            return welcome
        raise Unauthenticated(_NO_GUESTS)

    def of_socket(self, connection: HTTPConnection) -> Principal:
        """Give who opened a socket: one whom nobody knows is a guest for as long as it is open.

        Raises `Unauthenticated` where guests are not allowed.
        """
        return self.of_api(connection)[0]

    def stateless(self, connection: HTTPConnection) -> Principal:
        """Give who calls without a history: one whom nobody knows stays nobody.

        Its owner is made for the limits, by the address; nothing is kept under it. Raises
        `Unauthenticated` where guests are not allowed.
        """
        if principal := self.known(connection):
            return principal
        self._check_guests()
        address = self._addresses.of(connection)
        one_of_many = not address or is_loopback(address)
        owner_id = str(uuid4()) if one_of_many else self._secret.keyed_uuid(ANONYMOUS, address)
        return self._principal(connection, Owner(owner_id, ANONYMOUS), Kind.ANONYMOUS)

    def of_session(self, connection: HTTPConnection, session_id: str) -> Session:
        """Find owner and thread of a session id; raises `Unauthenticated`."""
        principal = self.known(connection)
        if principal is None:
            self._check_guests()
        owner = principal.owner if principal else None
        session = _session(self._secret, owner, session_id)
        if not self._secret.previous:
            return session
        return replace(session, before=_session(Secret(self._secret.previous), owner, session_id))

    def _check_guests(self) -> None:
        if not self._allow_guests:
            raise Unauthenticated(_NO_GUESTS)

    def _principal(self, connection: HTTPConnection, owner: Owner, kind: Kind) -> Principal:
        return Principal(owner, kind, address=self._addresses.of(connection))


def _session(secret: Secret, known: Owner | None, session_id: str) -> Session:
    owner = known or guest_of_session(secret, session_id)
    thread_id = secret.keyed_uuid("session thread", owner.id, session_id)
    return Session(owner, thread_id, _canonical_uuid(session_id) if known else None)


def _canonical_uuid(text: str) -> str | None:
    try:
        canonical = str(UUID(text))
    except ValueError:
        return None
    return canonical if canonical == text.lower() else None
