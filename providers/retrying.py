"""Retrying: a provider that is asked again, as long as nothing of its answer was heard.

Only failures that pass by themselves are tried again: no connection, no capacity, a failure inside,
a stream that broke off before its first delta (a pooled connection that the server had closed), a
connection that was not accepted in time. Not a server that did not begin to answer: it has had two
minutes, and is likely still at work on the first request.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from time import monotonic

from parley.chat.deltas import Delta
from parley.chat.errors import ProviderError, TimedOut
from parley.chat.models import CompletionRequest, Health, ModelInfo, Tokenizer
from parley.chat.ports import Provider
from providers.config import RetryConfig
from providers.primed import primed

# Beyond this a float would overflow long after every bound is reached.
_MOST_DOUBLED = 32


class Retrying:
    """A `Provider` that makes a call again while its first delta was not heard.

    Whoever sent the request may be asked each time, see `CompletionRequest.tries`.
    """

    def __init__(self, provider: Provider, config: RetryConfig | None = None) -> None:
        """Retry `provider`; closes it too."""
        self.provider = provider
        self._config = config or RetryConfig()

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Stream one completion; entering waits for the first delta."""
        began_at, heard, tries = monotonic(), False, request.tries
        for number in count():
            try:
                async with self.provider.stream(request) as deltas:
                    answer = await primed(deltas)
                    heard = True
                    yield answer
                    return
            except ProviderError as error:
                if heard or error.streamed or not passes(error):
                    raise
                pause_s = self._pause_s(error, number, monotonic() - began_at)
                if pause_s is None or (tries and not tries.may_retry(error, pause_s)):
                    raise
            await asyncio.sleep(pause_s)
            if tries:
                tries.begin()

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

    def _pause_s(self, error: ProviderError, number: int, spent_s: float) -> float | None:
        """How long to wait before the next try; None where there is to be none."""
        config = self._config
        if number >= config.retries:
            return None
        if (error.retry_after_s or 0.0) > config.retry_after_ceiling_s:
            error.message += f" It asks to be left alone for {error.retry_after_s:.0f} seconds."
            return None
        pause_s = pause(error.retry_after_s, number, config)
        return None if spent_s + pause_s > config.total_s else pause_s


def passes(error: ProviderError) -> bool:
    """Whether the same call may succeed a moment later."""
    if isinstance(error, TimedOut):
        return error.phase == "connect"
    return error.retryable


def pause(retry_after_s: float | None, number: int, config: RetryConfig) -> float:
    """Draw the pause after try `number`, the first is 0; never less than what was asked for."""
    bound_s = min(config.first_pause_s * 2.0 ** min(number, _MOST_DOUBLED), config.longest_pause_s)
    return (retry_after_s or 0.0) + random.uniform(0, bound_s)  # noqa: S311 - spreads callers
