"""Account shapes: who calls, their keys and sign-ins, and what administrators see, as JSON."""

from datetime import datetime

import msgspec

from parley.auth.principal import Principal, Scope
from parley.chat.administration import UserUsage
from parley.chat.identities import ApiKey, SignIn


class NewKeyBody(msgspec.Struct, forbid_unknown_fields=True):
    """A key that is wanted; without `days` it lasts for ever."""

    name: str
    scopes: list[Scope] = msgspec.field(default_factory=lambda: [Scope.READ, Scope.CHAT])
    days: int | None = None


class CallerShape(msgspec.Struct):
    """Who is calling."""

    user_id: str
    identifier: str
    kind: str
    name: str
    scopes: list[str]

    @classmethod
    def of(cls, principal: Principal) -> "CallerShape":
        """Write who calls."""
        owner, kind = principal.owner, principal.kind.value
        return cls(owner.id, owner.identifier, kind, principal.name, sorted(principal.scopes))


class KeyShape(msgspec.Struct, kw_only=True, rename={"id": "key_id"}):
    """An API key; of its text there is a hint."""

    id: str
    name: str
    hint: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> "KeyShape":
        """Write a key."""
        return msgspec.convert(key, cls, from_attributes=True)


class MadeKeyShape(KeyShape, kw_only=True):
    """A new key, with its text: it is never given again."""

    key: str


class KeyList(msgspec.Struct):
    """All of one's keys."""

    data: list[KeyShape]
    next_cursor: str | None = None


class SignInShape(msgspec.Struct, kw_only=True):
    """Where one is signed in."""

    sign_in_id: str
    provider: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    current: bool

    @classmethod
    def of(cls, one: SignIn, *, current: bool) -> "SignInShape":
        """Write a sign-in."""
        return cls(
            sign_in_id=one.id,
            provider=one.provider,
            created_at=one.created_at,
            seen_at=one.seen_at,
            expires_at=one.expires_at,
            current=current,
        )


class SignInList(msgspec.Struct):
    """All places where one is signed in."""

    data: list[SignInShape]
    next_cursor: str | None = None


class UsageList(msgspec.Struct):
    """What users used, the one who used most first."""

    data: list[UserUsage]
    next_cursor: str | None = None
