"""Keys: each use of the one secret has a key of its own, derived from it."""

import hmac
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Secret:
    """The secret that signs, and the one before it, which still verifies."""

    current: str = field(repr=False)
    previous: str | None = field(default=None, repr=False)

    def derive(self, use: str) -> list[bytes]:
        """Derive the keys of a use: the signing one last, as itsdangerous wants it."""
        secrets = [secret for secret in (self.previous, self.current) if secret]
        return [_derived(secret, use) for secret in secrets]

    def keyed_uuid(self, use: str, *names: str) -> str:
        """Make the UUID that these names have under the current secret; no one else can."""
        key = self.derive(use)[-1]
        digest = sha256()
        for name in names:
            digest.update(len(name.encode()).to_bytes(4, "big") + name.encode())
        return str(UUID(bytes=hmac.digest(key, digest.digest(), sha256)[:16], version=4))


@lru_cache(64)  # the few uses that there are, each for all requests
def _derived(secret: str, use: str) -> bytes:
    return hmac.digest(secret.encode(), use.encode(), sha256)
