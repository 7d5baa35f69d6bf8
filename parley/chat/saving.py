"""Saving: the end of a turn goes into its row, also where the database is away for a while."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic

from parley.chat.errors import StaleFence, StorageUnavailable
from parley.chat.ports import ContextBuilder, TurnStore
from parley.chat.turns import Answer, Context, Turn
from parley.observability import metrics
from parley.observability.logs import get_logger

logger = get_logger(__name__)


class Saver:
    """Saves the end of one turn; until it has, nothing else runs in the thread."""

    def __init__(
        self,
        turn: Turn,
        turns: TurnStore,
        context: ContextBuilder,
        *,
        pauses_s: tuple[float, float],
        process_ends: asyncio.Event,
    ) -> None:
        """Save the end of `turn`; the first and the longest pause between two tries."""
        self.is_lost = False
        self.following: Turn | None = None
        # What the model saw, once that is known.
        self.built: Context | None = None
        self._is_saved = not turn.keep
        self._turn = turn
        self._turns = turns
        self._context = context
        self._pauses_s = pauses_s
        self._process_ends = process_ends

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to save any more; `following` is then the thread's next turn."""
        return self._is_saved or self.is_lost

    async def save(self, answer: Answer, retry_s: float) -> None:
        """Save the end, for `retry_s` again and again; raises what the last try raised.

        Only a database that is away is tried again. Where the turn has another owner, it is lost.
        """
        give_up_at = monotonic() + retry_s
        for pause_s in pauses(*self._pauses_s):
            if self.is_settled:
                return
            try:
                await self._finish(answer)
            except StorageUnavailable:
                if self._process_ends.is_set() or monotonic() + pause_s > give_up_at:
                    raise
                await self._pause(pause_s)

    async def save_once(self, answer: Answer) -> None:
        """Try to save the end; `is_settled` says whether it is."""
        try:
            await self.save(answer, 0)
        except Exception as error:  # noqa: BLE001 - the turn's boundary, told by its first failure
            metrics.STORE_ERRORS.labels("finish").inc()
            logger.debug("Still not saved", turn_id=self._turn.id, error=type(error).__name__)

    async def save_late(self, answer: Answer) -> None:
        """Go on trying after the readers were told, for as long as the process lives."""
        for pause_s in pauses(*self._pauses_s):
            await self.save_once(answer)
            if self.is_settled:
                return
            if self._process_ends.is_set():
                # The next start of the process ends the turn.
                logger.error("Answer was never saved", turn_id=self._turn.id)
                return
            await self._pause(pause_s)

    async def _finish(self, answer: Answer) -> None:
        try:
            self.following = await self._turns.finish(self._turn, answer)
        except StaleFence:
            self.is_lost = True
        else:
            self._is_saved = True
            await self._extend_context(answer)

    async def _extend_context(self, answer: Answer) -> None:
        if self.built is None:
            return
        try:
            await self._context.extend(self._turn, self.built, answer)
        except Exception:  # never the reason to lose a saved turn: the next one rebuilds it
            logger.exception("Context was not extended", turn_id=self._turn.id)

    async def _pause(self, pause_s: float) -> None:
        """Wait, but no longer than the process has."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._process_ends.wait()


def pauses(first_s: float, longest_s: float) -> Iterator[float]:
    """Give pauses between tries for ever, each twice the one before."""
    pause_s = first_s
    while True:
        yield pause_s
        pause_s = min(pause_s * 2, longest_s)
