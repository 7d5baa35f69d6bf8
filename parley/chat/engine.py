"""Engine: takes turn requests, runs turns as tasks of its own, lets readers follow them.

A turn belongs to its thread: whoever asked may leave, and it goes on. The rows decide; what is in
memory here is only what runs in this process.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from parley.chat.errors import (
    InvalidRequest,
    NotFound,
    RateLimited,
    ShuttingDown,
    StaleFence,
    StorageUnavailable,
    TooLarge,
)
from parley.chat.events import Event
from parley.chat.ports import Catalogue, ContextBuilder, TurnLog, TurnStore
from parley.chat.replay import ended_while_queued, replay
from parley.chat.running import RunConfig, RunningTurn
from parley.chat.turns import Answer, Begun, NewTurn, Turn, TurnRequest, TurnState
from parley.observability import metrics
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_NAME_CHARS = 120


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
        log: TurnLog,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Wire the engine; turns run in `tasks`."""
        self._config = config
        self._catalogue = catalogue
        self._context = context
        self._turns = turns
        self._log = log
        self._tasks = tasks
        self._running: dict[str, RunningTurn] = {}
        self._draining = False

    async def submit(self, request: TurnRequest) -> Begun:
        """Write the turn and run or queue it; the same key again gives the same turn.

        Raises `InvalidRequest`, `TooLarge`, `UnknownModel`, `RateLimited`, `Conflict`, `NotFound`
        for a thread that is not the owner's, `StorageUnavailable`, `ShuttingDown`: then nothing
        was written and no provider was called.
        """
        if self._draining:
            raise ShuttingDown("This server is about to restart. Send the message again.")
        self._check_text(request.text)
        model = self._catalogue.resolve(request.model).info.id
        self._check_running(request.owner.id)
        new = self._new_turn(request, model)
        if not request.keep:
            return self._start(Begun(_unkept(request, new), created=True))
        # A task of its own: a caller that is cancelled now must not leave a turn that never runs.
        outcome = await asyncio.shield(self._tasks.create_task(self._begin(new)))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def follow(
        self, turn: Turn, after: int = 0, *, merge: bool = True
    ) -> AsyncIterator[Event]:
        """Give the turn's events with a seq above `after`, live to the end; the last is `Done`.

        `turn` comes from `submit` or `turn`: who has one may read it. A turn that is over is read
        from its rows, folded; a cursor that the log cannot resolve is answered by a `Snapshot`.
        """
        if self._log.holds(turn.id):
            async for event in self._log.follow(turn.id, after, merge=merge):
                yield event
            return
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

    async def stop(self, owner_id: str, turn_id: str) -> Turn:
        """Stop a turn: its upstream is closed, what is there of the answer is kept.

        Returns the turn as it was found; stopping one that is over changes nothing.
        """
        running = self._running.get(turn_id)
        if running and not running.turn.keep:
            if running.turn.owner_id != owner_id:
                raise NotFound("There is no such turn.")
            running.stop()
            return running.turn
        turn = await self._turns.request_stop(owner_id, turn_id)
        if running:
            running.stop()
        elif turn.state is TurnState.STOPPED and self._log.holds(turn_id):
            self._log.append(turn_id, ended_while_queued(turn))
            self._forget_later(turn_id)
        return turn

    async def drain(self) -> None:
        """Begin nothing new; let what runs finish within the grace time, interrupt the rest."""
        self._draining = True
        ends = [running.over.wait() for running in self._running.values()]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.grace_s):
                await asyncio.gather(*ends)
        for running in list(self._running.values()):
            running.interrupt()

    async def checkpoint_forever(self) -> None:
        """Save the partial answers of all running turns, again and again, together."""
        while True:
            await asyncio.sleep(self._config.checkpoint_s)
            await asyncio.gather(*map(self._checkpoint, list(self._running.values())))

    async def _checkpoint(self, running: RunningTurn) -> None:
        answer = running.partial_answer()
        if answer is None:
            return
        try:
            await self._turns.checkpoint(running.turn, answer)
        except StaleFence:
            running.lose()
        except StorageUnavailable:
            metrics.STORE_ERRORS.labels("checkpoint").inc()
            logger.warning("Checkpoint not saved; the answer goes on", turn_id=running.turn.id)

    async def _begin(self, new: NewTurn) -> Begun | Exception:
        """Give the error as a value: raised here, it would end every task of the engine."""
        try:
            return self._start(await self._turns.begin(new))
        except Exception as error:  # noqa: BLE001 - raised by `submit`
            return error

    def _start(self, begun: Begun) -> Begun:
        if begun.created:
            self._log.append(begun.turn.id, ())
            if begun.turn.state is TurnState.RUNNING:
                self._run(begun.turn)
        return begun

    def _run(self, turn: Turn) -> None:
        running = RunningTurn(
            turn, self._config.run, self._catalogue, self._context, self._turns, self._log
        )
        self._running[turn.id] = running
        metrics.TURNS_RUNNING.set(len(self._running))
        running.task = self._tasks.create_task(self._run_to_end(running), name=f"turn {turn.id}")

    async def _run_to_end(self, running: RunningTurn) -> None:
        try:
            following = await running.run()
        finally:
            del self._running[running.turn.id]
            metrics.TURNS_RUNNING.set(len(self._running))
            self._forget_later(running.turn.id)
        # While draining, the next start of the server ends it as interrupted.
        if following and not self._draining:
            self._run(following)

    def _forget_later(self, turn_id: str) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._config.log_kept_s, self._log.forget, turn_id)

    def _check_text(self, text: str) -> None:
        if not text.strip():
            raise InvalidRequest("The message is empty. Write something.")
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise InvalidRequest("The message is not valid Unicode text.") from None
        if "\0" in text:
            raise InvalidRequest("The message has a NUL character in it. Remove it.")
        limit = self._config.message_limit_bytes
        if size > limit:
            raise TooLarge(
                f"The message has {size} bytes, the limit is {limit} (LIMIT_MESSAGE_BYTES)."
            )

    def _check_running(self, owner_id: str) -> None:
        mine = sum(1 for running in self._running.values() if running.turn.owner_id == owner_id)
        if mine >= self._config.running_limit:
            raise RateLimited(
                f"{mine} of your answers are being written. Wait for one, or stop one.",
                retry_after_s=5,
            )

    def _new_turn(self, request: TurnRequest, model: str) -> NewTurn:
        turn_id = str(uuid4())
        return NewTurn(
            id=turn_id,
            thread_id=request.thread_id,
            owner=request.owner,
            key=request.key or turn_id,
            digest=_digest(request),
            text=request.text,
            thread_name=_name(request.text),
            model=model,
            sampling=request.sampling,
            system_prompt=request.system_prompt,
            user_step_id=request.user_step_id or str(uuid4()),
            answer_step_id=str(uuid4()),
            replica_id=self._config.replica_id,
            created_at=datetime.now(UTC),
            max_queued=self._config.queued_limit,
        )


@asynccontextmanager
async def open_engine(
    config: EngineConfig,
    catalogue: Catalogue,
    context: ContextBuilder,
    turns: TurnStore,
    log: TurnLog,
) -> AsyncIterator[Engine]:
    """Run an engine; on leaving it drains. What an earlier process left is ended first."""
    orphans = await turns.interrupt_orphans(config.replica_id)
    if orphans:
        logger.warning("Turns of an earlier process were interrupted", count=orphans)
    async with asyncio.TaskGroup() as tasks:
        engine = Engine(config, catalogue, context, turns, log, tasks)
        checkpoints = tasks.create_task(engine.checkpoint_forever())
        try:
            yield engine
        finally:
            await engine.drain()
            checkpoints.cancel()


def _digest(request: TurnRequest) -> str:
    """What must be the same when a key comes again: the text and the chosen model."""
    digest = hashlib.sha256()
    for part in (request.text, request.model or ""):
        digest.update(len(part.encode()).to_bytes(8, "big"))
        digest.update(part.encode())
    return digest.hexdigest()


def _name(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _NAME_CHARS else line[: _NAME_CHARS - 1] + "…"


def _unkept(request: TurnRequest, new: NewTurn) -> Turn:
    return Turn(
        id=new.id,
        thread_id=new.thread_id,
        owner_id=new.owner.id,
        parent_id=None,
        key=new.key,
        state=TurnState.RUNNING,
        text=new.text,
        model=new.model,
        sampling=new.sampling,
        system_prompt=new.system_prompt,
        user_step_id=new.user_step_id,
        answer_step_id=new.answer_step_id,
        fence=1,
        stop_requested=False,
        created_at=new.created_at,
        answer=Answer(),
        keep=False,
        earlier=request.earlier,
    )
