"""Tools that a test answers for, and models that call them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from parley.chat.deltas import FinishReason, ToolCallDelta
from parley.chat.models import ModelInfo, ToolSpec
from parley.chat.ports import Route
from parley.chat.rounds import ToolUsage
from parley.chat.runs import EngineConfig
from parley.chat.tools import ToolResult
from parley.chat.turns import Extras, Turn
from parley.chat.usage import Usage
from tests.fakes.scripted_provider import Call
from tests.unit.chat.support import CONFIG

SPECS = (ToolSpec("look", "Looks.", {"type": "object"}), ToolSpec("wait", "Waits.", {}))


@dataclass
class Toolbench:
    """Tools that a test answers for: `look` at once, `wait` when it is told to."""

    ran: list[tuple[str, str]] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: int = 0
    answer: Callable[[str], ToolResult] = lambda arguments: ToolResult(f"seen {arguments}")
    specs: Sequence[ToolSpec] = SPECS

    def check(self, extras: Extras, info: ModelInfo) -> None:
        pass

    def offered(self, turn: Turn, route: Route) -> Sequence[ToolSpec]:
        return self.specs

    def action(self, name: str, arguments: str) -> str:
        return f"About to {name}"

    async def run(self, name: str, arguments: str) -> ToolResult:
        self.ran.append((name, arguments))
        if name == "wait":
            self.began.set()
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return self.answer(arguments)


def config_of(tools: Toolbench, **limits: object) -> EngineConfig:
    usage = replace(ToolUsage(tools), **limits)  # type: ignore[arg-type]  # names of ToolUsage
    return replace(CONFIG, run=replace(CONFIG.run, tools=usage))


def call_tools(call: Call, *calls: tuple[str, str], text: str = "") -> None:
    if text:
        call.say(text)
    for place, (name, arguments) in enumerate(calls):
        call.send(ToolCallDelta(place, f"c{place}", name, arguments))
    call.send(Usage(10, 5))
    call.finish(reason=FinishReason.TOOL_CALLS)
