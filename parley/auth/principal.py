"""Principal: who calls now, and what they may do. The same on every surface."""

from dataclasses import dataclass
from enum import StrEnum

from parley.chat.errors import Forbidden
from parley.chat.turns import Owner

ANONYMOUS = "anonymous"


class Kind(StrEnum):
    """What a caller is known as: a user signed in, a guest has an identity, anonymous has none."""

    USER = "user"
    GUEST = "guest"
    ANONYMOUS = ANONYMOUS


class Scope(StrEnum):
    """What a caller may do; an API key has those that it was made with."""

    READ = "read"
    CHAT = "chat"
    ADMIN = "admin"


CHATTING = frozenset({Scope.READ, Scope.CHAT})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls now. `owner` is whose rows they read and write.

    `address` is where they call from, as far as it can be known. `sign_in_id` and `key_id` name
    what they were recognised by: when that is revoked their sockets are closed.
    """

    owner: Owner
    kind: Kind
    scopes: frozenset[Scope] = CHATTING
    name: str = ""
    address: str = ""
    sign_in_id: str | None = None
    key_id: str | None = None

    @property
    def seal_name(self) -> str:
        """What a sealed context is bound to: the owner, or `anonymous` where nobody is known."""
        return ANONYMOUS if self.kind is Kind.ANONYMOUS else self.owner.id

    def require(self, scope: Scope) -> None:
        """Raise `Forbidden` where the caller may not do this."""
        if scope not in self.scopes:
            means = "key" if self.key_id else "account"
            raise Forbidden(f"This needs the scope {scope}, which this {means} does not have.")
