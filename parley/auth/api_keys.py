"""API keys: made here, shown once, known by their digest."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import uuid4

from starlette.requests import HTTPConnection
from typing_extensions import override

from parley.auth.callers import Way
from parley.auth.policy import Policy
from parley.auth.principal import Kind, Principal, Scope
from parley.auth.recent import Recent
from parley.chat.errors import Unauthenticated
from parley.chat.identities import ApiKey, ApiKeys
from parley.chat.turns import Owner
from parley.observability.audit import audit

PREFIX = "parley_"
_HINT_CHARS = len(PREFIX) + 5
# Often enough for "last used", and not a write for each request.
_USED_EVERY = timedelta(minutes=1)
_REFUSED = "This API key is unknown, expired or revoked. Make another one: parley token create."
_NOT_OURS = f"This is no API key of this server: those begin with {PREFIX}."


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key about to be kept; `text` is what its owner gets to see, once."""

    text: str
    key: ApiKey

    @property
    def digest(self) -> str:
        """What the key is found by."""
        return digest_of(self.text)


def make_key(
    owner: Owner, name: str, scopes: Sequence[Scope], expires_at: datetime | None
) -> NewKey:
    """Make a key of this owner."""
    text = PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        id=str(uuid4()),
        owner=owner,
        name=name,
        hint=text[:_HINT_CHARS],
        scopes=tuple(scopes),
        created_at=datetime.now(UTC),
        expires_at=expires_at,
    )
    return NewKey(text, key)


def digest_of(secret: str) -> str:
    """Give what a random secret is found by; guessing one back from it is hopeless."""
    return sha256(secret.encode()).hexdigest()


class KeyWay(Way):
    """``Authorization: Bearer parley_…``, and then nothing else decides."""

    def __init__(self, keys: ApiKeys, policy: Policy, *, allow_guests: bool) -> None:
        """Look keys up in `keys`.

        Where guests are allowed a value that is no key of ours is ignored: SDKs insist on sending
        one.
        """
        self._keys = keys
        self._policy = policy
        self._allow_guests = allow_guests
        self._recent: Recent[ApiKey] = Recent()

    @override
    async def identify(self, connection: HTTPConnection) -> Principal | None:
        sent = connection.headers.getlist("authorization")
        bearers = [value for value in map(_bearer, sent) if value is not None]
        if not bearers:
            return None
        if len(sent) > 1:
            raise Unauthenticated("Send one Authorization header.")
        if not bearers[0].startswith(PREFIX):
            if self._allow_guests:
                return None
            raise Unauthenticated(_NOT_OURS)
        return self._principal(await self._find(bearers[0]))

    def forget(self) -> None:
        """Look every key up again: one was revoked."""
        self._recent.clear()

    async def _find(self, text: str) -> ApiKey:
        digest = digest_of(text)
        key = await self._recent.read(digest, lambda: self._read(digest))
        if key is None:
            raise _refused("unknown")
        return key

    async def _read(self, digest: str) -> ApiKey | None:
        if key := await self._keys.find(digest):
            await self._note_use(key)
        return key

    async def _note_use(self, key: ApiKey) -> None:
        now = datetime.now(UTC)
        if key.used_at is None or now - key.used_at >= _USED_EVERY:
            await self._keys.used(key, now)

    def _principal(self, key: ApiKey) -> Principal:
        if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
            raise _refused("expired", key)
        if key.revoked_at is not None:
            raise _refused("revoked", key)
        if key.profile is not None and not self._policy.admits(key.profile):
            raise _refused("AUTH_ALLOWED", key)
        name = key.profile.name if key.profile else ""
        scopes = frozenset(Scope(scope) for scope in key.scopes)
        if key.profile is not None and Scope.ADMIN not in self._policy.scopes(key.profile):
            scopes -= {Scope.ADMIN}  # who is no administrator any more is none by a key either
        if Scope.ADMIN in scopes:
            scopes |= {Scope.READ}
        return Principal(key.owner, Kind.USER, scopes, name or key.owner.identifier, key_id=key.id)


def _refused(reason: str, key: ApiKey | None = None) -> Unauthenticated:
    """Make the error, the same whatever the reason: that is for the audit log alone."""
    known = {"identifier": key.owner.identifier, "key_id": key.id} if key else {}
    audit("key_refused", reason=reason, **known)
    return Unauthenticated(_REFUSED)


def _bearer(value: str) -> str | None:
    scheme, _, credentials = value.partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else None
