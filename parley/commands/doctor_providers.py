"""What `parley doctor` looks at of the providers: health, models and, if asked, an answer."""

import asyncio
import time
from collections.abc import Sequence, Set
from contextlib import aclosing

from parley.chat.deltas import Finish, Text
from parley.chat.errors import ParleyError, ProviderError, UnknownModel
from parley.chat.messages import Message, Role
from parley.chat.models import CompletionRequest, HealthState, Sampling
from parley.chat.ports import Provider, Route
from parley.commands.findings import Finding, State
from providers.config import ProvidersConfig
from providers.health import Watched
from providers.ladder import open_registry
from providers.openai_compatible import FIRST_LISTED

# TGI has one model, lists it by its long name, and takes this.
_ANY_MODEL = "tgi"
_SHOWN = 5
_HELLO = (Message.of(Role.USER, "Say hello."),)


async def look_at_providers(config: ProvidersConfig, *, ask: bool) -> Sequence[Finding]:
    """Look at every configured provider, at all of them at once."""
    try:
        registry = await open_registry(config)
    except UnknownModel as error:
        return [Finding("models", "bad", error.message)]
    async with aclosing(registry):
        routes = [registry.resolve(info.id) for info in registry.models()]
        rows = {row.id for row in config.models}
        found = await asyncio.gather(*(_provider(p, rs, rows) for p, rs in _by_provider(routes)))
        answers = await asyncio.gather(*(_answer(route) for route in routes)) if ask else []
        default = Finding("models", "ok", f"default {registry.choice.line}")
    return [default, *found, *answers]


def _by_provider(routes: Sequence[Route]) -> list[tuple[Provider, list[Route]]]:
    grouped: dict[int, tuple[Provider, list[Route]]] = {}
    for route in routes:
        grouped.setdefault(id(route.provider), (route.provider, []))[1].append(route)
    return list(grouped.values())


async def _provider(provider: Provider, routes: Sequence[Route], rows: Set[str]) -> Finding:
    name = _named(routes, rows)
    if not any(route.info.capabilities.is_model for route in routes):
        said = "no model is connected: set OPENAI_API_KEY, OPENAI_BASE_URL or another provider's"
        return Finding(name, "warn", said)
    health = await provider.health()
    named = (route.info.name for route in routes)
    configured = ", ".join("the first listed" if n == FIRST_LISTED else n for n in named)
    if health.state is not HealthState.OK:
        state: State = "bad" if health.state is HealthState.DOWN else "warn"
        said = health.for_operator or health.reason or health.state.value
        return Finding(name, state, said)
    well = Finding(name, "ok", f"reachable; configured: {configured}")
    return await _listed(provider, routes, rows, well)


def _named(routes: Sequence[Route], rows: Set[str]) -> str:
    """Name a provider, and its rows of the file: there may be several of its kind."""
    ids = [route.info.id for route in routes if route.info.id in rows]
    of = f" ({_some(ids)})" if ids else ""
    return f"provider {routes[0].info.provider}{of}"


async def _listed(
    provider: Provider, routes: Sequence[Route], rows: Set[str], well: Finding
) -> Finding:
    """Look for the configured models in the provider's own list."""
    try:
        listed = await provider.models()
    except ParleyError as error:
        said = _told(error)
        return Finding(well.name, "warn", f"reachable, without a list of models: {said}")
    # TGI's label is the name that others have for its model.
    names = {name for info in listed for name in (info.name, info.label)}
    known = names | {_ANY_MODEL, FIRST_LISTED}
    missing = [route for route in routes if route.upstream_model not in known]
    if names and missing:
        gone = ", ".join(sorted({route.upstream_model for route in missing}))
        there = _some([info.name for info in listed])
        settings = ", ".join(_setting(route, rows) for route in missing)
        said = f"it does not list {gone}, but {there}. Check {settings}."
        return Finding(well.name, "warn", said)
    return Finding(well.name, "ok", f"{well.said} ({len(listed)} offered)")


def _setting(route: Route, rows: Set[str]) -> str:
    """Name what names the model of a route."""
    if route.info.id in rows:
        return f"models.{route.info.id}.model"
    known = [route.provider.connection.model_setting] if isinstance(route.provider, Watched) else []
    settings = " or ".join(dict.fromkeys([*known, "DEFAULT_MODEL"]))
    return f"the model's name of {route.info.id} ({settings})"


def _some(names: Sequence[str]) -> str:
    """Write the first few names."""
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _told(error: ParleyError) -> str:
    """Choose the words for who runs this server."""
    return (error.for_operator if isinstance(error, ProviderError) else "") or error.message


async def _answer(route: Route) -> Finding:
    """Ask for a few tokens."""
    name = f"answer of {route.info.id}"
    request = CompletionRequest(
        route.upstream_model, _HELLO, Sampling(max_tokens=16), model_id=route.info.id
    )
    try:
        first_ms, finish = await _first_and_finish(route.provider, request)
    except ParleyError as error:
        return Finding(name, "bad", _told(error))
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
