"""The registry: which models are configured, and where a model id leads."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from parley.chat.errors import UnknownModel
from parley.chat.models import ModelInfo
from parley.chat.ports import Route
from providers.complaints import one_line


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

    def __init__(self, routes: Sequence[Route], choice: Choice) -> None:
        """Take the routes in order; the one of the choice is the default, and goes first."""
        ordered = sorted(routes, key=lambda route: route.info.id != choice.model_id)
        self.choice = choice
        self._routes = {route.info.id: route for route in ordered}

    def resolve(self, model_id: str | None) -> Route:
        """Find a route by ``provider:model``, by provider alone, or the default for None.

        Raises `UnknownModel`, which lists the ids that are known.
        """
        wanted = self.choice.model_id if model_id is None else model_id
        for route in self._routes.values():
            if wanted in {route.info.id, route.info.provider}:
                return route
        known = ", ".join(self._routes)
        raise UnknownModel(f"There is no model {one_line(wanted)!r}. Known are: {known}.")

    def models(self) -> Sequence[ModelInfo]:
        """List the configured models, the default first."""
        return [route.info for route in self._routes.values()]

    async def aclose(self) -> None:
        """Close every provider, also when closing one fails."""
        async with AsyncExitStack() as stack:
            for provider in {id(r.provider): r.provider for r in self._routes.values()}.values():
                stack.push_async_callback(provider.aclose)
