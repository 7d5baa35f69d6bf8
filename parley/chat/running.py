"""A running turn: context, provider, log and rows, from its first event to `Done`."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

from parley.chat.deltas import Delta, Finish, FinishReason, Reasoning, Text
from parley.chat.errors import (
    InternalError,
    ParleyError,
    ProviderError,
    StaleFence,
    StorageUnavailable,
)
from parley.chat.models import CompletionRequest
from parley.chat.ports import Catalogue, ContextBuilder, Route, TurnLog, TurnStore
from parley.chat.recorder import Recorder
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


@dataclass(slots=True)
class _Outcome:
    """How the turn went so far; the last attempt's numbers until a provider says better."""

    state: TurnState = TurnState.COMPLETED
    finish_reason: FinishReason = FinishReason.UNKNOWN
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
        self.task: asyncio.Task[None] | None = None
        self.over = asyncio.Event()
        self._config = config
        self._catalogue = catalogue
        self._context = context
        self._turns = turns
        self._recorder = Recorder(
            turn, log, window_s=config.window_s, limit_chars=config.answer_limit_chars
        )
        self._outcome = _Outcome()
        self._scope = asyncio.timeout(None)
        self._stop_requested = False
        self._lost = False
        self._must_leave = False
        self._saved_length = 0

    def stop(self) -> None:
        """End the provider's stream now; what is there of the answer is kept."""
        self._stop_requested = True
        self._leave()

    def lose(self) -> None:
        """Give the turn up: it has another owner, or its thread was deleted."""
        self._lost = True
        self._leave()

    def interrupt(self) -> None:
        """End the turn because the process ends."""
        if self.task:
            self.task.cancel()

    def partial_answer(self) -> Answer | None:
        """What is there of the answer; None if the last checkpoint has it all, or may not."""
        if not self.turn.keep or self.over.is_set() or self._recorder.length == self._saved_length:
            return None
        self._saved_length = self._recorder.length
        return Answer(text=self._recorder.text, reasoning=self._recorder.reasoning)

    async def run(self) -> Turn | None:
        """Run the turn to its `Done`; give the turn that is next in its thread."""
        self._recorder.start()
        try:
            await self._generate()
        except asyncio.CancelledError:
            self._outcome.state = TurnState.INTERRUPTED
            self._outcome.finish_reason = FinishReason.INTERRUPTED
        try:
            return await self._end()
        finally:
            self.over.set()

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
            outcome.state, outcome.finish_reason = TurnState.FAILED, FinishReason.ERROR

    async def _complete(self, route: Route) -> None:
        context = await self._context.build(self.turn, route)
        self._outcome.context = context
        if context.dropped_messages:
            self._recorder.pruned(context)
        request = CompletionRequest(route.upstream_model, context.messages, self.turn.sampling)
        self._recorder.attempt(1, route.info.provider, route.upstream_model, "")
        began_at, ended = monotonic(), "cancelled"
        try:
            await self._stream(route, request)
            ended = "completed"
        except ProviderError as error:
            ended = type(error).__name__
            metrics.PROVIDER_ERRORS.labels(route.info.provider, ended).inc()
            raise
        finally:
            self._recorder.flush()
            self._outcome.attempts.append(self._attempt(route, ended, began_at))

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

    def _take(self, delta: Delta) -> None:
        match delta:
            case Reasoning(text=text):
                self._recorder.add(text, is_text=False)
            case Usage():
                self._outcome.usage = delta
            case Finish(reason=reason):
                self._outcome.finish_reason = reason
            case _:
                raise InternalError("The model called a tool, and no tool was offered to it.")

    def _attempt(self, route: Route, ended: str, began_at: float) -> AttemptRecord:
        usage = self._outcome.usage
        tokens = usage.output_tokens if usage else self._context.count(self._recorder.text)
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
        if self._lost:
            self._outcome.state = TurnState.INTERRUPTED
            self._outcome.finish_reason = FinishReason.INTERRUPTED
        answer = self._final_answer()
        following = None
        try:
            following = await self._save(answer)
            await self._context.extend(self.turn, answer.text)
        except StaleFence:
            logger.warning("Turn was lost to another owner or deleted", turn_id=self.turn.id)
        except StorageUnavailable:
            metrics.STORE_ERRORS.labels("finish").inc()
            logger.exception("Answer was not saved", turn_id=self.turn.id)
            self._outcome.error = StorageUnavailable(_NOT_SAVED)
            self._outcome.state = TurnState.FAILED
            self._outcome.finish_reason = FinishReason.ERROR
        self._announce_end(answer)
        return following

    async def _save(self, answer: Answer) -> Turn | None:
        """Save the end, trying again for as long as the reader may be kept waiting."""
        if not self.turn.keep or self._lost:
            return None
        give_up_at = monotonic() + self._config.save_retry_s
        pause_s = 0.1
        while True:
            try:
                return await self._turns.finish(self.turn, answer)
            except StorageUnavailable:
                if monotonic() + pause_s > give_up_at:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 2.0)

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
            error_message=error.message if error else None,
            time_to_first_chunk_ms=self._recorder.time_to_first_chunk_ms,
            duration_ms=self._recorder.duration_ms,
            ended_at=datetime.now(UTC),
        )

    def _estimated_usage(self) -> Usage | None:
        """Count what the provider did not; None where nothing was sent to one."""
        if not self._outcome.context or not self._outcome.attempts:
            return None
        text = self._recorder.text + self._recorder.reasoning
        return Usage(
            input_tokens=self._outcome.context.input_tokens,
            output_tokens=self._context.count(text) if text else 0,
            estimated=True,
        )

    def _announce_end(self, answer: Answer) -> None:
        error = self._outcome.error
        told = (error.code, error.message, error.retry_after_s) if error else None
        self._recorder.end(self._outcome.finish_reason, answer.usage, told)
        self._count(answer)
        logger.info(
            "Turn ended",
            turn_id=self.turn.id,
            thread_id=self.turn.thread_id,
            model=self.turn.model,
            outcome=self._outcome.state.value,
            finish_reason=self._outcome.finish_reason.value,
            error=answer.error_code,
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
