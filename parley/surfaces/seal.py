"""Seal: a conversation that its caller keeps, readable, and not to be changed.

The context of a stateless chat travels with the caller. It says in the open what was said; a MAC
over all of it binds it to the caller, to an end, and to one of the server's keys, so that servers
which share nothing but the secret go on with each other's conversations.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import msgspec

from parley.auth.keys import Secret
from parley.chat.errors import (
    ContextChanged,
    ContextExpired,
    ContextForeign,
    ContextKeyUnknown,
    ContextTooLarge,
)

VERSION = 1
LIMIT_BYTES = 512 * 1024
_ID_CHARS = 16
_encode = msgspec.json.Encoder().encode


class SealedMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that was said."""

    role: Literal["user", "assistant"]
    content: str


class SealedContext(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A conversation, whose it is (a keyed hash), until when it holds (Unix time), and the seal."""

    version: int
    messages: tuple[SealedMessage, ...]
    system_prompt: str | None
    owner: str
    expires_at: int
    key_id: str
    seal: str


@dataclass(frozen=True, slots=True)
class Seals:
    """Seals contexts with the current key, and opens those of the one before, too."""

    secret: Secret
    life_s: int

    def seal(
        self,
        owner: str,
        system_prompt: str | None,
        messages: tuple[SealedMessage, ...],
        now_s: float,
    ) -> SealedContext:
        """Seal a conversation for this caller; where it is too large its oldest turns are left out."""
        key = self._keys()[0]
        open_context = SealedContext(
            VERSION,
            _newest(messages),
            system_prompt,
            _owner_id(key, owner),
            int(now_s) + self.life_s,
            _key_id(key),
            "",
        )
        return msgspec.structs.replace(open_context, seal=_mac(key, open_context))

    def open(self, context: SealedContext, owner: str, now_s: float) -> SealedContext:
        """Give back what may be believed.

        Raises `ContextKeyUnknown`, `ContextChanged`, `ContextForeign`, `ContextExpired`,
        `ContextTooLarge`.
        """
        if len(_encode(context)) > LIMIT_BYTES:
            raise ContextTooLarge(
                f"The context has more than {LIMIT_BYTES} bytes. Begin without one."
            )
        key = next((key for key in self._keys() if _key_id(key) == context.key_id), None)
        if key is None:
            raise ContextKeyUnknown("The key of this context is not known any more. Begin anew.")
        whole = msgspec.structs.replace(context, seal="")
        if context.version != VERSION or not hmac.compare_digest(
            _mac(key, whole).encode(), context.seal.encode()
        ):
            raise ContextChanged("The context was changed after it was sealed. Send it as it came.")
        if not hmac.compare_digest(_owner_id(key, owner).encode(), context.owner.encode()):
            raise ContextForeign("The context is another caller's. Begin without one.")
        if context.expires_at <= now_s:
            raise ContextExpired("The context is too old. Begin without one.")
        return context

    def _keys(self) -> list[bytes]:
        """Give the keys, the one that seals first."""
        return self.secret.derive("sealed context")[::-1]


def _newest(messages: tuple[SealedMessage, ...]) -> tuple[SealedMessage, ...]:
    """Leave out the oldest turns, so that a sealed context always fits when it comes back."""
    room = LIMIT_BYTES // 2
    kept = len(messages)
    while kept >= 2:
        room -= sum(len(_encode(message)) for message in messages[kept - 2 : kept])
        if room < 0:
            break
        kept -= 2
    return messages[kept:]


def _key_id(key: bytes) -> str:
    return hmac.digest(key, b"id", sha256).hex()[:_ID_CHARS]


def _owner_id(key: bytes, owner: str) -> str:
    return hmac.digest(key, b"owner\0" + owner.encode(), sha256).hex()[: 2 * _ID_CHARS]


def _mac(key: bytes, context: SealedContext) -> str:
    return hmac.digest(key, b"context\0" + _encode(context), sha256).hex()
