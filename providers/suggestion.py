"""Suggestion: a small model that this machine can run itself, fetched for who says yes to it.

Offered where nothing but the demo answers. Once it is there it answers, without a restart. The
Hub's client comes with the first question about it: a server that never fetches does without.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from importlib import import_module
from typing import Any

from parley.chat.errors import ParleyError
from parley.chat.models import FetchProgress, OfferedModel
from parley.observability.logs import get_logger
from providers.config import ProvidersConfig
from providers.embedded import is_installed
from providers.ladder import adopt_kept
from providers.registry import Registry

logger = get_logger(__name__)


class Suggestion:
    """The suggested model of a registry; make one with `open_suggestion`."""

    def __init__(
        self, registry: Registry, config: ProvidersConfig, tasks: asyncio.TaskGroup
    ) -> None:
        """Offer what the registry has not; fetches run in `tasks`."""
        self._registry = registry
        self._config = config
        self._tasks = tasks
        self._fetching: asyncio.Task[None] | None = None
        self.progress = FetchProgress(0, 0)

    @property
    def is_offered(self) -> bool:
        """Whether there is no model, and llama.cpp to run one."""
        return is_installed() and not self._registry.models()[0].capabilities.is_model

    async def look_up(self) -> OfferedModel:
        """Ask the Hub what would be fetched; raises `ProviderError`."""
        offer = await self._offer()
        return OfferedModel(
            str(offer.reference),
            offer.size_bytes,
            offer.done_bytes,
            offer.licence,
            str(offer.hub.directory),
        )

    def fetch(self) -> None:
        """Fetch it in the background, from where an earlier fetch stopped; one at a time."""
        if self._fetching is None or self._fetching.done():
            self.progress = FetchProgress(0, 0)
            self._fetching = self._tasks.create_task(self._fetch())

    async def _offer(self) -> Any:
        hub = import_module("providers.hub")
        suggested = import_module("providers.weights").DEFAULT.reference
        return await hub.look_up(str(suggested), hub.Hub(token=self._config.hf_token))

    async def _fetch(self) -> None:
        """Keep an error as progress: raised here, it would end every task of the server."""
        try:
            async with aclosing(import_module("providers.pull").pull(await self._offer())) as told:
                async for each in told:
                    self.progress = FetchProgress(each.done_bytes, each.total_bytes)
            await adopt_kept(self._registry, self._config)
            logger.info("A local model was fetched", model=self._registry.choice.model_id)
        except ParleyError as error:
            logger.warning("The local model was not fetched", reason=error.message)
            self._end(error.message)
        except Exception:
            logger.exception("The local model was not fetched")
            self._end("It could not be fetched; the log says why.")
        else:
            self._end(None)

    def _end(self, error: str | None) -> None:
        last = self.progress
        self.progress = FetchProgress(last.done_bytes, last.total_bytes, is_over=True, error=error)


@asynccontextmanager
async def open_suggestion(registry: Registry, config: ProvidersConfig) -> AsyncIterator[Suggestion]:
    """Offer the model while this serves; a fetch that is under way then is kept for the next."""
    async with asyncio.TaskGroup() as tasks:
        suggestion = Suggestion(registry, config, tasks)
        try:
            yield suggestion
        finally:
            if suggestion._fetching:
                suggestion._fetching.cancel()
