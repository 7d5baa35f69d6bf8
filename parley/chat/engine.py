"""Engine: takes turn requests, runs turns as tasks of its own, lets readers follow them.

A turn belongs to its thread: whoever asked may leave, and it goes on. The rows decide; what is in
memory here is only what runs in this process.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace

from parley.chat.errors import NotFound, ShuttingDown, StorageUnavailable
from parley.chat.events import Event
from parley.chat.following import Follower
from parley.chat.keeping import Keeper
from parley.chat.limits import UNLIMITED, Admission
from parley.chat.listening import listen
from parley.chat.news import Heard
from parley.chat.pacing import paced
from parley.chat.ports import Catalogue, ContextBuilder, Live, Ownership, TurnStore
from parley.chat.requests import check_request, new_turn, too_many_running, unkept_turn
from parley.chat.running import RunningTurn
from parley.chat.runs import EngineConfig, Runs
from parley.chat.turns import Begun, NewTurn, Turn, TurnRequest
from parley.observability.logs import get_logger

logger = get_logger(__name__)

# How long a stop of what runs here waits for its row: upstreams close within 250 ms.
_STOP_PATIENCE_S = 0.15
_UNSURE = (
    "The database did not answer: the message may not have been saved."
    " Send it again, with the same key if it had one."
)


class Engine:
    """Begins, runs, follows and stops turns; make one with `open_engine`."""

    def __init__(  # noqa: PLR0913 - `open_engine` wires it, once
        self,
        config: EngineConfig,
        catalogue: Catalogue,
        turns: TurnStore,
        live: Live,
        keeper: Keeper,
        admission: Admission,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Wire the engine; see `open_engine`."""
        self._admission = admission
        self._config = config
        self._catalogue = catalogue
        self._turns = turns
        self._announcements = live.announcements
        self._follower = Follower(turns, live.log)
        self._keeper = keeper
        self._runs = keeper.runs
        self._tasks = tasks
        self._beginning: dict[str, NewTurn] = {}
        self._readers: Counter[str] = Counter()  # of turns that are not kept
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
        info = self._catalogue.resolve(request.model).info
        check_request(
            request, info, self._config.message_limit_bytes, self._config.image_limit_bytes
        )
        self._config.run.tools.tools.check(request.extras, info)
        new = new_turn(
            request,
            info.id,
            replica_id=self._config.replica_id,
            max_queued=self._config.queued_limit,
            max_running=self._config.running_limit - len(self._runs.unkept_of(request.owner.id)),
        )
        if refusal := await self._admission.admit(new.id, request):
            new = replace(new, refusal=refusal)
        if not request.keep:
            if new.refusal:
                raise new.refusal
            if not self._may_run(request.owner.id):
                self._admission.settle(new.id, None)
                raise too_many_running()
            return self._start(Begun(unkept_turn(request, new), created=True))
        self._beginning[new.id] = new
        # A task of its own: a caller that is cancelled now must not leave a turn that never runs.
        outcome = await asyncio.shield(self._tasks.create_task(self._begin(new)))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def message_limit_bytes(self) -> int:
        """How many bytes of UTF-8 a message may have."""
        return self._config.message_limit_bytes

    def image_room(self, model: str | None) -> int:
        """How many bytes of images a message to this model may have; 0 where it sees none."""
        can = self._catalogue.resolve(model).info.capabilities
        return self._config.image_limit_bytes if can.vision else 0

    def follow(self, turn: Turn, after: int = 0, *, merge: bool = True) -> AsyncGenerator[Event]:
        """Give the turn's events with a seq above `after`, live to the end; the last is `Done`.

        `turn` comes from `submit` or `turn`: who has one may read it. A turn that is over is read
        from its rows, folded; a cursor that the log cannot resolve is answered by a `Snapshot`. A
        turn that runs on another replica is read from the shared log, and where that is lost or
        away from its checkpoints. Raises `HandedOver` where this process ends before the turn. A
        turn that is not kept is stopped when its last reader leaves.
        """
        pause_s = self._config.pace_s
        events = self._follower.follow(turn, after, merge=merge and not pause_s)
        if pause_s and not turn.state.is_over:
            events = paced(events, pause_s, turn.answer.seq)
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
                if running := self._runs.get(turn.id):
                    running.stop()

    def has_run(self, turn: Turn) -> bool:
        """Whether the turn ran here and is over: its log has all of it already."""
        return self._runs.knows(turn.id, turn.fence) and not self._runs.get(turn.id)

    async def turn(self, owner_id: str, turn_id: str) -> Turn:
        """Find a turn of this owner; raises `NotFound`, also for one of someone else."""
        return await self._turns.turn(owner_id, turn_id)

    async def running(self, owner_id: str, thread_id: str) -> Turn | None:
        """Find the running turn of a thread of this owner."""
        return await self._turns.running(owner_id, thread_id)

    async def owns_thread(self, owner_id: str, thread_id: str) -> bool:
        """Say whether this owner has such a thread."""
        return await self._turns.owns_thread(owner_id, thread_id)

    def listen(self, owner_id: str, thread_id: str) -> AsyncGenerator[Heard]:
        """Give what is live in a thread of this owner, then its news, without an end.

        News of a turn come when it is begun, runs, and is over; those that this process missed
        come late, and then `CaughtUp`. Of turns begun through any surface, here or elsewhere, if
        they are kept. And of the names that the owner's threads get from now on. Raises `NotFound`.
        """
        return listen(self._turns, self._announcements, owner_id, thread_id)

    async def stop(self, owner_id: str, turn_id: str) -> Turn:
        """Stop a turn: its upstream is closed, what is there of the answer is kept.

        Returns the turn as its row is then; stopping one that is over changes nothing.
        """
        running = self._runs.get(turn_id)
        if running and running.turn.owner_id != owner_id:
            raise NotFound("There is no such turn.")
        if running and not running.turn.keep:
            running.stop()
            return running.turn
        asked = asyncio.ensure_future(self._turns.request_stop(owner_id, turn_id))
        if running:
            await asyncio.wait({asked}, timeout=_STOP_PATIENCE_S)
            if not asked.done():
                running.stop()  # the database is slow to answer: what runs here need not wait
        try:
            turn = await asked
        except StorageUnavailable:
            if running is None:
                raise
            turn = running.turn  # its row will say it when it ends
        self._runs.stopped(turn)
        return turn

    async def stop_thread(self, owner_id: str, thread_id: str) -> Turn | None:
        """Stop what runs in a thread, as `stop` does; None where nothing runs.

        What runs here is found without the database.
        """
        turn = self._runs.in_thread(owner_id, thread_id)
        turn = turn or await self._turns.running(owner_id, thread_id)
        return await self.stop(owner_id, turn.id) if turn else None

    @contextmanager
    def telling(self, listener: Callable[[Turn], None]) -> Iterator[None]:
        """Tell of every turn that ends in this process, kept or not; it must not wait or raise."""
        self._runs.listeners.append(listener)
        try:
            yield
        finally:
            self._runs.listeners.remove(listener)

    async def drain(self) -> None:
        """Begin nothing new; let what runs finish within the grace time, and leave the rest.

        Where another replica lives it carries on with the rest, and with what is queued. Else that
        ends as interrupted, in its rows and for its readers. Returns when nothing runs here any
        more.
        """
        self._draining = True
        has_heirs = await self._keeper.drain()
        await self._runs.drain(has_heirs=has_heirs, is_beginning=lambda: bool(self._beginning))
        self._follower.is_draining = has_heirs

    async def _begin(self, new: NewTurn) -> Begun | Exception:
        """Give the error as a value: raised here, it would end every task of the engine."""
        begun = None
        try:
            begun = self._start(await self._turns.begin(new))
            return begun
        except StorageUnavailable as error:
            logger.error("Message was not written", thread_id=new.thread_id, reason=error.message)  # noqa: TRY400 - it says enough
            # Where it was written all the same, the keeper finds it and runs it.
            unsure = StorageUnavailable(_UNSURE, retry_after_s=error.retry_after_s)
            unsure.__cause__ = error
            return unsure
        except Exception as error:  # noqa: BLE001 - raised by `submit`
            return error
        finally:
            if begun is None or not begun.created:
                self._admission.settle(new.id, None)
            del self._beginning[new.id]
            self._runs.something_ended()

    def _start(self, begun: Begun) -> Begun:
        if begun.created:
            self._runs.begun(begun.turn)
        return begun

    def _may_run(self, owner_id: str) -> bool:
        """Whether the owner may run another turn here, counting those that are being written."""
        mine = {id for id, new in self._beginning.items() if new.owner.id == owner_id}
        return len(mine | self._runs.of_owner(owner_id)) < self._config.running_limit


@asynccontextmanager
async def open_engine(  # noqa: PLR0913 - app.py wires it, once
    config: EngineConfig,
    catalogue: Catalogue,
    context: ContextBuilder,
    turns: TurnStore,
    live: Live,
    ownership: Ownership,
    admission: Admission = UNLIMITED,
) -> AsyncIterator[Engine]:
    """Run an engine; on leaving it drains. What an earlier process left is looked after first."""

    def make(turn: Turn) -> RunningTurn:
        return RunningTurn(turn, config.run, catalogue, context, turns, live.log, admission)

    async with asyncio.TaskGroup() as tasks:
        runs = Runs(config, make, turns, live, admission, tasks)
        keeper = Keeper(config, runs, turns, ownership, live)
        engine = Engine(config, catalogue, turns, live, keeper, admission, tasks)
        await keeper.look()
        forever = [
            tasks.create_task(runs.checkpoint_forever()),
            tasks.create_task(keeper.keep_forever()),
            tasks.create_task(keeper.hear_forever()),
        ]
        try:
            yield engine
        finally:
            await engine.drain()
            for task in forever:
                task.cancel()
