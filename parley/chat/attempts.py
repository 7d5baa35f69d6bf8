"""Attempts: the provider calls of one completion, over its model's fallbacks, until one answers.

Another model is called where that may help: not for what the content filter refused, nor for a
failure that is not the provider's. After text was shown the answer begins again. What a provider
tries again on the way (`Tries`) is an attempt like any other.
"""

import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from time import monotonic

from parley.chat.budget import Budget
from parley.chat.calls import Calls
from parley.chat.deltas import Delta, Finish, FinishReason, Reasoning, Text, ToolCallDelta
from parley.chat.errors import (
    BrokenStream,
    ContentFiltered,
    ContextOverflow,
    ContextTooLong,
    ModelMissing,
    ParleyError,
    ProviderError,
    TimedOut,
    UnknownModel,
)
from parley.chat.extras import can_serve
from parley.chat.identities import NO_CREDENTIALS, Credentials
from parley.chat.inherited import REASON, Inherited
from parley.chat.messages import Message, Role
from parley.chat.models import CompletionRequest
from parley.chat.ports import Catalogue, ContextBuilder, Route
from parley.chat.recorder import Recorder
from parley.chat.turns import AttemptRecord, Context, Turn
from parley.chat.usage import Usage
from parley.observability import metrics
from parley.observability.logs import get_logger

logger = get_logger(__name__)

# Builds what a model is asked.
Ask = Callable[[Route], Awaitable[Context]]
_OUTPUT = frozenset({Text, Reasoning, ToolCallDelta})
_TOO_LONG = (ContextTooLong, ContextOverflow)


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """How many provider calls a completion may take, and until when it may begin another.

    `patience_s` is the longest pause before the same provider is asked again while there is
    another one to ask. `credentials` are the users' own.
    """

    most: int = 8
    total_s: float = 300.0
    patience_s: float = 2.0
    credentials: Credentials = NO_CREDENTIALS


class Attempts:
    """Calls providers for one turn, completion by completion; says how each call ended.

    `usage`, `finish_reason`, `calls` and `context` are those of the last call. A completion after
    the first begins with the model that answered before it.
    """

    def __init__(
        self,
        turn: Turn,
        limits: AttemptLimits,
        catalogue: Catalogue,
        context: ContextBuilder,
        recorder: Recorder,
        budget: Budget,
    ) -> None:
        """Prepare to answer `turn` into `recorder`, within its budget; `run` does it."""
        self.records: list[AttemptRecord] = []
        self.usage: Usage | None = None
        self.finish_reason: FinishReason | None = None
        self.calls = Calls()
        self.context: Context | None = None
        # Set from outside: call nobody any more, and leave the stream.
        self.must_leave = False
        self._turn = turn
        self._limits = limits
        self._catalogue = catalogue
        self._builder = context
        self._recorder = recorder
        self._budget = budget
        self._began_at = monotonic()
        self._calls_before = 0
        self._route: Route | None = None
        self._fallbacks: deque[str] = deque()
        self._seen: set[str] = set()
        self._failed: list[str] = []
        self._first_reason = ""
        # Whether the next call may be given the text that is there, to go on with.
        self._can_go_on = False
        # How far the answer was when a call began that was given it.
        self._goes_on_from: tuple[int, int] | None = None

    def inherit(self, left: Inherited) -> None:
        """Go on after the attempts of an owner that died; its text is in the recorder."""
        self.records.extend(left.attempts)
        self._budget.inherit(len(left.attempts), self._builder.count(left.text + left.reasoning))
        self._first_reason = REASON
        self._can_go_on = bool(left.text) and not left.reasoning

    @property
    def route(self) -> Route:
        """The model that is asked, or is to be asked first."""
        if self._route is None:
            self._route = self._catalogue.resolve(self._turn.model)
            self._note(self._route)
        return self._route

    async def run(self, ask: Ask, reason: str = "") -> None:
        """Complete what `ask` gives; raises what the last attempt failed with, naming the others.

        `reason` says why there is a completion after the first.
        """
        self._began_at = monotonic()
        reason, self._first_reason = self._first_reason or reason, ""
        while True:
            route = self.route
            try:
                await self._attempt(route, await ask(route), reason)
            except ParleyError as error:
                following = await self._renewed(route, error) or self._following(route, error)
                if following is None:
                    self._name_failed(error)
                    raise
                kind = type(error).__name__
                self._failed.append(f"{route.info.id} ({kind})")
                logger.info(
                    "Another model is asked",
                    turn_id=self._turn.id,
                    failed=route.info.id,
                    failed_model=route.upstream_model,
                    error=kind,
                    following=following.info.id,
                    model=following.upstream_model,
                )
                reason = f"failover after {kind}"
                self._route = following
            else:
                self._calls_before = len(self.records)
                return

    def may_retry(self, pause_s: float) -> bool:
        """Whether the provider that is being asked may be asked again after a pause."""
        waits_long = bool(self._fallbacks) and pause_s > self._limits.patience_s
        return not self.must_leave and not waits_long and self._has_more(1, pause_s)

    def began(self, route: Route, reason: str) -> None:
        """Announce a call; what was shown of an earlier one is taken back."""
        self.usage = self.finish_reason = None
        self.calls = Calls()
        number = len(self.records) + 1
        self._recorder.attempt(
            number,
            route.info.provider,
            route.upstream_model,
            reason,
            goes_on=self._goes_on_from == self._recorder.progress,
        )

    def ended(self, route: Route, reason: str, outcome: str, began_at: float) -> None:
        """Keep the record of a call."""
        tokens = self.usage.output_tokens if self.usage else self.counted_output()
        self.records.append(
            AttemptRecord(
                provider=route.info.provider,
                model=route.upstream_model,
                reason=reason,
                outcome=outcome,
                output_tokens=tokens,
                duration_ms=round((monotonic() - began_at) * 1000),
            )
        )

    def counted_output(self) -> int:
        """Count the tokens of what there is of the completion."""
        text = self._recorder.said_since_kept
        text += "".join(call.name + call.arguments for call in self.calls.parts())
        return self._builder.count(text) if text else 0

    async def _attempt(self, route: Route, context: Context, reason: str) -> None:
        window = route.info.capabilities.context_window
        room = await self._budget.for_call(context, window)
        if room is not None:
            context = self._builder.shortened(context, room)
        self.context = context
        if context.rule:
            self._recorder.pruned(context)
        request = self._going_on(route, context.request)
        call, outcome, is_taken = _Call(self, self._turn, route, reason), "cancelled", True
        try:
            credential = await self._limits.credentials.of(self._turn.owner_id, route.info.provider)
            request = replace(request, tries=call, credential=credential, model_id=route.info.id)
            await self._stream(route, request, math.inf if room is None else room)
            outcome = "cancelled" if self.must_leave else "completed"
        except ProviderError as error:
            outcome, is_taken = type(error).__name__, _is_taken(error)
            call.log(error)
            raise
        finally:
            self._recorder.flush()
            call.end(outcome)
            counted = 0 if self.usage else self.records[-1].output_tokens
            if is_taken or self.usage or counted:
                self._budget.ended(context, self.usage, counted)

    def _going_on(self, route: Route, request: CompletionRequest) -> CompletionRequest:
        """Let a model that can go on with the text that is there, the first time."""
        may, self._can_go_on, self._goes_on_from = self._can_go_on, False, None
        text = self._recorder.text_since_kept.lstrip("\n")
        if not (may and text and route.info.capabilities.prefill):
            return request
        self._goes_on_from = self._recorder.progress
        begun = Message.of(Role.ASSISTANT, text)
        return replace(request, messages=(*request.messages, begun))

    async def _stream(self, route: Route, request: CompletionRequest, room: float) -> None:
        """Take the answer; one that has no room any more ends, whoever cannot count that far."""
        async with route.provider.stream(request) as deltas:
            async for delta in deltas:
                room -= type(delta) in _OUTPUT  # a token or more
                if room < 0:
                    self.finish_reason = FinishReason.LENGTH
                    break
                if type(delta) is Text:
                    self._recorder.add(delta.text)
                else:
                    self._take(delta)
                # Besides being cancelled: on Python 3.11 a cancellation can get lost.
                if self.must_leave or self._recorder.is_full:
                    break
        self._recorder.check_length()
        if self.finish_reason is None and not self.must_leave:
            raise BrokenStream("The model's answer broke off.", provider=route.info.provider)

    def _take(self, delta: Delta) -> None:
        match delta:
            case Reasoning(text=text):
                self._recorder.add(text, is_text=False)
            case Usage():
                self.usage = delta
            case Finish(reason=reason):
                self.finish_reason = reason
            case ToolCallDelta():
                self.calls.add(delta)
            case _:  # pragma: no cover - text, which `_stream` took
                pass

    def _note(self, route: Route) -> None:
        """Queue the fallbacks of a model that has its turn now, or is passed over."""
        self._seen.add(route.info.id)
        self._fallbacks.extend(route.fallbacks)

    async def _renewed(self, route: Route, error: ParleyError) -> Route | None:
        """Find the model that a server has by now in place of the one that it does not know."""
        if not isinstance(error, ModelMissing) or error.streamed:
            return None
        if self.must_leave or not self._has_more():
            return None
        return await self._catalogue.renewed(route)

    def _following(self, route: Route, error: ParleyError) -> Route | None:
        """Find the next model to ask after this failure; None where none may be asked."""
        if self.must_leave or self.finish_reason or not _helps(error) or not self._has_more():
            return None
        while self._fallbacks:
            following = self._resolved(self._fallbacks.popleft())
            if following is None or following.info.id in self._seen:
                continue  # fallbacks may lead back
            if not following.info.capabilities.is_model:
                continue  # the demo's answer would be taken for one
            if not can_serve(self._turn.extras, following.info):
                continue
            self._note(following)
            if not isinstance(error, _TOO_LONG) or _is_larger(following, route):
                return following
        return None

    def _resolved(self, model_id: str) -> Route | None:
        try:
            return self._catalogue.resolve(model_id)
        except UnknownModel:
            logger.warning("Fallback is no model", turn_id=self._turn.id, model=model_id)
            return None

    def _has_more(self, running: int = 0, pause_s: float = 0.0) -> bool:
        """Whether another call may be made, beside those that are running."""
        spent_s = monotonic() + pause_s - self._began_at
        calls = len(self.records) - self._calls_before + running
        return calls < self._limits.most and spent_s <= self._limits.total_s

    def _name_failed(self, error: ParleyError) -> None:
        """Name, in the error that the user sees, what was tried before it."""
        if self._failed:
            error.message += f" Tried before it: {', '.join(self._failed)}."


class _Call:
    """The tries of one model, as its provider makes them; see `Tries`."""

    def __init__(self, attempts: Attempts, turn: Turn, route: Route, reason: str) -> None:
        self._attempts = attempts
        self._turn = turn
        self._route = route
        self._reason = reason
        self.begin()

    def begin(self) -> None:
        self._began_at = monotonic()
        self._is_open = True
        self._attempts.began(self._route, self._reason)

    def may_retry(self, error: ProviderError, pause_s: float) -> bool:
        if not self._attempts.may_retry(pause_s):
            return False
        self.log(error)
        kind = type(error).__name__
        self.end(kind)
        self._reason = f"retry after {kind}"
        return True

    def end(self, outcome: str) -> None:
        """Keep the record of the try that is under way; in a pause there is none."""
        if self._is_open:
            self._is_open = False
            self._attempts.ended(self._route, self._reason, outcome, self._began_at)

    def log(self, error: ProviderError) -> None:
        kind, route = type(error).__name__, self._route
        metrics.PROVIDER_ERRORS.labels(route.info.provider, kind).inc()
        logger.warning(
            "Provider call failed",
            turn_id=self._turn.id,
            model_id=route.info.id,
            provider=route.info.provider,
            model=route.upstream_model,
            error=kind,
            upstream_status=error.upstream_status,
            reason=error.for_log,
        )


def _is_taken(error: ProviderError) -> bool:
    """Whether a provider that failed had taken the question, which then may cost something."""
    is_late = isinstance(error, TimedOut) and error.phase != "connect"
    return error.streamed or is_late


def _helps(error: ParleyError) -> bool:
    """Whether another model may answer after this failure.

    Also after a refused key or request: another provider has another key, and other rules. What a
    content filter refused is not carried to the next one.
    """
    if isinstance(error, ProviderError):
        return not isinstance(error, ContentFiltered)
    return isinstance(error, ContextTooLong)


def _is_larger(following: Route, route: Route) -> bool:
    """Whether a model's window may hold what another's did not."""
    wide = following.info.capabilities.context_window
    narrow = route.info.capabilities.context_window
    return wide is None or narrow is None or wide > narrow
