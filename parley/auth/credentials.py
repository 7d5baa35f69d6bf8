"""Credentials: a user's own token of Hugging Face pays for what the user asks there.

It is kept encrypted with the sign-in that brought it, ends with that, and leaves this server in a
request to Hugging Face alone.
"""

from datetime import UTC, datetime

from typing_extensions import override

from parley.auth.seals import Seals
from parley.chat.errors import StorageUnavailable
from parley.chat.identities import Credentials, SignIns
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_PROVIDER = "huggingface"


class SignInCredentials(Credentials):
    """Finds tokens by their owner."""

    def __init__(self, sign_ins: SignIns, seals: Seals) -> None:
        """Open with `seals` what is kept with `sign_ins`."""
        self._sign_ins = sign_ins
        self._seals = seals

    @override
    async def of(self, owner_id: str, provider: str) -> str | None:
        if provider != _PROVIDER:
            return None
        try:
            sealed = await self._sign_ins.sealed_token(owner_id, datetime.now(UTC))
        except StorageUnavailable as error:
            logger.warning("A user's own token cannot be read", code=error.code)
            return None
        return self._seals.open(sealed) if sealed else None
