"""Breaker: once Redis is away, nobody waits for it again until it answers a probe."""

import random
import time
from collections.abc import Callable

from parley.context.redis_faults import Trouble
from parley.observability.logs import get_logger
from parley.observability.metrics import REDIS_AWAY, REDIS_OUTAGES

logger = get_logger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 5.0
# Opened again this soon after it closed: a server that comes and goes is not asked more often.
_STEADY_S = 10.0


class Breaker:
    """Closed while Redis answers. Says once that it opened, and once that it closed."""

    def __init__(self, server: str, now: Callable[[], float] = time.monotonic) -> None:
        """`server` is the address for the log, without secrets."""
        self._server = server
        self._now = now
        self._pause_s = _FIRST_PAUSE_S
        self._closed_at = 0.0
        self.trouble: Trouble | None = None
        # What was asked before the breaker opened says nothing about the time after it closed.
        self.generation = 0
        REDIS_AWAY.set(0)

    def open(self, trouble: Trouble, generation: int) -> bool:
        """Open for something asked in `generation`; False where that is known already."""
        if self.trouble is not None or generation != self.generation:
            return False
        if self._now() - self._closed_at >= _STEADY_S:
            self._pause_s = _FIRST_PAUSE_S
        self.trouble = trouble
        self.generation += 1
        REDIS_AWAY.set(1)
        REDIS_OUTAGES.labels(trouble).inc()
        self._warn(trouble)
        return True

    def stay_open(self, trouble: Trouble) -> None:
        """Note why a probe failed; said where it is another reason, and one to do something about."""
        before, self.trouble = self.trouble, trouble
        if trouble is not before and trouble in {Trouble.CREDENTIALS, Trouble.TLS}:
            self._warn(trouble)

    def close(self) -> None:
        """Let commands through again."""
        self.trouble = None
        self._closed_at = self._now()
        REDIS_AWAY.set(0)
        logger.info("Redis is back", server=self._server)

    def next_pause_s(self) -> float:
        """How long to wait before the next probe: longer each time, never the same for all."""
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return pause_s * random.uniform(0.8, 1.0)  # noqa: S311 - spreads replicas, hides nothing

    def _warn(self, trouble: Trouble) -> None:
        logger.warning(
            "Redis is away: contexts come from the database",
            server=self._server,
            reason=trouble.words,
        )
