"""Identities: what is kept of those who sign in and of their API keys, and the ports for it.

A secret is never kept: rows are found by its digest.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from typing_extensions import override

from parley.chat.turns import Owner


@dataclass(frozen=True, slots=True)
class Profile:
    """What a provider said of a user. `email` is there only where the provider has verified it."""

    name: str = ""
    email: str = ""
    picture: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SignIn:
    """A browser that is signed in, until `expires_at`, which moves with its use."""

    id: str
    owner: Owner
    provider: str
    profile: Profile
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    sealed_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SignInState:
    """A sign-in that was begun at a provider, and what has to come back with it."""

    provider: str
    browser_digest: str
    nonce: str
    verifier: str = field(repr=False)
    back_to: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key; `hint` is its beginning, `expires_at` None where it never ends by itself.

    `profile` is what was said of its owner at their last sign-in; None where they never did.
    """

    id: str
    owner: Owner
    name: str
    hint: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    used_at: datetime | None = None
    revoked_at: datetime | None = None
    profile: Profile | None = None


class SignIns(Protocol):
    """What is kept of sign-ins. All methods raise `StorageUnavailable`."""

    async def put_user(self, identifier: str, provider: str, profile: Profile) -> Owner:
        """Find or insert the user of this identifier, and keep what is said of them."""
        ...

    async def begin(self, sign_in: SignIn, digest: str) -> None:
        """Keep a new sign-in."""
        ...

    async def find(self, digest: str, now: datetime) -> SignIn | None:
        """Read a sign-in that has not ended."""
        ...

    async def seen(self, sign_in: SignIn, now: datetime, expires_at: datetime) -> None:
        """Note that it is used, and until when it lasts now; one that has ended stays so."""
        ...

    async def of_owner(self, owner_id: str, now: datetime) -> Sequence[SignIn]:
        """List the owner's sign-ins that have not ended, the one used last first."""
        ...

    async def end(self, owner_id: str, now: datetime, sign_in_id: str | None = None) -> list[str]:
        """End one of the owner's sign-ins, or all of them; names those that this ended."""
        ...

    async def over(
        self, sign_in_ids: Collection[str], key_ids: Collection[str], now: datetime
    ) -> set[str]:
        """Say which of these sign-ins and API keys are over: ended, expired, revoked or gone."""
        ...

    async def sealed_token(self, owner_id: str, now: datetime) -> str | None:
        """Read the token of the owner's newest sign-in that has one and has not ended."""
        ...

    async def keep_state(self, digest: str, state: SignInState, now: datetime) -> None:
        """Keep what was begun, and forget what was begun and never came back."""
        ...

    async def take_state(self, digest: str) -> SignInState | None:
        """Take what was begun; nobody gets it a second time."""
        ...


class ApiKeys(Protocol):
    """What is kept of API keys. All methods raise `StorageUnavailable`."""

    async def add(self, key: ApiKey, digest: str) -> None:
        """Keep a new key; its owner must be kept already."""
        ...

    async def find(self, digest: str) -> ApiKey | None:
        """Read a key, also one that is over."""
        ...

    async def of_owner(self, owner_id: str) -> Sequence[ApiKey]:
        """List the owner's keys, the newest first."""
        ...

    async def revoke(self, owner_id: str, key_id: str, now: datetime) -> ApiKey:
        """Revoke a key of this owner; one that is revoked stays so. Raises `NotFound`."""
        ...

    async def used(self, key: ApiKey, now: datetime) -> None:
        """Note that a key is used."""
        ...


class Adopter(Protocol):
    """Lets a guest who signs in keep what is theirs."""

    async def adopt(self, guest: Owner, owner: Owner) -> None:
        """Make what is the guest's the user's: now, or as soon as it can be; never raises."""
        ...


class Credentials(Protocol):
    """The tokens that users brought along, for providers where they pay themselves."""

    async def of(self, owner_id: str, provider: str) -> str | None:
        """Give the owner's own token for a provider; None where there is none. Never raises."""
        ...


class NoCredentials(Credentials):
    """For an engine whose users bring nothing along."""

    @override
    async def of(self, owner_id: str, provider: str) -> None:
        """Give none."""


NO_CREDENTIALS = NoCredentials()
