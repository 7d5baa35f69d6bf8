"""Limited: a provider that answers so many at a time; the others wait in order, and not for ever."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from parley.chat.deltas import Delta
from parley.chat.errors import Overloaded
from parley.chat.models import CompletionRequest, Health, ModelInfo, Tokenizer
from parley.chat.ports import Provider


@dataclass(frozen=True, slots=True)
class LimitConfig:
    """How many streams at a time, how many may wait, and for how long.

    `retry_after_s` is what those are told who do not get in; `name` and `setting` are the words of
    that error.
    """

    max_concurrent: int
    max_waiting: int = 50
    wait_s: float = 30.0
    retry_after_s: float = 5.0
    name: str = "the provider"
    setting: str = "max_concurrent"


class Limited:
    """A `Provider` with a bounded number of streams, first come, first served."""

    def __init__(self, provider: Provider, config: LimitConfig) -> None:
        """Limit `provider`; closes it too."""
        self.provider = provider
        self._config = config
        self._free = config.max_concurrent
        # Those who wait, in order; a slot is handed to the first, it is never free in between.
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Stream one completion when it is its turn; raises `Overloaded` where that never comes."""
        await self._enter()
        try:
            async with self.provider.stream(request) as deltas:
                yield deltas
        finally:
            self._leave()

    async def models(self) -> Sequence[ModelInfo]:
        """List what the provider offers; raises `ProviderError`."""
        return await self.provider.models()

    async def health(self) -> Health:
        """Say how the provider is doing."""
        return await self.provider.health()

    def tokenizer(self, model: str) -> Tokenizer | None:
        """Give the tokenizer of a model."""
        return self.provider.tokenizer(model)

    async def aclose(self) -> None:
        """Close the provider."""
        await self.provider.aclose()

    async def _enter(self) -> None:
        if self._free:
            self._free -= 1
            return
        if len(self._waiting) >= self._config.max_waiting:
            raise self._full("and as many wait as may")
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self._config.wait_s):
                await place
        except TimeoutError:
            self._give_up(place)
            raise self._full(f"and none ended within {self._config.wait_s:g} seconds") from None
        except BaseException:
            self._give_up(place)
            raise

    def _give_up(self, place: asyncio.Future[None]) -> None:
        """Leave the queue, or pass on the slot that came in the same moment."""
        if place in self._waiting:
            self._waiting.remove(place)
        elif not place.cancelled():
            self._leave()

    def _leave(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _full(self, why: str) -> Overloaded:
        config = self._config
        return Overloaded(
            f"{config.name} is at its limit of {config.max_concurrent} at a time, {why}."
            f" Try again in {config.retry_after_s:g} seconds, or raise {config.setting}.",
            provider=config.name,
            retry_after_s=config.retry_after_s,
        )
