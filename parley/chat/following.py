"""Following: a turn is read from its log, wherever it is written, and else from its rows."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing

from parley.chat.deltas import FinishReason
from parley.chat.errors import HandedOver, NotFound, StorageUnavailable
from parley.chat.events import Done, Event, Snapshot, TurnStart, first_seq
from parley.chat.ports import TurnLog, TurnStore
from parley.chat.replay import is_folded, is_of_nowhere, replay
from parley.chat.turns import Turn

_HANDED_OVER = "This server is about to restart, and another one writes the answer: connect again."


class Follower:
    """Reads turns for any number of readers; see `Engine.follow` for the promises."""

    def __init__(self, turns: TurnStore, log: TurnLog) -> None:
        """Read from `log` what is live, and from `turns` what is not."""
        self.is_draining = False
        self._turns = turns
        self._log = log
        self._reads: dict[str, asyncio.Task[Turn]] = {}

    def follow(self, turn: Turn, after: int, *, merge: bool) -> AsyncGenerator[Event]:
        """Do what `Engine.follow` promises."""
        if is_of_nowhere(turn, after):
            return self._anew(turn, merge=merge)
        if turn.state.is_over and (is_folded(turn, after) or not self._log.holds(turn.id)):
            return self._replay(turn, after)
        # Bound now: it may be forgotten before the first event.
        return self._live(turn, after, self._log.follow(turn.id, after, merge=merge), merge)

    async def _anew(self, turn: Turn, *, merge: bool) -> AsyncGenerator[Event]:
        """Take back what a reader has whose cursor is none of this turn, and give it all."""
        yield Snapshot(turn.id, first_seq(1) - 1, "", "")
        async with aclosing(self.follow(turn, 0, merge=merge)) as events:
            async for event in events:
                yield event

    async def _replay(self, turn: Turn, after: int) -> AsyncGenerator[Event]:
        for event in replay(await self._turns.turn(turn.owner_id, turn.id), after):
            yield event

    async def _live(
        self, turn: Turn, after: int, log: AsyncGenerator[Event], merge: bool
    ) -> AsyncGenerator[Event]:
        is_done = False
        while True:
            async with aclosing(log) as events:
                async for event in events:
                    after, is_done = event.seq, isinstance(event, Done)
                    yield event
            # What is written here ends before `Done` only for a reader that has it already.
            if is_done or self._log.holds(turn.id):
                return
            if self.is_draining:
                raise HandedOver(_HANDED_OVER)
            log = self._next(turn, after, merge=merge)

    async def _next(self, turn: Turn, after: int, *, merge: bool) -> AsyncGenerator[Event]:
        """Give what the rows have of a turn of which the log has said nothing, then its log."""
        async for event in self._kept(turn, after):
            after = event.seq
            yield event
            if isinstance(event, Done):
                return
        async with aclosing(self._log.follow(turn.id, after, merge=merge)) as events:
            async for event in events:
                yield event

    async def _kept(self, turn: Turn, after: int) -> AsyncIterator[Event]:
        """Give what the rows have of a turn of which the log says nothing now."""
        try:
            row = await self._row(turn)
        except StorageUnavailable:
            return
        except NotFound:
            yield Done(turn.id, after + 1, FinishReason.INTERRUPTED, None, 0)
            return
        for event in replay(row, after) if row.state.is_over else _checkpoint(row, after):
            yield event

    async def _row(self, turn: Turn) -> Turn:
        """Read the row, once for all that want it now."""
        read = self._reads.get(turn.id)
        if read is None:
            read = asyncio.ensure_future(self._turns.turn(turn.owner_id, turn.id))
            self._reads[turn.id] = read
            read.add_done_callback(lambda done: self._forget(turn.id, done))
        return await asyncio.shield(read)

    def _forget(self, turn_id: str, read: asyncio.Task[Turn]) -> None:
        del self._reads[turn_id]
        if not read.cancelled():
            read.exception()  # taken note of, also where every reader has left


def _checkpoint(row: Turn, after: int) -> Iterator[Event]:
    """Give the last checkpoint where it goes beyond the cursor."""
    answer = row.answer
    if answer.seq <= after:
        return
    first = first_seq(row.fence)
    if after < first < answer.seq:
        yield TurnStart(row.id, first, row.thread_id, row.answer_step_id, row.model)
    yield Snapshot(row.id, answer.seq, answer.text, answer.reasoning)
