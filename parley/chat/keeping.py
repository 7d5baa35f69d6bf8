"""Keeping: this replica looks after what it owns, and takes what the dead have left.

Twice a second, and when there is news that concern it, it reads its rows. What they say is done: a
stop that was written elsewhere, a turn that is another's now, one that runs by its row and not by
anybody's hand. News only wake it: they decide nothing.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from parley.chat.errors import ParleyError, StorageUnavailable
from parley.chat.inherited import interrupted_end
from parley.chat.news import TurnNews
from parley.chat.ownership import Look, Orphan, Owned
from parley.chat.ports import Live, Ownership, TurnStore
from parley.chat.running import RunningTurn
from parley.chat.runs import EngineConfig, Runs
from parley.chat.turns import Turn, TurnState
from parley.observability import metrics
from parley.observability.logs import get_logger

logger = get_logger(__name__)


class Keeper:
    """Looks after the turns of this replica; see the module."""

    def __init__(
        self,
        config: EngineConfig,
        runs: Runs,
        turns: TurnStore,
        ownership: Ownership,
        live: Live,
    ) -> None:
        """Look after `runs`."""
        self._is_draining = False
        self._config = config
        self.runs = runs
        self._turns = turns
        self._ownership = ownership
        self._announcements = live.announcements
        self._log = live.log
        self._woken = asyncio.Event()
        # Rows that say that this replica runs them, and it does not, by the last look.
        self._idle: set[tuple[str, int]] = set()
        # Since when a turn, under this fence, is nobody's.
        self._left_since: dict[tuple[str, int], float] = {}

    async def keep_forever(self) -> None:
        """Look, again and again."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.look_s):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self.look()
            except StorageUnavailable as error:
                logger.debug("Turns were not looked after", reason=error.message)
            except Exception:  # the loop's edge: raised here, it would end every task
                logger.exception("Turns were not looked after")

    async def hear_forever(self) -> None:
        """Look at once where there is news of a turn that runs or waits here."""
        with self._announcements.listening(None) as arriving:
            async for news in arriving:
                assert isinstance(news, TurnNews | None)
                try:
                    await self._hear(news)
                except Exception:  # the loop's edge, as above
                    logger.exception("News were not understood")

    async def _hear(self, news: TurnNews | None) -> None:
        running = self.runs.get(news.turn_id) if news else None
        if news is None or (running and _concerns(running, news)):
            self._woken.set()
        if running is None:
            await self.runs.check_queued(news.turn_id if news else None)

    async def drain(self) -> bool:
        """Take nothing any more; say whether another replica takes what this one leaves."""
        self._is_draining = True
        if not self._config.carries_on:
            return False
        try:
            return await self._ownership.has_heirs()
        except StorageUnavailable:
            return False

    async def look(self) -> None:
        """Do what the rows say; raises `StorageUnavailable`."""
        before = self.runs.running()
        look = await self._ownership.look()
        self._keep(before, look)
        await self._adopt(look)
        for orphan in self._due(look.orphans):
            await self._inherit(orphan)

    def _keep(self, before: dict[str, RunningTurn], look: Look) -> None:
        """Lose what is another's, or deleted; stop what is to be stopped."""
        mine = {owned.turn_id: owned for owned in look.mine}
        for turn_id, running in before.items():
            owned = mine.get(turn_id)
            if not running.turn.keep or running.is_ending:
                continue
            if owned is None or owned.fence != running.turn.fence:
                running.lose()
            elif owned.stop_requested:
                running.stop()

    async def _adopt(self, look: Look) -> None:
        """Run what nobody here runs: its beginning was written, and its writing not heard of."""
        idle = {(o.turn_id, o.fence): o for o in look.mine if self._is_idle(o)}
        for key in idle.keys() & self._idle:
            with suppress(ParleyError):
                turn = await self._turns.turn(idle[key].owner_id, idle[key].turn_id)
                if turn.state is TurnState.RUNNING and turn.fence == idle[key].fence:
                    logger.warning("A turn runs whose beginning was not heard of", turn_id=turn.id)
                    self.runs.run(turn)
        self._idle = set(idle)

    def _is_idle(self, owned: Owned) -> bool:
        return not self._is_draining and not self.runs.knows(owned.turn_id, owned.fence)

    def _due(self, orphans: Sequence[Orphan]) -> list[Orphan]:
        """Choose what to take; without the shared log, others are let go first: they can read it."""
        now = monotonic()
        self._left_since = {
            (o.turn_id, o.fence): self._left_since.get((o.turn_id, o.fence), now) for o in orphans
        }
        patience_s = 0.0 if self._log.is_shared else self._config.deaf_patience_s
        due = now - patience_s
        return [o for o in orphans if self._left_since[o.turn_id, o.fence] <= due]

    async def _inherit(self, orphan: Orphan) -> None:
        """Carry on with what the dead have left; what nobody waits for any more ends."""
        if self._is_draining:
            return
        turn = await self._ownership.take_over(orphan)
        if turn is None:
            return
        metrics.TAKEOVERS.inc()
        config = self._config
        logger.warning(
            "Turn of a dead server taken over",
            turn_id=turn.id,
            fence=turn.fence,
            replica=orphan.replica_id,
        )
        if not config.carries_on:
            await self._interrupt(turn)
        elif orphan.age_s > config.orphan_s or turn.fence > config.most_owners:
            self.runs.give_up(turn)
        else:
            self.runs.run(turn)

    async def _interrupt(self, turn: Turn | None) -> None:
        """End a turn, and all that wait behind it."""
        while turn:
            following = await self._turns.finish(turn, interrupted_end(turn))
            self.runs.announce(await self._turns.turn(turn.owner_id, turn.id))
            turn = following


def _concerns(running: RunningTurn, news: TurnNews) -> bool:
    return news.stop_requested or news.fence > running.turn.fence
