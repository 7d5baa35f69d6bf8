"""Dialects: which module speaks which protocol; each is imported when it is first used.

A module behind a name has ``open_provider(connection, defaults)``. What it imports, an SDK above
all, costs nobody anything who does not use it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module

from parley.chat.deltas import Delta
from parley.chat.errors import ProviderError, ProviderFault
from parley.chat.models import (
    CompletionRequest,
    Health,
    ModelInfo,
    Sampling,
    Tokenizer,
)
from parley.chat.ports import Provider
from parley.observability.logs import get_logger
from providers.config import Connection

logger = get_logger(__name__)

Open = Callable[[Connection, Sampling], Provider]

DIALECTS = {
    "openai": "providers.openai_compatible:open_provider",
    "tgi": "providers.tgi:open_provider",
    "huggingface": "providers.huggingface:open_provider",
    "gemini": "providers.gemini:open_provider",
    "local": "providers.local:open_provider",
}
# Those that need no SDK: opened at once, so that a tokenizer is at hand for the first turn.
LIGHT = frozenset({"openai"})


def load(reference: str) -> Open:
    """Import ``module:factory``."""
    module, _, name = reference.partition(":")
    factory: Open = getattr(import_module(module), name)
    return factory


def open_dialect(dialect: str, connection: Connection, defaults: Sampling) -> Provider:
    """Open a provider of this dialect: at once where it is light, else at its first use."""
    reference = DIALECTS[dialect]
    if dialect in LIGHT:
        return load(reference)(connection, defaults)
    return OpenedOnUse(connection, defaults, lambda: load(reference))


class OpenedOnUse:
    """A `Provider` whose module is imported at the first call, in a thread."""

    def __init__(
        self, connection: Connection, defaults: Sampling, find: Callable[[], Open]
    ) -> None:
        """Nothing is imported yet; `find` imports, and is called once if it succeeds."""
        self.connection = connection
        self._defaults = defaults
        self._find = find
        self._lock = asyncio.Lock()
        self._provider: Provider | None = None

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Stream one completion; see `Provider.stream`."""
        provider = await self._opened()
        async with provider.stream(request) as deltas:
            yield deltas

    async def models(self) -> Sequence[ModelInfo]:
        """List what the provider offers; raises `ProviderError`."""
        return await (await self._opened()).models()

    async def health(self) -> Health:
        """Say how the provider is doing; never raises."""
        try:
            provider = await self._opened()
        except ProviderError as error:
            return Health.after(error)
        return await provider.health()

    def tokenizer(self, model: str) -> Tokenizer | None:
        """Give the tokenizer of a model; none before the first use."""
        return self._provider.tokenizer(model) if self._provider else None

    async def aclose(self) -> None:
        """Close what was opened."""
        if self._provider is not None:
            await self._provider.aclose()

    async def _opened(self) -> Provider:
        async with self._lock:
            if self._provider is None:
                self._provider = await self._open()
            return self._provider

    async def _open(self) -> Provider:
        name = self.connection.name
        try:
            find = await asyncio.to_thread(self._find)
            return find(self.connection, self._defaults)
        except ProviderError:
            raise
        except Exception as exc:  # a boundary: third parties' modules and SDKs raise anything
            logger.warning("provider not opened", provider=name, error=type(exc).__name__)
            said = f"its module cannot be imported ({type(exc).__name__}: {exc})"
            if not isinstance(exc, ImportError):
                said = f"it cannot be opened ({type(exc).__name__})"
            message = f"{name} cannot be used: {said}. Install what it needs, and restart."
            raise ProviderFault(message, provider=name) from exc
