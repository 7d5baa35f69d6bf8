"""A running turn: context, provider, log and rows, from its first event to `Done`."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic

from parley.chat.deltas import Delta, Finish, FinishReason, Reasoning, Text
from parley.chat.errors import (
    BrokenStream,
    InternalError,
    ParleyError,
    ProviderError,
    StorageUnavailable,
    interrupted,
)
from parley.chat.messages import storable_text
from parley.chat.models import CompletionRequest
from parley.chat.ports import Catalogue, ContextBuilder, Route, TurnLog, TurnStore
from parley.chat.recorder import Recorder
from parley.chat.saving import Saver
from parley.chat.turns import Answer, AttemptRecord, Context, Turn, TurnState
from parley.chat.usage import Usage
from parley.observability import metrics
from parley.observability.logs import get_logger

logger = get_logger(__name__)

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


@dataclass(slots=True)
class _Outcome:
    """How the turn went so far; interrupted until something better is known."""

    state: TurnState = TurnState.INTERRUPTED
    finish_reason: FinishReason = FinishReason.INTERRUPTED
    error: ParleyError | None = None
    usage: Usage | None = None
    attempts: list[AttemptRecord] = field(default_factory=list)
    context: Context | None = None


class RunningTurn:
    """One turn while it runs in this process."""

    def __init__(
        self,
        turn: Turn,
        config: RunConfig,
        catalogue: Catalogue,
        context: ContextBuilder,
        turns: TurnStore,
        log: TurnLog,
    ) -> None:
        """Prepare to run `turn`; `run` does it."""
        self.turn = turn
        self._config = config
        self._catalogue = catalogue
        self._context = context
        self._recorder = Recorder(
            turn, log, window_s=config.window_s, limit_chars=config.answer_limit_chars
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
        self._must_leave = False
        self._is_ending = False
        self._saved_length = 0
        if turn.stop_requested:
            self.stop()

    @property
    def is_lost(self) -> bool:
        """Whether the turn has another owner, or its thread was deleted."""
        return self._saver.is_lost

    def stop(self) -> None:
        """End the provider's stream now; what is there of the answer is kept."""
        self._stop_requested = True
        self._leave()

    def lose(self) -> None:
        """Give the turn up: it has another owner, or its thread was deleted."""
        self._saver.is_lost = True
        self._leave()

    def interrupt(self) -> None:
        """End the turn because the process ends; what is there of the answer is kept."""
        self._interrupted.set()
        self._leave()

    def partial_answer(self, *, again: bool = False) -> Answer | None:
        """What is there of the answer; None if it may not be saved, or is and not `again`."""
        has_grown = self._recorder.length > self._saved_length
        if not self.turn.keep or self._is_ending or not (has_grown or again):
            return None
        return Answer(text=self._recorder.text, reasoning=self._recorder.reasoning)

    def checkpointed(self, answer: Answer) -> None:
        """Take note that this partial answer is saved."""
        self._saved_length = len(answer.text) + len(answer.reasoning)

    async def run(self) -> Turn | None:
        """Run the turn to its `Done`; give the turn that is next in its thread."""
        self._recorder.start()
        try:
            await self._generate()
        except asyncio.CancelledError:
            self.interrupt()
            await self._end()
            raise
        return await self._end()

    def _leave(self) -> None:
        """Make the stream's scope expire; harmless before it is entered and after it is left."""
        self._must_leave = True
        with suppress(RuntimeError):
            self._scope.reschedule(0)

    async def _generate(self) -> None:
        """Generate the answer; every failure becomes the turn's outcome."""
        outcome = self._outcome
        try:
            async with self._scope:
                if not self._must_leave:
                    await self._complete(self._catalogue.resolve(self.turn.model))
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

    async def _complete(self, route: Route) -> None:
        context = await self._context.build(self.turn, route)
        self._outcome.context = self._saver.built = context
        if context.dropped_messages:
            self._recorder.pruned(context)
        self._recorder.attempt(1, route.info.provider, route.upstream_model, "")
        began_at, ended = monotonic(), "cancelled"
        try:
            await self._stream(route, context.request)
            ended = "cancelled" if self._must_leave else "completed"
        except ProviderError as error:
            ended = type(error).__name__
            self._log_failed_call(route, error)
            raise
        finally:
            self._recorder.flush()
            self._outcome.attempts.append(self._attempt(route, ended, began_at))

    def _log_failed_call(self, route: Route, error: ProviderError) -> None:
        kind = type(error).__name__
        metrics.PROVIDER_ERRORS.labels(route.info.provider, kind).inc()
        logger.warning(
            "Provider call failed",
            turn_id=self.turn.id,
            provider=route.info.provider,
            model=route.upstream_model,
            error=kind,
            upstream_status=error.upstream_status,
            reason=error.message,
        )

    async def _stream(self, route: Route, request: CompletionRequest) -> None:
        async with route.provider.stream(request) as deltas:
            async for delta in deltas:
                if type(delta) is Text:
                    self._recorder.add(delta.text)
                else:
                    self._take(delta)
                # Besides being cancelled: on Python 3.11 a cancellation can get lost.
                if self._must_leave or self._recorder.is_full:
                    break
        self._recorder.check_length()
        if self._outcome.state is TurnState.INTERRUPTED and not self._must_leave:
            raise BrokenStream("The model's answer broke off.", provider=route.info.provider)

    def _take(self, delta: Delta) -> None:
        match delta:
            case Reasoning(text=text):
                self._recorder.add(text, is_text=False)
            case Usage():
                self._outcome.usage = delta
            case Finish(reason=reason):
                self._outcome.state = TurnState.COMPLETED
                self._outcome.finish_reason = reason
            case _:
                raise InternalError("The model called a tool, and no tool was offered to it.")

    def _attempt(self, route: Route, ended: str, began_at: float) -> AttemptRecord:
        usage = self._outcome.usage
        tokens = usage.output_tokens if usage else self._counted_output()
        return AttemptRecord(
            provider=route.info.provider,
            model=route.upstream_model,
            reason="",
            outcome=ended,
            output_tokens=tokens,
            duration_ms=round((monotonic() - began_at) * 1000),
        )

    async def _end(self) -> Turn | None:
        """Save the end, then send `Done`: nobody sees it before it is saved."""
        self._is_ending = True
        if self._outcome.state is TurnState.INTERRUPTED:
            self._outcome.error = interrupted()
        answer = await self._save(self._final_answer())
        if self.is_lost:
            self._lose_outcome()
        self._announce_end(answer)
        await self._saver.save_late(answer)
        return self._saver.following

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
            time_to_first_chunk_ms=None,
            duration_ms=None,
        )

    def _fail(self, error: ParleyError) -> None:
        self._outcome.error = error
        self._outcome.state = TurnState.FAILED
        self._outcome.finish_reason = FinishReason.ERROR

    def _lose_outcome(self) -> None:
        logger.warning("Turn was lost to another owner or deleted", turn_id=self.turn.id)
        self._outcome.error = None
        self._outcome.state = TurnState.INTERRUPTED
        self._outcome.finish_reason = FinishReason.INTERRUPTED

    def _final_answer(self) -> Answer:
        outcome = self._outcome
        usage = outcome.usage or self._estimated_usage()
        error = outcome.error
        return Answer(
            state=outcome.state,
            text=self._recorder.text,
            reasoning=self._recorder.reasoning,
            finish_reason=outcome.finish_reason,
            usage=usage,
            attempts=tuple(outcome.attempts),
            receipt=outcome.context.receipt if outcome.context else None,
            error_code=error.code if error else None,
            error_message=storable_text(error.message) if error else None,
            time_to_first_chunk_ms=self._recorder.time_to_first_chunk_ms,
            duration_ms=self._recorder.duration_ms,
            ended_at=datetime.now(UTC),
        )

    def _estimated_usage(self) -> Usage | None:
        """Count what the provider did not; None where nothing was sent to one."""
        if not self._outcome.context or not self._outcome.attempts:
            return None
        return Usage(
            input_tokens=self._outcome.context.input_tokens,
            output_tokens=self._counted_output(),
            estimated=True,
        )

    def _counted_output(self) -> int:
        text = self._recorder.text + self._recorder.reasoning
        return self._context.count(text) if text else 0

    def _announce_end(self, answer: Answer) -> None:
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
