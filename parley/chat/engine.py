"""Engine: takes turn requests, runs turns as tasks of its own, lets readers follow them.

A turn belongs to its thread: whoever asked may leave, and it goes on. The rows decide; what is in
memory here is only what runs in this process.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from itertools import count

from parley.chat.deltas import FinishReason
from parley.chat.errors import (
    NotFound,
    ParleyError,
    ShuttingDown,
    StaleFence,
    StorageUnavailable,
    interrupted,
)
from parley.chat.events import Event
from parley.chat.listening import listen
from parley.chat.news import TurnNews
from parley.chat.ports import Catalogue, ContextBuilder, Live, TurnStore
from parley.chat.replay import ended_while_queued, replay
from parley.chat.requests import check_request, new_turn, too_many_running, unkept_turn
from parley.chat.running import RunConfig, RunningTurn
from parley.chat.saving import end_unheard
from parley.chat.turns import Begun, NewTurn, Turn, TurnRequest, TurnState
from parley.observability import metrics
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_ROUNDS_TO_ALL = 5
_UNSURE = (
    "The database did not answer: the message may not have been saved."
    " Send it again, with the same key if it had one."
)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Limits and clocks of the engine; the settings of the same names fill them."""

    replica_id: str
    run: RunConfig
    message_limit_bytes: int = 64 * 1024
    running_limit: int = 10
    queued_limit: int = 50
    checkpoint_s: float = 1.0
    log_kept_s: float = 60.0
    grace_s: float = 5.0


class Engine:
    """Begins, runs, follows and stops turns; make one with `open_engine`."""

    def __init__(
        self,
        config: EngineConfig,
        catalogue: Catalogue,
        context: ContextBuilder,
        turns: TurnStore,
        live: Live,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Wire the engine; turns run in `tasks`."""
        self._config = config
        self._catalogue = catalogue
        self._context = context
        self._turns = turns
        self._log = live.log
        self._announcements = live.announcements
        self._tasks = tasks
        self._beginning: dict[str, NewTurn] = {}
        self._running: dict[str, RunningTurn] = {}
        self._queued: dict[str, Turn] = {}
        # The context variables of who asked, the id of the request among them.
        self._asked_in: dict[str, Context] = {}
        # Turns whose row runs already, and that are to end as soon as they run here.
        self._to_stop: set[str] = set()
        # What ends turns whose beginning may have been written, and of which nobody heard.
        self._unheard: set[asyncio.Task[None]] = set()
        self._readers: Counter[str] = Counter()  # of turns that are not kept
        self._ended = asyncio.Event()
        self._draining = False

    async def submit(self, request: TurnRequest) -> Begun:
        """Write the turn and run or queue it; the same key again gives the same turn.

        Raises `InvalidRequest`, `TooLarge`, `UnknownModel`, `RateLimited`, `Conflict`, `NotFound`
        for a thread that is not the owner's, `StorageUnavailable`, `ShuttingDown`: then no
        provider was called and, but for an acknowledgement of the database that got lost, nothing
        was written.
        """
        if self._draining:
            raise ShuttingDown("This server is about to restart. Send the message again.")
        check_request(request, self._config.message_limit_bytes)
        new = new_turn(
            request,
            self._catalogue.resolve(request.model).info.id,
            replica_id=self._config.replica_id,
            max_queued=self._config.queued_limit,
            may_run=self._may_run(request.owner.id),
        )
        if not request.keep:
            if not new.may_run:
                raise too_many_running()
            return self._start(Begun(unkept_turn(request, new), created=True))
        self._beginning[new.id] = new
        # A task of its own: a caller that is cancelled now must not leave a turn that never runs.
        outcome = await asyncio.shield(self._tasks.create_task(self._begin(new)))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def follow(self, turn: Turn, after: int = 0, *, merge: bool = True) -> AsyncGenerator[Event]:
        """Give the turn's events with a seq above `after`, live to the end; the last is `Done`.

        `turn` comes from `submit` or `turn`: who has one may read it. A turn that is over is read
        from its rows, folded; a cursor that the log cannot resolve is answered by a `Snapshot`.
        A turn that is not kept is stopped when its last reader leaves.
        """
        if not self._log.holds(turn.id):
            return self._replay(turn, after)
        events = self._log.follow(turn.id, after, merge=merge)
        return events if turn.keep else self._while_read(turn, events)

    async def _while_read(self, turn: Turn, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        self._readers[turn.id] += 1
        try:
            async with aclosing(events):
                async for event in events:
                    yield event
        finally:
            self._readers[turn.id] -= 1
            if not self._readers[turn.id]:
                del self._readers[turn.id]
                if running := self._running.get(turn.id):
                    running.stop()

    async def _replay(self, turn: Turn, after: int) -> AsyncGenerator[Event]:
        for event in replay(await self._turns.turn(turn.owner_id, turn.id), after):
            yield event

    async def turn(self, owner_id: str, turn_id: str) -> Turn:
        """Find a turn of this owner; raises `NotFound`, also for one of someone else."""
        return await self._turns.turn(owner_id, turn_id)

    async def running(self, owner_id: str, thread_id: str) -> Turn | None:
        """Find the running turn of a thread of this owner."""
        return await self._turns.running(owner_id, thread_id)

    async def owns_thread(self, owner_id: str, thread_id: str) -> bool:
        """Say whether this owner has such a thread."""
        return await self._turns.owns_thread(owner_id, thread_id)

    def listen(self, owner_id: str, thread_id: str) -> AsyncGenerator[TurnNews]:
        """Give what is live in a thread of this owner, then its news, without an end.

        News of a turn come when it is begun, runs, and is over; those that this process missed
        come late. Of turns begun through any surface, here or elsewhere, if they are kept. Raises
        `NotFound`.
        """
        return listen(self._turns, self._announcements, owner_id, thread_id)

    async def stop(self, owner_id: str, turn_id: str) -> Turn:
        """Stop a turn: its upstream is closed, what is there of the answer is kept.

        Returns the turn as its row is then; stopping one that is over changes nothing.
        """
        running = self._running.get(turn_id)
        if running and running.turn.owner_id != owner_id:
            raise NotFound("There is no such turn.")
        if running and not running.turn.keep:
            running.stop()
            return running.turn
        try:
            turn = await self._turns.request_stop(owner_id, turn_id)
        except StorageUnavailable:
            if running is None:
                raise
            turn = running.turn  # its row will say it when it ends
        self._signal_stop(turn)
        return turn

    async def stop_thread(self, owner_id: str, thread_id: str) -> Turn | None:
        """Stop what runs in a thread, as `stop` does; None where nothing runs.

        What runs here is found without the database.
        """
        turn = self._running_here(owner_id, thread_id)
        turn = turn or await self._turns.running(owner_id, thread_id)
        return await self.stop(owner_id, turn.id) if turn else None

    def _running_here(self, owner_id: str, thread_id: str) -> Turn | None:
        for running in self._running.values():
            turn = running.turn
            if (turn.owner_id, turn.thread_id) == (owner_id, thread_id):
                return turn
        return None

    def _signal_stop(self, turn: Turn) -> None:
        if running := self._running.get(turn.id):
            running.stop()
        elif turn.state is TurnState.RUNNING:
            self._to_stop.add(turn.id)
        elif turn.state is TurnState.STOPPED:
            self._end_queued(turn, FinishReason.STOPPED)

    def _end_queued(
        self, turn: Turn, reason: FinishReason, error: ParleyError | None = None
    ) -> None:
        """Tell the readers of a turn that waits here that it will not run."""
        self._asked_in.pop(turn.id, None)
        if self._queued.pop(turn.id, None):
            self._announce(replace(turn, state=TurnState(reason.value)))
            self._log.append(turn.id, ended_while_queued(turn, reason, error))
            self._forget_later(turn.id)

    async def drain(self) -> None:
        """Begin nothing new; let what runs finish within the grace time, interrupt the rest.

        What is queued does not run any more: it ends as interrupted, in its row and for its
        readers. Returns when all turns of this process have ended.
        """
        self._draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.grace_s):
                await self._all_ended()
        for running in list(self._running.values()):
            running.interrupt()
        await self._all_ended()
        # Left only where the database is gone: the next start ends their rows.
        for turn in list(self._queued.values()):
            self._end_queued(turn, FinishReason.INTERRUPTED, interrupted())
        for task in self._unheard:
            task.cancel()

    async def _all_ended(self) -> None:
        while self._running or self._beginning:
            self._ended.clear()
            await self._ended.wait()

    async def checkpoint_forever(self) -> None:
        """Save the partial answers of all running turns, again and again, together.

        Now and then also those that have not grown: so a turn whose thread was deleted is
        noticed though its model is silent.
        """
        for number in count(1):
            await asyncio.sleep(self._config.checkpoint_s)
            again = number % _ROUNDS_TO_ALL == 0
            await asyncio.gather(
                *(self._checkpoint(run, again=again) for run in list(self._running.values()))
            )

    async def _checkpoint(self, running: RunningTurn, *, again: bool) -> None:
        answer = running.partial_answer(again=again)
        if answer is None:
            return
        try:
            await self._turns.checkpoint(running.turn, answer)
            running.checkpointed()
        except StaleFence:
            running.lose()
        except Exception as error:  # noqa: BLE001 - the turn's boundary: the next one tries again
            metrics.STORE_ERRORS.labels("checkpoint").inc()
            logger.warning(
                "Checkpoint not saved; the answer goes on",
                turn_id=running.turn.id,
                error=type(error).__name__,
            )

    async def _begin(self, new: NewTurn) -> Begun | Exception:
        """Give the error as a value: raised here, it would end every task of the engine."""
        try:
            return self._start(await self._turns.begin(new))
        except StorageUnavailable as error:
            return self._unsure(new, error)
        except Exception as error:  # noqa: BLE001 - raised by `submit`
            return error
        finally:
            del self._beginning[new.id]
            self._ended.set()

    def _unsure(self, new: NewTurn, error: StorageUnavailable) -> StorageUnavailable:
        """Make sure that a turn whose beginning was not acknowledged does not run for ever."""
        task = self._tasks.create_task(self._end_unheard(new))
        self._unheard.add(task)
        task.add_done_callback(self._unheard.discard)
        unsure = StorageUnavailable(_UNSURE, retry_after_s=error.retry_after_s)
        unsure.__cause__ = error
        return unsure

    async def _end_unheard(self, new: NewTurn) -> None:
        pauses_s = (self._config.run.first_pause_s, self._config.run.longest_pause_s)
        try:
            following = await end_unheard(
                new, self._turns, pauses_s, lambda: new.id in self._running
            )
        except Exception:  # raised here, it would end every task of the engine
            logger.exception("Turn of an unsure beginning was not ended", turn_id=new.id)
        else:
            if following:
                self._run(following)

    def _start(self, begun: Begun) -> Begun:
        turn = begun.turn
        if begun.created:
            self._log.append(turn.id, ())
            if turn.state is TurnState.RUNNING:
                self._run(turn)
            else:
                self._announce(turn)
                self._queued[turn.id] = turn
                self._asked_in[turn.id] = copy_context()
        return begun

    def _run(self, turn: Turn) -> None:
        if turn.id in self._running:
            return  # an end that was saved twice, since nobody heard of it the first time
        self._queued.pop(turn.id, None)
        running = RunningTurn(
            turn, self._config.run, self._catalogue, self._context, self._turns, self._log
        )
        if turn.id in self._to_stop:
            self._to_stop.discard(turn.id)
            running.stop()
        if self._draining:
            running.interrupt()
        self._running[turn.id] = running
        self._announce(turn)
        metrics.TURNS_RUNNING.set(len(self._running))
        self._tasks.create_task(
            self._run_to_end(running),
            name=f"turn {turn.id}",
            context=self._asked_in.pop(turn.id, None),
        )

    async def _run_to_end(self, running: RunningTurn) -> None:
        turn = running.turn
        try:
            following = await running.run()
        finally:
            self._running.pop(turn.id, None)
            self._announce(running.ended)
            metrics.TURNS_RUNNING.set(len(self._running))
            self._forget_later(turn.id)
            self._ended.set()
        if following:
            self._run(following)
        elif running.is_lost:
            # Its thread was deleted: nobody will run what waits in it.
            for queued in [q for q in self._queued.values() if q.thread_id == turn.thread_id]:
                self._end_queued(queued, FinishReason.INTERRUPTED)

    def _announce(self, turn: Turn) -> None:
        if turn.keep:
            self._announcements.announce(TurnNews.of(turn))

    def _forget_later(self, turn_id: str) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._config.log_kept_s, self._log.forget, turn_id)

    def _may_run(self, owner_id: str) -> bool:
        """Whether the owner may run another turn, counting those that are being written."""
        mine = {id for id, new in self._beginning.items() if new.owner.id == owner_id}
        mine |= {id for id, run in self._running.items() if run.turn.owner_id == owner_id}
        return len(mine) < self._config.running_limit


@asynccontextmanager
async def open_engine(
    config: EngineConfig,
    catalogue: Catalogue,
    context: ContextBuilder,
    turns: TurnStore,
    live: Live,
) -> AsyncIterator[Engine]:
    """Run an engine; on leaving it drains. What an earlier process left is ended first."""
    orphans = await turns.interrupt_orphans(config.replica_id)
    if orphans:
        logger.warning("Turns of an earlier process were interrupted", count=orphans)
    async with asyncio.TaskGroup() as tasks:
        engine = Engine(config, catalogue, context, turns, live, tasks)
        checkpoints = tasks.create_task(engine.checkpoint_forever())
        try:
            yield engine
        finally:
            await engine.drain()
            checkpoints.cancel()
