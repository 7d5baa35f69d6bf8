"""A provider whose answers a test sends, delta by delta, and a catalogue of one model."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from parley.chat.deltas import Delta, Finish, FinishReason, Text
from parley.chat.errors import UnknownModel
from parley.chat.models import (
    Capabilities,
    CompletionRequest,
    Health,
    HealthState,
    ModelInfo,
    Tokenizer,
)
from parley.chat.ports import Route
from tests.patience import PATIENCE_S


@dataclass
class Call:
    """One completion: what was asked, and what the test lets the provider say."""

    request: CompletionRequest
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    _script: asyncio.Queue[Delta | Exception | None] = field(default_factory=asyncio.Queue)

    @property
    def prompt(self) -> list[str]:
        """The texts that the model sees, the system prompt left out."""
        return [message.text for message in self.request.messages[1:]]

    def say(self, *texts: str) -> None:
        for text in texts:
            self.send(Text(text))

    def send(self, delta: Delta) -> None:
        self._script.put_nowait(delta)

    def fail(self, error: Exception) -> None:
        self._script.put_nowait(error)

    def finish(self, *texts: str, reason: FinishReason = FinishReason.STOP) -> None:
        self.say(*texts)
        self.send(Finish(reason))
        self.hang_up()

    def hang_up(self) -> None:
        self._script.put_nowait(None)

    async def deltas(self) -> AsyncIterator[Delta]:
        while (said := await self._script.get()) is not None:
            if isinstance(said, Exception):
                raise said
            yield said


class ScriptedProvider:
    """Each call waits for the test to speak."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.counts: Tokenizer | None = None
        self._called = asyncio.Event()

    async def call(self, index: int = 0) -> Call:
        """Wait for a call of the engine."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.calls) <= index:
                self._called.clear()
                await self._called.wait()
        return self.calls[index]

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator[AsyncIterator[Delta]]:
        call = Call(request)
        self.calls.append(call)
        self._called.set()
        try:
            yield call.deltas()
        finally:
            call.closed.set()

    async def models(self) -> Sequence[ModelInfo]:
        return []

    async def health(self) -> Health:
        return Health(HealthState.OK)

    def tokenizer(self, model: str) -> Tokenizer | None:
        return self.counts

    async def aclose(self) -> None:
        pass


class OneModel:
    """A catalogue with one model, `scripted:one`."""

    def __init__(
        self,
        provider: ScriptedProvider,
        context_window: int | None = None,
        *,
        tools: bool = True,
        vision: bool = True,
        prefill: bool = False,
        is_model: bool = True,
    ) -> None:
        abilities = Capabilities(
            context_window, tools=tools, vision=vision, prefill=prefill, is_model=is_model
        )
        self._info = ModelInfo("scripted:one", "scripted", "one", "One", abilities)
        self._provider = provider

    def resolve(self, model_id: str | None) -> Route:
        if model_id not in {None, self._info.id}:
            raise UnknownModel(f"No model has the id {model_id}.")
        return Route(self._info, self._provider, "one")

    async def renewed(self, route: Route) -> Route | None:
        return None

    def models(self) -> Sequence[ModelInfo]:
        return [self._info]
