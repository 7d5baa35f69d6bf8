"""Sign-ins: a browser that proved who it is has a random cookie, and a row that can be ended.

Nothing is in the cookie but the key to the row: what is ended there is over at the next request,
on other replicas within a second.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from starlette.requests import HTTPConnection
from typing_extensions import override

from parley.auth.api_keys import digest_of
from parley.auth.callers import Way
from parley.auth.cookies import Cookies
from parley.auth.policy import Policy
from parley.auth.principal import Kind, Principal
from parley.auth.recent import Recent
from parley.chat.identities import Profile, SignIn, SignIns
from parley.chat.turns import Owner

COOKIE = "parley_sign_in"
HEADER = "header"
LASTS = timedelta(hours=12)
# However often it is used.
_AT_MOST = timedelta(days=30)
_SEEN_EVERY = timedelta(minutes=1)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a provider vouched for; `identifier` is made of issuer and subject."""

    identifier: str
    provider: str
    profile: Profile
    sealed_token: str | None = None


class Desk:
    """Signs browsers in and out."""

    def __init__(
        self, store: SignIns, cookies: Cookies, now: Callable[[], datetime] = _now
    ) -> None:
        """Keep sign-ins in `store`; `cookies` says how theirs are sent."""
        self._store = store
        self._cookies = cookies
        self._now = now
        self._recent: Recent[SignIn] = Recent()
        self._owners: Recent[Owner] = Recent()
        self._on_end: list[Callable[[Sequence[str]], None]] = []

    def on_end(self, told: Callable[[Sequence[str]], None]) -> None:
        """Have somebody told of the ids of sign-ins that are ended here."""
        self._on_end.append(told)

    async def begin(self, identity: Identity) -> tuple[SignIn, str]:
        """Sign a browser in; gives the sign-in and its ``Set-Cookie`` header."""
        now, secret = self._now(), secrets.token_urlsafe(32)
        owner = await self._store.put_user(identity.identifier, identity.provider, identity.profile)
        sign_in = SignIn(
            id=str(uuid4()),
            owner=owner,
            provider=identity.provider,
            profile=identity.profile,
            created_at=now,
            seen_at=now,
            expires_at=now + LASTS,
            sealed_token=identity.sealed_token,
        )
        await self._store.begin(sign_in, digest_of(secret))
        name = self._cookies.host_only(COOKIE)
        return sign_in, self._cookies.render(name, secret, int(_AT_MOST.total_seconds()))

    async def without_browser(self, identity: Identity, policy: Policy) -> Principal:
        """Say who calls by a proxy's word alone, as a program does."""
        owner = await self._owners.read(
            identity.identifier,
            lambda: self._store.put_user(identity.identifier, identity.provider, identity.profile),
        )
        assert owner
        scopes, name = policy.scopes(identity.profile), identity.profile.name
        return Principal(owner, Kind.USER, scopes, name)

    async def find(self, connection: HTTPConnection) -> SignIn | None:
        """Find the sign-in of a browser, and have it last longer."""
        secret = self._cookies.read(connection.cookies, COOKIE)
        if not secret:
            return None
        digest, now = digest_of(secret), self._now()
        sign_in = await self._recent.read(digest, lambda: self._store.find(digest, now))
        if sign_in is None or sign_in.expires_at <= now:
            return None
        if now - sign_in.seen_at >= _SEEN_EVERY:
            lasts_until = min(now + LASTS, sign_in.created_at + _AT_MOST)
            await self._store.seen(sign_in, now, lasts_until)
            self._recent.clear()
        return sign_in

    async def end(self, owner_id: str, sign_in_id: str | None = None) -> Sequence[str]:
        """End a sign-in of this owner, or all of them; whoever asked `on_end` is told."""
        ended = await self.end_untold(owner_id, sign_in_id)
        self.tell(ended)
        return ended

    async def end_untold(self, owner_id: str, sign_in_id: str | None = None) -> Sequence[str]:
        """End them as `end` does; `tell` of it once the browser has its answer."""
        ended = await self._store.end(owner_id, self._now(), sign_in_id)
        self._recent.clear()
        return ended

    def tell(self, ended: Sequence[str]) -> None:
        """Tell whoever asked `on_end`."""
        for told in self._on_end:
            told(ended)

    def goodbye(self) -> str:
        """Render the ``Set-Cookie`` header that takes the cookie away."""
        return self._cookies.render(self._cookies.host_only(COOKIE), "", 0)


class SignInWay(Way):
    """The cookie of a browser that signed in at a provider."""

    def __init__(self, desk: Desk, policy: Policy) -> None:
        """Find sign-ins at `desk`; whom the policy does not admit any more is nobody."""
        self._desk = desk
        self._policy = policy

    @override
    async def identify(self, connection: HTTPConnection) -> Principal | None:
        sign_in = await self._desk.find(connection)
        # One that a proxy vouched for needs the proxy's word each time (header.py).
        if sign_in is None or sign_in.provider == HEADER:
            return None
        return principal_of(sign_in, self._policy)


def principal_of(sign_in: SignIn, policy: Policy) -> Principal | None:
    """Say who is signed in; None for one who may not come in any more."""
    if not policy.admits(sign_in.profile):
        return None
    return Principal(
        sign_in.owner,
        Kind.USER,
        policy.scopes(sign_in.profile),
        sign_in.profile.name or sign_in.owner.identifier,
        sign_in_id=sign_in.id,
    )
