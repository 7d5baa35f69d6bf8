"""The dialect `local`: GGUF files on this machine, by llama.cpp's own server; see local_model.py."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace

from parley.chat.deltas import Delta
from parley.chat.errors import (
    BrokenStream,
    ModelMissing,
    ProviderError,
    RequestRefused,
    Unreachable,
)
from parley.chat.models import (
    CompletionRequest,
    Health,
    HealthState,
    ModelInfo,
    Sampling,
    Tokenizer,
)
from providers.config import Connection
from providers.faults import fault
from providers.local_model import LocalModel
from providers.openai_compatible import FIRST_LISTED
from providers.openai_request import narrowed
from providers.references import model_name
from providers.weights import find_suggested, list_kept


def open_provider(connection: Connection, defaults: Sampling) -> "LocalProvider":
    """Open the dialect; nothing is looked for, imported or loaded yet."""
    return LocalProvider(connection, defaults)


class LocalProvider:
    """A `Provider` of the GGUF files on this machine; never fetches anything.

    A request's model is a path, or ``org/repo:file.gguf`` in the Hub's cache. Its server starts
    with its first answer, which waits for it, and stays. There is no key, and for a base URL the
    connection has the configured model, if there is one: a path then goes by its file's name.
    """

    def __init__(self, connection: Connection, defaults: Sampling | None = None) -> None:
        self.connection = connection
        self._defaults = defaults or Sampling()
        self._models: dict[str, LocalModel] = {}
        if configured := connection.base_url:
            name = model_name(configured)
            self._models[name] = LocalModel(connection, name, self._defaults, configured)

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Stream one completion; see `Provider.stream`."""
        name = await self._first() if request.model == FIRST_LISTED else request.model
        model = self._model(name)
        if request.tools and not (await model.info()).capabilities.tools:
            said = "its chat template knows no tools"
            advice = "Ask without tools, or choose another model."
            raise fault(RequestRefused, self.connection, said, advice=advice)
        server = await model.server()
        async with (
            _settling(model),
            server.stream(narrowed(replace(request, model=name))) as deltas,
            aclosing(_watched(model, deltas)) as watched,
        ):
            yield watched

    async def models(self) -> Sequence[ModelInfo]:
        """List what has been used and what the cache holds; files that are no models are left out.

        Described from the files: nothing is loaded for it.
        """
        kept = [str(kept.reference) for kept in await asyncio.to_thread(list_kept)]
        infos = [await self._info(name) for name in dict.fromkeys([*self._models, *kept])]
        return [info for info in infos if info is not None]

    async def describe(self, model: str) -> ModelInfo:
        """Describe one model; raises `ModelMissing` with what to do where it cannot be used."""
        return await self._model(model).info()

    async def health(self) -> Health:
        """Say whether there is something to answer with; it need not be loaded."""
        try:
            for model in list(self._models.values()):
                await model.info()
            await self._first()
        except ProviderError as error:
            return Health.after(error)
        loaded = [m.loaded for m in self._models.values() if m.loaded is not None]
        if not loaded:
            return Health(HealthState.OK, "not loaded yet")
        return await loaded[0].health()

    def tokenizer(self, model: str) -> Tokenizer:
        """Give the server's own count, which there is while the model is loaded."""
        return _LocalTokenizer(self._model(model), f"{self.connection.name}:{model}")

    async def aclose(self) -> None:
        """End all servers, also when ending one fails."""
        async with AsyncExitStack() as stack:
            for model in self._models.values():
                stack.push_async_callback(model.aclose)

    def _model(self, name: str) -> LocalModel:
        for model in self._models.values():
            if name in {model.name, model.source}:
                return model
        model = self._models[name] = LocalModel(self.connection, name, self._defaults)
        return model

    async def _info(self, name: str) -> ModelInfo | None:
        known = self._models.get(name) or LocalModel(self.connection, name, self._defaults)
        try:
            return await known.info()
        except ModelMissing:
            return None

    async def _first(self) -> str:
        """Name the model where nobody did: one that is known, or that the cache holds."""
        if self._models:
            return next(iter(self._models))
        found = await asyncio.to_thread(find_suggested)
        if found is None:
            raise ModelMissing(
                f"{self.connection.name} has no model on this machine. Fetch one with:"
                f" parley models pull, or check {self.connection.model_setting}.",
                provider=self.connection.name,
            )
        return str(found)


@asynccontextmanager
async def _settling(model: LocalModel) -> AsyncGenerator[None]:
    try:
        yield
    except (BrokenStream, Unreachable):
        await model.settle()
        raise


async def _watched(model: LocalModel, deltas: AsyncIterator[Delta]) -> AsyncGenerator[Delta]:
    async with _settling(model):
        async for delta in deltas:
            yield delta


class _LocalTokenizer:
    """A `Tokenizer` that goes with the server: a model is not loaded only to count."""

    def __init__(self, model: LocalModel, name: str) -> None:
        self.name = name
        self._model = model

    async def count(self, texts: Sequence[str]) -> Sequence[int] | None:
        """Count as the model does; None while it is not loaded."""
        server = self._model.loaded
        counting = server.tokenizer(self._model.name) if server is not None else None
        return None if counting is None else await counting.count(texts)
