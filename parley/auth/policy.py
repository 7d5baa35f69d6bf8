"""Policy: of those who proved who they are, who may come in, and who is an administrator."""

from collections.abc import Sequence
from dataclasses import dataclass

from parley.auth.principal import CHATTING, Scope
from parley.chat.identities import Profile

GROUP = "group:"


@dataclass(frozen=True, slots=True)
class Policy:
    """Entries are addresses (`ann@example.org`), domains (`@example.org`) and `group:NAME`.

    Without `allowed` everyone may come in. An address counts only where the provider verified it.
    """

    allowed: Sequence[str] = ()
    admins: Sequence[str] = ()

    def admits(self, profile: Profile) -> bool:
        """Whether somebody may come in; an administrator always may."""
        everyone = not self.allowed
        return everyone or _is_among(self.allowed, profile) or _is_among(self.admins, profile)

    def scopes(self, profile: Profile) -> frozenset[Scope]:
        """Say what somebody may do."""
        return CHATTING | {Scope.ADMIN} if _is_among(self.admins, profile) else CHATTING


def _is_among(entries: Sequence[str], profile: Profile) -> bool:
    return any(_fits(entry, profile) for entry in entries)


def _fits(entry: str, profile: Profile) -> bool:
    if entry.startswith(GROUP):
        return entry.removeprefix(GROUP) in profile.groups
    name, at, domain = profile.email.casefold().rpartition("@")
    if not at or not name or "@" in name:  # a second @ could hide another domain
        return False
    entry = entry.casefold()
    return f"@{domain}" == entry if entry.startswith("@") else f"{name}@{domain}" == entry
