"""Runs: the turns that run, and wait, in this process."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, replace

from parley.chat.deltas import FinishReason
from parley.chat.errors import ParleyError, interrupted
from parley.chat.identities import Credentials
from parley.chat.limits import Admission
from parley.chat.news import TurnNews
from parley.chat.ports import Live, Tools, TurnStore
from parley.chat.replay import ended_while_queued
from parley.chat.running import RunConfig, RunningTurn
from parley.chat.turns import Turn, TurnState
from parley.observability import metrics
from parley.observability.logs import get_logger

logger = get_logger(__name__)

# How long a stop is kept in mind of a turn that does not run here yet: by then its row was read.
_TO_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Limits and clocks of the engine; the settings of the same names fill them.

    With `carries_on` a turn of a dead replica is written on here; without, it is interrupted.
    """

    replica_id: str
    run: RunConfig
    message_limit_bytes: int = 64 * 1024
    image_limit_bytes: int = 5 * 1024 * 1024
    running_limit: int = 10
    queued_limit: int = 50
    checkpoint_s: float = 1.0
    # So soon where the checkpoint before failed, or nobody else can read what is shown.
    checkpoint_soon_s: float = 0.25
    log_kept_s: float = 60.0
    grace_s: float = 5.0
    look_s: float = 0.5
    # Between two texts of what is live, for whoever reads it; 0: as fast as they come.
    pace_s: float = 0.0
    carries_on: bool = False
    # How long a replica leaves the turns of a dead one to others, while it cannot read their logs.
    deaf_patience_s: float = 1.0
    # A turn whose owner is dead for longer, or that had so many, is not carried on.
    orphan_s: float = 60.0
    most_owners: int = 5

    def with_tools(self, tools: Tools) -> "EngineConfig":
        """Give the engine these tools."""
        usage = replace(self.run.tools, tools=tools)
        return replace(self, run=replace(self.run, tools=usage))

    def with_credentials(self, credentials: Credentials) -> "EngineConfig":
        """Let the engine ask providers with these."""
        attempts = replace(self.run.attempts, credentials=credentials)
        return replace(self, run=replace(self.run, attempts=attempts))


class Runs:
    """Starts turns as tasks, saves what they write, and ends them when the process ends."""

    def __init__(
        self,
        config: EngineConfig,
        make: Callable[[Turn], RunningTurn],
        turns: TurnStore,
        live: Live,
        admission: Admission,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Run what `make` makes of a turn in `tasks`."""
        self._admission = admission
        self._config = config
        self._make = make
        self._turns = turns
        self._log = live.log
        self._announcements = live.announcements
        self._tasks = tasks
        self._running: dict[str, RunningTurn] = {}
        # Turns that run here or did lately: whatever is heard of them late, they run once.
        self._known: set[tuple[str, int]] = set()
        self._queued: dict[str, Turn] = {}
        # The context variables of who asked, the id of the request among them.
        self._asked_in: dict[str, Context] = {}
        self._to_stop: set[str] = set()
        # Who wants to hear of every turn that is over here.
        self.listeners: list[Callable[[Turn], None]] = []
        self._ended = asyncio.Event()
        self._is_draining = False
        self._hands_over = False

    def begun(self, turn: Turn) -> None:
        """Run a turn that was begun here, or let it wait."""
        if turn.state is TurnState.RUNNING:
            self.run(turn, copy_context())
        else:
            self._queued[turn.id] = turn
            self._asked_in[turn.id] = copy_context()
            self.announce(turn)

    def run(self, turn: Turn, context: Context | None = None) -> None:
        """Run a turn of this replica, once."""
        if self.knows(turn.id, turn.fence):
            return
        self._known.add((turn.id, turn.fence))
        self._queued.pop(turn.id, None)
        running = self._make(turn)
        self._log.begin(turn.id, shared=turn.keep)
        if turn.id in self._to_stop:
            running.stop()
        if self._is_draining:
            self._end_for_drain(running)
        self._running[turn.id] = running
        self.announce(turn)
        metrics.TURNS_RUNNING.set(len(self._running))
        self._tasks.create_task(
            self._run_to_end(running),
            name=f"turn {turn.id}",
            context=self._asked_in.pop(turn.id, context),
        )

    def give_up(self, turn: Turn) -> None:
        """End a turn of this replica as interrupted; what there is of its answer is kept."""
        self.run(turn)
        self._running[turn.id].give_up()

    def knows(self, turn_id: str, fence: int) -> bool:
        """Whether the turn runs here under this fence, or did lately."""
        return (turn_id, fence) in self._known

    def running(self) -> dict[str, RunningTurn]:
        """Give what runs here now."""
        return dict(self._running)

    def get(self, turn_id: str) -> RunningTurn | None:
        """Find a turn that runs here."""
        return self._running.get(turn_id)

    def in_thread(self, owner_id: str, thread_id: str) -> Turn | None:
        """Find what runs here in a thread of this owner."""
        for running in self._running.values():
            turn = running.turn
            if (turn.owner_id, turn.thread_id) == (owner_id, thread_id):
                return turn
        return None

    def unkept_of(self, owner_id: str) -> set[str]:
        """Name what runs here for an owner, and has no row."""
        return {id for id in self.of_owner(owner_id) if not self._running[id].turn.keep}

    def of_owner(self, owner_id: str) -> set[str]:
        """Name what runs here for an owner."""
        return {id for id, run in self._running.items() if run.turn.owner_id == owner_id}

    def stopped(self, turn: Turn) -> None:
        """Do, as far as it runs or waits here, what the stop in a turn's row says."""
        if running := self._running.get(turn.id):
            running.stop()
        elif turn.state is TurnState.RUNNING:
            # It may be about to run here; elsewhere somebody hears of it.
            self._to_stop.add(turn.id)
            asyncio.get_running_loop().call_later(_TO_STOP_S, self._to_stop.discard, turn.id)
            self.announce(turn)
        elif turn.state is TurnState.STOPPED:
            self._end_queued(turn, FinishReason.STOPPED)

    async def check_queued(self, turn_id: str | None = None) -> None:
        """Read how it went on, elsewhere, with what waits here; with all of it for None."""
        for turn in [t for t in self._queued.values() if turn_id in {None, t.id}]:
            with suppress(ParleyError):
                row = await self._turns.turn(turn.owner_id, turn.id)
                if row.state.is_over and row.answer.duration_ms is None:  # it never ran
                    self._end_queued(row, row.answer.finish_reason or FinishReason.INTERRUPTED)
                elif row.state is not TurnState.QUEUED:
                    self._forget_queued(turn.id)

    def announce(self, turn: Turn) -> None:
        """Tell whoever has the thread open what the turn is now."""
        if turn.keep:
            self._announcements.announce(TurnNews.of(turn))

    async def drain(self, *, has_heirs: bool, is_beginning: Callable[[], bool]) -> None:
        """Let what runs finish within the grace time; hand the rest over, or interrupt it."""
        self._is_draining = True
        self._hands_over = has_heirs
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.grace_s):
                await self._all_ended(is_beginning)
        for running in list(self._running.values()):
            self._end_for_drain(running)
        await self._all_ended(is_beginning)
        # Left only where another replica has them, or the database is gone: the next start then
        # ends their rows.
        for turn in [] if has_heirs else list(self._queued.values()):
            self._end_queued(turn, FinishReason.INTERRUPTED, interrupted())

    def something_ended(self) -> None:
        """Let a drain look again."""
        self._ended.set()

    async def checkpoint_forever(self) -> None:
        """Save the partial answers of all running turns, again and again, together."""
        soon_s = min(self._config.checkpoint_soon_s, self._config.checkpoint_s)
        is_saved = True
        while True:
            await asyncio.sleep(soon_s)
            if is_saved:
                await self._log_fails(within_s=self._config.checkpoint_s - soon_s)
            runs = list(self._running.values())
            is_saved = all(await asyncio.gather(*(run.try_checkpoint() for run in runs)))

    async def _log_fails(self, within_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._log.failed()

    async def _all_ended(self, is_beginning: Callable[[], bool]) -> None:
        while self._running or is_beginning():
            self._ended.clear()
            await self._ended.wait()

    def _end_for_drain(self, running: RunningTurn) -> None:
        if self._hands_over and running.turn.keep:
            running.hand_over()
        else:
            running.interrupt()

    async def _run_to_end(self, running: RunningTurn) -> None:
        turn = running.turn
        try:
            following = await running.run()
        finally:
            self._running.pop(turn.id, None)
            metrics.TURNS_RUNNING.set(len(self._running))
            self._forget_later(turn)
            if not running.goes_on_elsewhere:
                self._admission.settle(turn.id, running.spent_tokens)
                self.announce(running.ended)
                for tell in self.listeners:
                    tell(running.ended)
            self._ended.set()
        if following:
            self.run(following)
        elif running.is_lost and not running.goes_on_elsewhere:
            # Its thread was deleted: nobody will run what waits in it.
            for queued in [q for q in self._queued.values() if q.thread_id == turn.thread_id]:
                self._end_queued(queued, FinishReason.INTERRUPTED)

    def _end_queued(
        self, turn: Turn, reason: FinishReason, error: ParleyError | None = None
    ) -> None:
        """Tell the readers of a turn that waits here that it will not run."""
        if self._forget_queued(turn.id):
            self._admission.settle(turn.id, 0)
            self._log.append(turn.id, ended_while_queued(turn, reason, error))
            self._forget_later(turn)
        state = turn.state if turn.state.is_over else TurnState(reason.value)
        self.announce(replace(turn, state=state))

    def _forget_queued(self, turn_id: str) -> Turn | None:
        self._asked_in.pop(turn_id, None)
        return self._queued.pop(turn_id, None)

    def _forget_later(self, turn: Turn) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._config.log_kept_s, self._forget, turn)

    def _forget(self, turn: Turn) -> None:
        self._known.discard((turn.id, turn.fence))
        if not any(turn_id == turn.id for turn_id, _ in self._known):
            self._log.forget(turn.id)
