"""Rounds: the completions of one turn, and the tools that are called between them.

The calls of a completion run side by side, and the next completion sees what they gave. A call
that has ended is saved before anybody sees its end, so that no later owner of the turn makes it
again. Where the model calls a tool that its caller brought along, the turn ends there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

from parley.chat.attempts import Attempts
from parley.chat.deltas import FinishReason
from parley.chat.errors import InvalidRequest, ProtocolViolation
from parley.chat.messages import ToolCallPart, storable_text
from parley.chat.models import ModelInfo, Toolbox, ToolChoice, ToolSpec
from parley.chat.ports import ContextBuilder, Route, Tools
from parley.chat.recorder import Recorder
from parley.chat.tools import (
    AFTER_TOOLS,
    ToolResult,
    ToolUse,
    answer_messages,
    rounds_of,
    unknown_tool,
)
from parley.chat.turns import Context, Extras, Turn
from parley.chat.usage import Usage, added
from parley.observability import metrics
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_CALLING = frozenset({FinishReason.TOOL_CALLS, FinishReason.STOP, FinishReason.UNKNOWN})
# How often a model that calls on after its last round is told so, before its answer is given up.
_REMINDERS = 2
# The window, in tokens, of a model of which that is not known.
_WINDOW = 65_536
_CUT = "\n[Cut here: there is more, and this model has no room for it.]"
_ENOUGH = ToolResult(
    "Not called: this answer has called enough tools. Answer with what there is.", "limit"
)
_NO_TIME = ToolResult(
    "Not called, or not to its end: the tools of this answer have had enough time."
    " Answer with what there is.",
    "timeout",
)


class NoTools:
    """The `Tools` port where there are none."""

    def check(self, extras: Extras, info: ModelInfo) -> None:
        """Refuse what names a tool."""
        if extras.use_tools:
            raise InvalidRequest("There are no tools on this server.")

    def offered(self, turn: Turn, route: Route) -> Sequence[ToolSpec]:
        """Offer none."""
        return ()

    def action(self, name: str, arguments: str) -> str:
        """Say nothing."""
        return ""

    async def run(self, name: str, arguments: str) -> ToolResult:
        """Refuse the call."""
        return unknown_tool(())


@dataclass(frozen=True, slots=True)
class ToolUsage:
    """Parley's own tools, and how much of them a turn may use.

    `rounds` is how many completions may call tools, `total_s` how long all their tools may take.
    """

    tools: Tools = field(default_factory=NoTools)
    rounds: int = 8
    calls: int = 32
    total_s: float = 120.0


class Rounds:
    """Answers one turn; `uses` are the calls so far."""

    def __init__(
        self,
        turn: Turn,
        usage: ToolUsage,
        builder: ContextBuilder,
        attempts: Attempts,
        recorder: Recorder,
        save: Callable[[], Awaitable[None]],
    ) -> None:
        """Prepare to answer `turn` into `recorder`; `save` keeps what there is so far."""
        self.uses: list[ToolUse] = list(turn.answer.tools)
        self._turn = turn
        self._limits = usage
        self._tools = usage.tools
        self._builder = builder
        self._attempts = attempts
        self._recorder = recorder
        self._save = save
        self._theirs = {tool.name: tool for tool in turn.extras.tools}
        self._offered: dict[str, ToolSpec] = {}
        self._spent: Usage | None = None
        self._is_counted = True
        self._left_s = usage.total_s
        self._unsaid: list[int] = []

    async def run(self) -> None:
        """Answer the turn; raises what `Attempts.run` raises."""
        await self._resume()
        reason = AFTER_TOOLS if self.uses else ""
        while not self._is_for_the_caller:
            await self._attempts.run(self._ask, reason)
            calls = self._attempts.calls.parts({use.id for use in self.uses})
            if not calls or self._attempts.finish_reason not in _CALLING:
                return
            await self._call(calls)
            self._attempts.finish_reason = None
            self._count()
            reason = AFTER_TOOLS
        self._attempts.finish_reason = FinishReason.TOOL_CALLS

    @property
    def _is_for_the_caller(self) -> bool:
        """Whether a tool of the caller's was called: the turn ends there."""
        return any(use.name in self._theirs for use in self.uses)

    def usage(self) -> Usage | None:
        """What all completions cost; None where nothing was sent to a provider."""
        self._count()
        return self._spent

    def end_open(self, error: str) -> None:
        """End the calls that will not end any more, not those of the caller's tools.

        `say_ends` says so to the readers.
        """
        for place, use in enumerate(self.uses):
            if use.result is None and use.name not in self._theirs:
                self._end(place, ToolResult(f"The tool was {error}.", error))
                self._unsaid.append(place)

    def say_ends(self) -> None:
        """Tell the readers of what `end_open` has ended."""
        for place in self._unsaid:
            self._recorder.tool_ended(self.uses[place])

    async def _ask(self, route: Route) -> Context:
        offered = self._offer(route)
        text = self._recorder.kept_text
        said = answer_messages(self._turn.id, text, self.uses) if self.uses else ()
        toolbox = Toolbox(offered, self._choice())
        context = await self._builder.build(self._turn, route, toolbox, said)
        self._is_counted = False
        return context

    def _offer(self, route: Route) -> tuple[ToolSpec, ...]:
        """Look which of Parley's tools there are for this model.

        One that called on where it was told not to is not offered them again: not every server
        heeds the choice.
        """
        is_over = len(rounds_of(self.uses)) > self._limits.rounds
        offered = () if is_over else tuple(self._tools.offered(self._turn, route))
        self._offered = {tool.name: tool for tool in offered} | self._theirs
        return offered

    def _choice(self) -> ToolChoice | None:
        """Whether a tool may or must be called: once at most it must, and at last it may not."""
        wanted = self._turn.extras.tool_choice
        done = len(rounds_of(self.uses))
        if done >= self._limits.rounds:
            return ToolChoice("none")
        return wanted if not done or (wanted and wanted.mode == "none") else None

    async def _resume(self) -> None:
        """Go on from the calls that an earlier owner of the turn has saved.

        Readers are told of all of them: an end may have been saved and not shown.
        """
        if not self.uses:
            return
        self._recorder.keep(self.uses[-1].offset)
        self._offer(self._attempts.route)
        for use in self.uses:
            if use.result is not None:
                self._recorder.tool_started(use, self._description(use))
                self._recorder.tool_ended(use)
        await self._run_open(self._attempts.route)

    async def _call(self, calls: Sequence[ToolCallPart]) -> None:
        """Call tools, and keep the calls of the caller's for the caller."""
        number = self.uses[-1].round + 1 if self.uses else 1
        if number > self._limits.rounds + _REMINDERS:
            raise ProtocolViolation(
                f"The model went on calling tools after {self._limits.rounds} rounds of them."
                " What there is of its answer is kept."
            )
        self._recorder.keep()
        offset = len(self._recorder.kept_text)
        for call in calls:
            action = "" if call.name in self._theirs else self._action(call)
            self.uses.append(
                ToolUse(
                    call.id,
                    call.name,
                    call.arguments,
                    number,
                    offset,
                    action=action,
                    signature=call.signature,
                )
            )
        await self._run_open(self._attempts.route)

    def _action(self, call: ToolCallPart) -> str:
        return storable_text(self._tools.action(call.name, call.arguments))

    async def _run_open(self, route: Route) -> None:
        """Run what has not ended, side by side."""
        open_places = [place for place, use in enumerate(self.uses) if use.result is None]
        for place in open_places:
            use = self.uses[place]
            self._recorder.tool_started(use, self._description(use))
        await self._save()
        own = [place for place in open_places if self.uses[place].name not in self._theirs]
        began_at = monotonic()
        room = self._room(route, len(own))
        async with asyncio.TaskGroup() as running:
            for place in own:
                running.create_task(self._run(place, room))
        self._left_s -= monotonic() - began_at

    def _description(self, use: ToolUse) -> str:
        spec = self._offered.get(use.name)
        return spec.description if spec else ""

    async def _run(self, place: int, room: int) -> None:
        use = self.uses[place]
        began_at = monotonic()
        result = await self._result(place, use)
        result = replace(result, text=storable_text(self._cut(result.text, room)))
        self._end(place, result)
        await self._save()
        self._recorder.tool_ended(self.uses[place])
        metrics.TOOL_CALLS.labels(
            use.name if use.name in self._offered else "unknown", result.error or "ok"
        ).inc()
        logger.info(
            "Tool ended",
            turn_id=self._turn.id,
            tool=use.name,
            error=result.error,
            result_chars=len(result.text),
            duration_ms=round((monotonic() - began_at) * 1000),
        )

    async def _result(self, place: int, use: ToolUse) -> ToolResult:
        if place >= self._limits.calls or use.round > self._limits.rounds:
            return _ENOUGH
        if use.name not in self._offered:
            return unknown_tool(self._offered)
        try:
            async with asyncio.timeout(max(self._left_s, 0)):
                return await self._tools.run(use.name, use.arguments)
        except TimeoutError:
            return _NO_TIME

    def _end(self, place: int, result: ToolResult) -> None:
        self.uses[place] = replace(
            self.uses[place], result=result.text, error=result.error, sources=result.sources
        )

    def _room(self, route: Route, count: int) -> int:
        """Tokens for each of so many results: all of a turn have half of the model's window."""
        window = route.info.capabilities.context_window or _WINDOW
        used = sum(self._builder.count(use.result) for use in self.uses if use.result)
        return max((window // 2 - used) // max(count, 1), 64)

    def _cut(self, text: str, room: int) -> str:
        tokens = self._builder.count(text)
        if tokens <= room:
            return text
        return text[: len(text) * room // tokens] + _CUT

    def _count(self) -> None:
        """Add what the last completion cost."""
        attempts = self._attempts
        if self._is_counted or not attempts.context or not attempts.records:
            return
        self._is_counted = True
        cost = attempts.usage or Usage(
            attempts.context.input_tokens, attempts.counted_output(), estimated=True
        )
        self._spent = added(self._spent, cost)
