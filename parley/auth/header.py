"""Header: a proxy says who calls, and is believed only where it proves that it is the proxy.

https://oauth2-proxy.github.io/oauth2-proxy/ and oidc-authservice send such a header; anyone who
reaches this server past them could send it too. So the peer has to be one of theirs, a shared
secret has to be right where one is set, and a header that two parts of the way may read
differently (twice, joined by a comma, with underscores) is refused.
"""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection
from typing_extensions import override

from parley.auth.addresses import Addresses
from parley.auth.callers import Way, hand_cookie, opens_page
from parley.auth.policy import Policy
from parley.auth.principal import Principal
from parley.auth.sign_ins import HEADER, Desk, Identity, principal_of
from parley.chat.errors import Forbidden, Unauthenticated
from parley.chat.identities import Profile, SignIn
from parley.observability.audit import audit

SECRET_HEADER = "x-proxy-secret"  # noqa: S105 - a header's name
_NAME = re.compile(r"[\x21-\x7e]{1,320}")
_SEPARATORS = set(",;")
_NOT_PROVEN = "This server believes who you are only from its proxy. Come through that."
_CHANGED = "You are signed in as somebody else now. Load the page again."
_NOT_ADMITTED = "You may not use this server. Ask whoever runs it (AUTH_ALLOWED)."


@dataclass(frozen=True, slots=True)
class HeaderConfig:
    """`user` is the header; any of the `secrets` is right, so that they can be exchanged."""

    user: str
    secrets: Sequence[str] = field(default=(), repr=False)


class HeaderWay(Way):
    """The proxy's header, looked at for every request and every socket.

    A browser also has a sign-in, which is worth nothing alone: it shows that the proxy names
    somebody else than before, and lets the sockets of the one before be closed.
    """

    def __init__(
        self, config: HeaderConfig, addresses: Addresses, desk: Desk, policy: Policy
    ) -> None:
        """Believe the proxies that `addresses` knows."""
        self._name = config.user.lower()
        self._secrets = config.secrets
        self._addresses = addresses
        self._desk = desk
        self._policy = policy

    @override
    async def identify(self, connection: HTTPConnection) -> Principal | None:
        user = self._user(connection)
        sign_in = await self._desk.find(connection)
        if sign_in and sign_in.provider != HEADER:
            sign_in = None
        if user is None:
            if sign_in and self._is_proven(connection):
                await self._end(sign_in, "signed out at the proxy")
            return None
        identity = Identity(f"{HEADER}:{user}", HEADER, _profile(user))
        if not self._policy.admits(identity.profile):
            audit("sign_in_refused", identifier=identity.identifier, reason="AUTH_ALLOWED")
            raise Forbidden(_NOT_ADMITTED)
        if sign_in and sign_in.owner.identifier != identity.identifier:
            await self._end(sign_in, "another user at the proxy")
            if not opens_page(connection):
                raise Unauthenticated(_CHANGED)
            sign_in = None
        return await self._principal(connection, identity, sign_in)

    async def _principal(
        self, connection: HTTPConnection, identity: Identity, sign_in: SignIn | None
    ) -> Principal | None:
        if sign_in is None and opens_page(connection):
            sign_in, cookie = await self._desk.begin(identity)
            hand_cookie(connection, cookie)
            audit("signed_in", identifier=identity.identifier, provider=HEADER)
        if sign_in is not None:
            return principal_of(sign_in, self._policy)
        return await self._desk.without_browser(identity, self._policy)

    async def _end(self, sign_in: SignIn, why: str) -> None:
        await self._desk.end(sign_in.owner.id, sign_in.id)
        audit("signed_out", identifier=sign_in.owner.identifier, provider=HEADER, reason=why)

    def _user(self, connection: HTTPConnection) -> str | None:
        """Read who the proxy says it is; raises `Unauthenticated` for what may be forged."""
        sent = [
            (name, value)
            for name, value in connection.headers.items()
            if name.lower().replace("_", "-") == self._name.replace("_", "-")
        ]
        if not sent:
            return None
        if not self._is_proven(connection):
            raise self._refused("not proven to come from the proxy", _NOT_PROVEN)
        if len(sent) > 1 or sent[0][0].lower() != self._name:
            raise self._refused("sent twice or spelled otherwise", _NOT_PROVEN)
        user = sent[0][1].strip()
        if not user:
            return None
        if not _NAME.fullmatch(user) or _SEPARATORS & set(user):
            raise self._refused("not one name", "The proxy's header does not hold one user's name.")
        return user

    def _refused(self, reason: str, message: str) -> Unauthenticated:
        audit("header_refused", reason=reason)
        return Unauthenticated(message)

    def _is_proven(self, connection: HTTPConnection) -> bool:
        if not self._addresses.is_proxy(connection):
            return False
        sent = connection.headers.getlist(SECRET_HEADER)
        if not self._secrets:
            return True
        if len(sent) != 1:
            return False
        # All are compared: how long it takes tells nothing.
        right = [hmac.compare_digest(sent[0].encode(), s.encode()) for s in self._secrets]
        return any(right)


def _profile(user: str) -> Profile:
    return Profile(name=user, email=user if "@" in user else "")
