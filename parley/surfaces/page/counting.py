"""Counting: what a page says in its socket is a request like any other."""

from collections import Counter

from chainlit.server import sio
from chainlit.session import WebsocketSession

from parley.auth.callers import RequestLimits
from parley.chat.errors import ParleyError
from parley.observability.logs import get_logger
from parley.surfaces.page.asking import owner_of
from parley.surfaces.page.receiving import tell

logger = get_logger(__name__)

_REFUSALS = 20


class Counting:
    """Counts what sockets say; `limits` is None where nobody has any."""

    def __init__(self, limits: RequestLimits | None) -> None:
        """Begin with sockets that were told nothing yet."""
        self._limits = limits
        # How often each socket was told that it asks for more than it may.
        self._refused: Counter[str] = Counter()

    async def may_ask(self, session: WebsocketSession) -> bool:
        """Count what a socket says as a request; whoever says more than they may is told so.

        Who goes on for long is let go: they would be refused, and told, a thousand times a second.
        """
        try:
            if self._limits:
                await self._limits.check_request(owner_of(session))
        except ParleyError as error:
            logger.warning("Refused", code=error.code)
            self._refused[session.socket_id] += 1
            await tell(session, error)
            if self._refused[session.socket_id] >= _REFUSALS:
                await sio.disconnect(session.socket_id)
            return False
        return True

    def forget(self, socket_id: str) -> None:
        """Forget a socket that is gone."""
        self._refused.pop(socket_id, None)
