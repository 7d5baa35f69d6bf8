"""A running turn: context, provider, log and rows, from its first event to `Done`."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic

from parley.chat.attempts import AttemptLimits, Attempts
from parley.chat.budget import Budget
from parley.chat.deltas import FinishReason
from parley.chat.errors import (
    InternalError,
    NotFound,
    ParleyError,
    StaleFence,
    StorageUnavailable,
    interrupted,
)
from parley.chat.inherited import inherited
from parley.chat.limits import UNLIMITED, Admission
from parley.chat.messages import storable_text
from parley.chat.ports import Catalogue, ContextBuilder, TurnLog, TurnStore
from parley.chat.recorder import Recorder
from parley.chat.rounds import Rounds, ToolUsage
from parley.chat.saving import Saver, pauses
from parley.chat.turns import Answer, Context, Turn, TurnState
from parley.observability import metrics
from parley.observability.logs import get_logger

logger = get_logger(__name__)

# How long a process that ends tries to save what it hands over.
_LAST_SAVE_S = 2.0
_FAILED = "Something went wrong here. The log has it under the id of this request."
_NOT_SAVED = (
    "The answer could not be saved: the database did not answer. Copy the text if you need it."
)


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Clocks and limits of one running turn."""

    window_s: float = 0.02
    answer_limit_chars: int = 1024 * 1024
    save_retry_s: float = 30.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 2.0
    attempts: AttemptLimits = field(default_factory=AttemptLimits)
    tools: ToolUsage = field(default_factory=ToolUsage)


@dataclass(slots=True)
class _Outcome:
    """How the turn went so far; interrupted until something better is known."""

    state: TurnState = TurnState.INTERRUPTED
    finish_reason: FinishReason = FinishReason.INTERRUPTED
    error: ParleyError | None = None


# How often an answer began again, its length since then, its calls of tools, and those that ended.
_Progress = tuple[int, int, int, int]
# How far an answer is, and the context that it is of.
_Saved = tuple[_Progress, Context | None]


class RunningTurn:
    """One turn while it runs in this process."""

    def __init__(  # noqa: PLR0913 - `open_engine` wires it, once
        self,
        turn: Turn,
        config: RunConfig,
        catalogue: Catalogue,
        context: ContextBuilder,
        turns: TurnStore,
        log: TurnLog,
        admission: Admission = UNLIMITED,
    ) -> None:
        """Prepare to run `turn`; `run` does it."""
        self.turn = turn
        # Whether another replica has it now: its end is nobody's here to tell.
        self.goes_on_elsewhere = False
        self._turns = turns
        self._log = log
        self._hands_over = False
        self._config = config
        self._recorder = Recorder(
            turn, log, window_s=config.window_s, limit_chars=config.answer_limit_chars
        )
        self._budget = Budget(turn, admission)
        self._attempts = Attempts(
            turn, config.attempts, catalogue, context, self._recorder, self._budget
        )
        self._rounds = Rounds(
            turn, config.tools, context, self._attempts, self._recorder, self._save_tools
        )
        self._outcome = _Outcome()
        self._scope = asyncio.timeout(None)
        self._stop_requested = False
        self._interrupted = asyncio.Event()
        self._saver = Saver(
            turn,
            turns,
            context,
            pauses_s=(config.first_pause_s, config.longest_pause_s),
            process_ends=self._interrupted,
        )
        self._is_ending = False
        self._is_unsaved = False
        # How far the answer was when it was last saved.
        self._saved: _Saved = (self._progress(), None)
        if turn.stop_requested:
            self.stop()

    @property
    def is_lost(self) -> bool:
        """Whether the turn has another owner, or its thread was deleted."""
        return self._saver.is_lost

    @property
    def is_ending(self) -> bool:
        """Whether the end is being saved, or is: the row may say that it is over."""
        return self._is_ending

    @property
    def spent_tokens(self) -> int:
        """What its calls of providers came to, all of them."""
        return self._budget.spent

    @property
    def ended(self) -> Turn:
        """The turn as it is once it has run: over."""
        return replace(self.turn, state=self._outcome.state, answer=self._final_answer())

    def stop(self) -> None:
        """End the provider's stream now; what is there of the answer is kept."""
        self._stop_requested = True
        self._leave()

    def lose(self) -> None:
        """Give the turn up: it has another owner, or its thread was deleted."""
        self._saver.is_lost = True
        # What is still to come of it is nobody's text any more.
        self._recorder.is_muted = True
        self._log.withdraw(self.turn.id)
        self._leave()

    def interrupt(self) -> None:
        """End the turn because the process ends; what is there of the answer is kept."""
        self._interrupted.set()
        self._leave()

    def give_up(self) -> None:
        """End the turn as interrupted, though the process goes on: nobody waits for it any more."""
        self._leave()

    def hand_over(self) -> None:
        """Leave the turn, as it is, to another replica: this process ends."""
        self._hands_over = True
        self.interrupt()

    async def checkpoint(self) -> None:
        """Save what is there of the answer, where that is not saved yet; raises `StaleFence`."""
        progress = self._progress()
        context = self._attempts.context
        if not self.turn.keep or self._is_ending or (progress, context) == self._saved:
            return
        # What the model sees is kept once, and before anything is known of the answer.
        receipt = context.receipt if context and context is not self._saved[1] else None
        answer = Answer(
            text=self._recorder.text,
            reasoning=self._recorder.reasoning,
            receipt=receipt,
            seq=self._recorder.last_seq,
            tools=tuple(self._rounds.uses),
        )
        await self._turns.checkpoint(self.turn, answer)
        self._saved = (progress, context)

    def _progress(self) -> _Progress:
        """How far the answer is; one that began again may be shorter."""
        ended = sum(use.result is not None for use in self._rounds.uses)
        return (*self._recorder.progress, len(self._rounds.uses), ended)

    async def try_checkpoint(self, unsaved: str = "Checkpoint") -> bool:
        """Do `checkpoint`; False where it failed: then the answer goes on, and it is to be tried again.

        The log says once that something, namely `unsaved`, was not saved.
        """
        try:
            await self.checkpoint()
        except StaleFence:
            self.lose()
        except Exception as error:  # noqa: BLE001 - the turn's boundary: the next one tries again
            metrics.STORE_ERRORS.labels("checkpoint").inc()
            (logger.debug if self._is_unsaved else logger.warning)(
                f"{unsaved} not saved; the answer goes on",
                turn_id=self.turn.id,
                error=type(error).__name__,
            )
            self._is_unsaved = True
            return False
        self._is_unsaved = False
        return True

    async def _save_tools(self) -> None:
        """Save the answer so far, before the end of a tool is shown."""
        await self.try_checkpoint("Tool calls")

    async def run(self) -> Turn | None:
        """Run the turn to its `Done`; give the turn that is next in its thread."""
        try:
            await self._start()
            await self._generate()
        except asyncio.CancelledError:
            self.interrupt()
            await self._end()
            raise
        if self._hands_over and self._is_undecided:
            await self._leave_to_others()
            return None
        return await self._end()

    async def _start(self) -> None:
        """Say that the turn runs; where another replica ran it, take what it has left."""
        if self.turn.fence == 1:
            self._recorder.start()
            return
        claimed = await self._log.claim(self.turn.id, self.turn.fence)
        left = inherited(self.turn, claimed)
        self._recorder.inherit(left.text, left.reasoning, is_whole=left.is_whole)
        self._attempts.inherit(left)

    @property
    def _is_undecided(self) -> bool:
        """Whether nothing ended the turn but the end of the process."""
        undecided = self._outcome.state is TurnState.INTERRUPTED
        return undecided and not self._attempts.finish_reason and not self.is_lost

    async def _leave_to_others(self) -> None:
        """Save and log what is there: another replica carries on with that."""
        give_up_at = monotonic() + min(self._config.save_retry_s, _LAST_SAVE_S)
        for pause_s in pauses(self._config.first_pause_s, self._config.longest_pause_s):
            if await self.try_checkpoint() or monotonic() + pause_s > give_up_at:
                break  # the log has it, if not the row
            await asyncio.sleep(pause_s)
        self.goes_on_elsewhere = True
        await self._log.leave(self.turn.id)
        logger.info("Turn handed over", turn_id=self.turn.id, thread_id=self.turn.thread_id)

    def _leave(self) -> None:
        """Make the stream's scope expire; harmless before it is entered and after it is left."""
        self._attempts.must_leave = True
        with suppress(RuntimeError):
            self._scope.reschedule(0)

    async def _generate(self) -> None:
        """Generate the answer; every failure becomes the turn's outcome."""
        outcome = self._outcome
        try:
            async with self._scope:
                if not self._attempts.must_leave:
                    await self._rounds.run()
        except ParleyError as error:
            outcome.error = error
        except Exception as error:  # the turn's boundary: the reader is told, the log has the story
            if not (isinstance(error, TimeoutError) and self._scope.expired()):
                logger.exception("Turn failed", turn_id=self.turn.id)
                outcome.error = InternalError(_FAILED)
        if self._stop_requested:
            outcome.error = None
            outcome.state, outcome.finish_reason = TurnState.STOPPED, FinishReason.STOPPED
        elif outcome.error:
            self._fail(outcome.error)

    async def _end(self) -> Turn | None:
        """Save the end, then send `Done`: nobody sees it before it is saved."""
        self._is_ending = True
        self._saver.built = self._attempts.context
        if self._outcome.state is TurnState.INTERRUPTED and self._attempts.finish_reason:
            self._outcome.state = TurnState.COMPLETED
            self._outcome.finish_reason = self._attempts.finish_reason
        if self._outcome.state is TurnState.INTERRUPTED:
            self._outcome.error = interrupted()
        if self._outcome.state is not TurnState.COMPLETED:
            self._rounds.usage()  # before there is text again that was counted
            self._recorder.give_back()
        self._rounds.end_open("stopped" if self._stop_requested else "interrupted")
        answer = await self._save(self._final_answer())
        if self.is_lost and await self._is_kept():
            logger.warning("Turn is another server's now", turn_id=self.turn.id)
            self.goes_on_elsewhere = True
            await self._log.leave(self.turn.id)
            return None
        if self.is_lost:
            self._lose_outcome()
        self._announce_end(answer)
        await self._saver.save_late(answer)
        return self._saver.following

    async def _is_kept(self) -> bool:
        """Whether there is still such a turn: it was taken over, and not deleted."""
        try:
            await self._turns.turn(self.turn.owner_id, self.turn.id)
        except NotFound:
            return False
        except StorageUnavailable:
            pass  # its readers ask again
        return True

    async def _save(self, answer: Answer) -> Answer:
        """Save the end as far as that goes; give what the row says of it, now or later."""
        try:
            await self._saver.save(answer, self._config.save_retry_s)
        except StorageUnavailable:
            metrics.STORE_ERRORS.labels("finish").inc()
            logger.exception("Answer was not saved", turn_id=self.turn.id)
            self._fail(StorageUnavailable(_NOT_SAVED))
        except Exception:  # the turn's boundary, as in `_generate`
            metrics.STORE_ERRORS.labels("finish").inc()
            logger.exception("Answer was not saved", turn_id=self.turn.id)
            self._fail(InternalError(_FAILED))
            answer = self._least_answer()
            await self._saver.save_once(answer)
        return answer

    def _least_answer(self) -> Answer:
        """What must be kept, without whatever could not be."""
        return replace(
            self._final_answer(),
            usage=None,
            attempts=(),
            receipt=None,
            tools=(),
            time_to_first_chunk_ms=None,
            duration_ms=None,
        )

    def _fail(self, error: ParleyError) -> None:
        self._outcome.error = error
        self._outcome.state = TurnState.FAILED
        self._outcome.finish_reason = FinishReason.ERROR

    def _lose_outcome(self) -> None:
        logger.warning("Turn was deleted while it ran", turn_id=self.turn.id)
        self._outcome.error = None
        self._outcome.state = TurnState.INTERRUPTED
        self._outcome.finish_reason = FinishReason.INTERRUPTED

    def _final_answer(self) -> Answer:
        outcome, attempts = self._outcome, self._attempts
        error = outcome.error
        return Answer(
            state=outcome.state,
            text=self._recorder.text,
            reasoning=self._recorder.reasoning,
            finish_reason=outcome.finish_reason,
            usage=self._rounds.usage(),
            attempts=tuple(attempts.records),
            receipt=attempts.context.receipt if attempts.context else None,
            error_code=error.code if error else None,
            error_message=storable_text(error.message) if error else None,
            time_to_first_chunk_ms=self._recorder.time_to_first_chunk_ms,
            duration_ms=self._recorder.duration_ms,
            ended_at=datetime.now(UTC),
            tools=tuple(self._rounds.uses),
        )

    def _announce_end(self, answer: Answer) -> None:
        self._rounds.say_ends()
        error = self._outcome.error
        told = (error.code, storable_text(error.message), error.retry_after_s) if error else None
        self._recorder.end(self._outcome.finish_reason, answer.usage, told)
        self._count(answer)
        failed = self._outcome.state is TurnState.FAILED
        (logger.warning if failed else logger.info)(
            "Turn ended",
            turn_id=self.turn.id,
            thread_id=self.turn.thread_id,
            model=self.turn.model,
            outcome=self._outcome.state.value,
            finish_reason=self._outcome.finish_reason.value,
            error=error.code if error else None,
            input_tokens=answer.usage.input_tokens if answer.usage else None,
            output_tokens=answer.usage.output_tokens if answer.usage else None,
            time_to_first_chunk_ms=answer.time_to_first_chunk_ms,
            duration_ms=answer.duration_ms,
            kept=self.turn.keep,
        )

    def _count(self, answer: Answer) -> None:
        metrics.TURNS.labels(self._outcome.state.value).inc()
        if answer.usage:
            metrics.TOKENS.labels("input").inc(answer.usage.input_tokens)
            metrics.TOKENS.labels("output").inc(answer.usage.output_tokens)
        if answer.time_to_first_chunk_ms is not None:
            metrics.TIME_TO_FIRST_TEXT.observe(answer.time_to_first_chunk_ms / 1000)
