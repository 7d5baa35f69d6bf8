"""What `parley doctor` looks at of the providers: health, models and, if asked, an answer."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing

from parley.chat.deltas import Finish, Text
from parley.chat.errors import ParleyError, UnknownModel
from parley.chat.messages import Message, Role
from parley.chat.models import CompletionRequest, HealthState, Sampling
from parley.chat.ports import Provider, Route
from parley.commands.findings import Finding, State
from providers.config import ProvidersConfig
from providers.ladder import open_registry
from providers.openai_compatible import FIRST_LISTED

# TGI has one model, lists it by its long name, and takes this.
_ANY_MODEL = "tgi"
_HELLO = (Message.of(Role.USER, "Say hello."),)


async def look_at_providers(config: ProvidersConfig, *, ask: bool) -> Sequence[Finding]:
    """Look at every configured provider, at all of them at once."""
    try:
        registry = await open_registry(config)
    except UnknownModel as error:
        return [Finding("models", "bad", error.message)]
    async with aclosing(registry):
        routes = [registry.resolve(info.id) for info in registry.models()]
        found = await asyncio.gather(*(_provider(p, rs) for p, rs in _by_provider(routes)))
        answers = await asyncio.gather(*(_answer(route) for route in routes)) if ask else []
        default = Finding("models", "ok", f"default {registry.choice.line}")
    return [default, *found, *answers]


def _by_provider(routes: Sequence[Route]) -> list[tuple[Provider, list[Route]]]:
    grouped: dict[int, tuple[Provider, list[Route]]] = {}
    for route in routes:
        grouped.setdefault(id(route.provider), (route.provider, []))[1].append(route)
    return list(grouped.values())


async def _provider(provider: Provider, routes: Sequence[Route]) -> Finding:
    name = f"provider {routes[0].info.provider}"
    if not any(route.info.capabilities.is_model for route in routes):
        said = "no model is connected: set OPENAI_API_KEY, OPENAI_BASE_URL or another provider's"
        return Finding(name, "warn", said)
    health = await provider.health()
    named = (route.info.name for route in routes)
    configured = ", ".join("the first listed" if n == FIRST_LISTED else n for n in named)
    if health.state is not HealthState.OK:
        state: State = "bad" if health.state is HealthState.DOWN else "warn"
        return Finding(name, state, health.for_log or health.reason or health.state.value)
    return await _listed(
        provider, routes, Finding(name, "ok", f"reachable; configured: {configured}")
    )


async def _listed(provider: Provider, routes: Sequence[Route], well: Finding) -> Finding:
    """Look for the configured models in the provider's own list."""
    try:
        names = {info.name for info in await provider.models()}
    except ParleyError as error:
        return Finding(well.name, "warn", f"reachable, without a list of models: {error.message}")
    wanted = {route.upstream_model for route in routes} - {_ANY_MODEL, FIRST_LISTED}
    missing = sorted(wanted - names)
    if names and missing:
        ids = ", ".join(r.info.id for r in routes if r.upstream_model in missing)
        said = f"it does not list {', '.join(missing)}. Check the model's name of {ids}."
        return Finding(well.name, "warn", said)
    return Finding(well.name, "ok", f"{well.said} ({len(names)} offered)")


async def _answer(route: Route) -> Finding:
    """Ask for a few tokens."""
    name = f"answer of {route.info.id}"
    request = CompletionRequest(route.upstream_model, _HELLO, Sampling(max_tokens=16))
    try:
        first_ms, finish = await _first_and_finish(route.provider, request)
    except ParleyError as error:
        return Finding(name, "bad", error.message)
    if first_ms is None or finish is None:
        return Finding(name, "warn", "an answer without text")
    return Finding(name, "ok", f"first text after {first_ms:.0f} ms, finish {finish.reason.value}")


async def _first_and_finish(
    provider: Provider, request: CompletionRequest
) -> tuple[float | None, Finish | None]:
    begun_at = time.monotonic()
    first_ms: float | None = None
    finish: Finish | None = None
    async with provider.stream(request) as deltas:
        async for delta in deltas:
            if isinstance(delta, Text) and first_ms is None:
                first_ms = (time.monotonic() - begun_at) * 1000
            finish = delta if isinstance(delta, Finish) else finish
    return first_ms, finish
