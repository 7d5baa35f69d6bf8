"""Unawaited: writes that Chainlit starts and never looks at again.

Nobody would see them fail: they are tried again where the database is away, then logged and
counted, and a close waits for those that are under way.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from parley.chat.errors import ParleyError, StorageUnavailable
from parley.observability.logs import get_logger
from parley.observability.metrics import STORE_ERRORS

logger = get_logger(__name__)

_PAUSES_S = (0.1, 0.5, 2.0, 5.0)


class Unawaited:
    """Runs writes for callers who do not wait; none of its methods raises for a failed write."""

    def __init__(self, pauses_s: tuple[float, ...] = _PAUSES_S) -> None:
        """Try again after each of the pauses while the database cannot be reached."""
        self._pauses_s = pauses_s
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = asyncio.Event()

    async def run(self, operation: str, write: Callable[[], Awaitable[object]]) -> None:
        """Run a write to its end; `operation` names it in the log."""
        self._under_way += 1
        self._idle.clear()
        try:
            await self._tried(write)
        except ParleyError as error:
            report(operation, error.code)
        except Exception as error:  # noqa: BLE001 - the boundary: who started it does not wait
            report(operation, type(error).__name__)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def drain(self) -> None:
        """Wait for what is under way; what waits for the database is tried once more, now."""
        self._closing.set()
        try:
            await self._idle.wait()
        finally:
            self._closing.clear()

    async def _tried(self, write: Callable[[], Awaitable[object]]) -> None:
        for pause_s in self._pauses_s:
            last_try = self._closing.is_set()
            try:
                await write()
            except StorageUnavailable:
                if last_try:
                    raise
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), pause_s)
            else:
                return
        await write()


def report(operation: str, error: str) -> None:
    """Log and count a write that failed, by the kind of its error: the text may have the row."""
    STORE_ERRORS.labels(operation).inc()
    logger.error("A write of Chainlit was not kept", operation=operation, error=error)
