"""The registry: which models are configured, where a model id leads, and how they are doing."""

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

from parley.chat.errors import ProviderError, UnknownModel
from parley.chat.models import Health, ModelInfo
from parley.chat.ports import Route
from parley.observability.logs import get_logger
from providers.complaints import one_line
from providers.config import ModelConfig
from providers.health import Watched
from providers.openai_compatible import FIRST_LISTED, OPENAI_BASE_URL
from providers.profiles import profile

logger = get_logger(__name__)

# How old a provider's health may be, how long it may be asked for, and how long the very first
# reader of the list waits for what nobody knows yet.
_FRESH_S = 30.0
_ASKED_S = 5.0
_FIRST_S = 0.5


@dataclass(frozen=True, slots=True)
class Choice:
    """The model that answers unless another is asked for, and why it is that one."""

    model_id: str
    reason: str

    @property
    def line(self) -> str:
        """What is printed at the start."""
        return f"{self.model_id}, because {self.reason}"


class Registry:
    """The configured models, a `Catalogue`; owns their providers and closes them.

    Only what is configured resolves: a provider's other models would be a way around its limits.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        choice: Choice,
        rows: Mapping[str, ModelConfig] | None = None,
        unnamed: Collection[str] = (),
    ) -> None:
        """Take the routes in order; the one of the choice is the default, and goes first.

        `rows` is what the file says of them, by id; `unnamed` are the ids of those whose model was
        taken from their server's list.
        """
        ordered = sorted(routes, key=lambda route: route.info.id != choice.model_id)
        self.choice = choice
        self._routes = {route.info.id: route for route in ordered}
        self._rows = rows or {}
        # Those whose model is whichever their server has.
        self._first = {key for key, r in self._routes.items() if r.upstream_model == FIRST_LISTED}
        self._first |= set(unnamed)
        self._asking: dict[int, asyncio.Task[None]] = {}

    def resolve(self, model_id: str | None) -> Route:
        """Find a route by its id, by ``provider:model``, by provider alone; None is the default.

        Raises `UnknownModel`, which lists the ids that are known.
        """
        wanted = self.choice.model_id if model_id is None else model_id
        if wanted in self._routes:
            self._follow(wanted)
            return self._routes[wanted]
        for key, route in self._routes.items():
            if wanted in {f"{route.info.provider}:{route.info.name}", route.info.provider}:
                self._follow(key)
                return route
        known = ", ".join(self._routes)
        raise UnknownModel(f"There is no model {one_line(wanted)!r}. Known are: {known}.")

    async def renewed(self, route: Route) -> Route | None:
        """Ask a server whose model nobody named again, if nobody did meanwhile: it has another now."""
        key, provider = route.info.id, route.provider
        if key not in self._first or not isinstance(provider, Watched):
            return None
        if self._routes[key].upstream_model == route.upstream_model:
            # Shared by all who were refused, and not ended by one who leaves.
            await asyncio.wait([self._ask(provider) or self._asking[id(provider)]])
        now = self._routes[key]
        return None if now.upstream_model == route.upstream_model else now

    def adopt(self, routes: Sequence[Route], choice: Choice) -> None:
        """Take routes that were found later; the one of the choice is the default from now on."""
        self.choice = choice
        self._routes = {route.info.id: route for route in routes} | self._routes

    def models(self) -> Sequence[ModelInfo]:
        """List the configured models, the default first."""
        return [route.info for route in self._routes.values()]

    async def health(self) -> Mapping[str, Health]:
        """How the models' providers are doing, by model id, as far as is known.

        What is old is asked for again behind the reader's back; only where nothing is known yet
        the reader waits, shortly. No provider that is silent slows this.
        """
        stale = [provider for provider in self._watched() if _is_stale(provider)]
        first = [task for p in stale if (task := self._ask(p)) and p.known is None]
        if first:
            await asyncio.wait(first, timeout=_FIRST_S)
        return {
            key: known
            for key, route in self._routes.items()
            if isinstance(route.provider, Watched) and (known := route.provider.known_of(key))
        }

    def learn(self) -> None:
        """Ask the servers of rows, in the background, for what they know of their models."""
        for provider in self._watched():
            url = provider.connection.base_url
            if url and url != OPENAI_BASE_URL and self._ids_of(provider) & self._rows.keys():
                self._ask(provider)

    async def aclose(self) -> None:
        """Close every provider, also when closing one fails."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with AsyncExitStack() as stack:
            for provider in {id(r.provider): r.provider for r in self._routes.values()}.values():
                stack.push_async_callback(provider.aclose)

    def _watched(self) -> list[Watched]:
        providers = {id(route.provider): route.provider for route in self._routes.values()}
        return [provider for provider in providers.values() if isinstance(provider, Watched)]

    def _follow(self, key: str) -> None:
        """Ask in the background, while it is used, what a server without a named model has now."""
        provider = self._routes[key].provider
        if key in self._first and isinstance(provider, Watched) and _is_stale(provider):
            self._ask(provider)

    def _learning(self, provider: Watched) -> set[str]:
        """The ids whose models are described by what the provider lists."""
        return self._ids_of(provider) & (self._rows.keys() | self._first)

    def _ids_of(self, provider: Watched) -> set[str]:
        return {key for key, route in self._routes.items() if route.provider is provider}

    def _ask(self, provider: Watched) -> asyncio.Task[None] | None:
        """Ask a provider that is not being asked already."""
        if id(provider) in self._asking:
            return None
        task = self._asking[id(provider)] = _started(self._refresh(provider))
        task.add_done_callback(lambda _: self._asking.pop(id(provider), None))
        return task

    async def _refresh(self, provider: Watched) -> None:
        try:
            async with asyncio.timeout(_ASKED_S):
                await provider.health()
                if self._learning(provider):
                    self._take_over(provider, await provider.models())
        except TimeoutError:
            provider.silent()
        except ProviderError as error:
            # Without a list nothing is learned; how it is doing was said before.
            logger.debug("models not listed", error=type(error).__name__)

    def _take_over(self, provider: Watched, listed: Sequence[ModelInfo]) -> None:
        """Put what the server lists of a model, its window above all, into its route."""
        if not listed:
            return
        by_name = {info.name: info for info in listed}
        # A server of one model means that one, whatever it is called here.
        only = listed[0] if len(listed) == 1 else None
        for key in self._learning(provider):
            route = self._routes[key]
            other = listed[0] if key in self._first else only
            told = by_name.get(route.info.name, other)
            if told is None:
                continue
            info = route.info
            if key in self._first:
                label = told.label if info.label == info.name else info.label
                info = replace(info, name=told.name, label=label)
                route = replace(route, upstream_model=told.name)
            can = profile(info.name, told.capabilities, self._rows.get(key))
            self._routes[key] = replace(route, info=replace(info, capabilities=can))


def _is_stale(provider: Watched) -> bool:
    now = asyncio.get_running_loop().time()
    return provider.known is None or now - provider.known_at > _FRESH_S


def _started(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task; the registry keeps it, and cancels and awaits it when it closes."""
    return asyncio.get_running_loop().create_task(work)
