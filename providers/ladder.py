"""The ladder: which model answers when nobody says which, in fixed order and with the reason.

Explicit model; `parley.toml` and its plug-ins; keys and URLs of the environment; a model server
on this machine; a GGUF that was fetched before; the demo.
"""

import asyncio
from dataclasses import replace

from parley.chat.errors import ProviderError, TimedOut, UnknownModel, Unreachable
from parley.chat.models import ModelInfo, Sampling
from parley.chat.ports import Provider, Route
from providers.config import Connection, LoopbackPorts, ModelConfig, Offer, ProvidersConfig
from providers.demo import DEMO_MODEL, DemoProvider
from providers.dialects import DIALECTS
from providers.embedded import DIALECT, offer_kept
from providers.encodings import load_encoding
from providers.health import Watched
from providers.loopback import LOCAL_PROVIDERS, detect
from providers.openai_compatible import FIRST_LISTED, OPENAI_BASE_URL, OPENAI_DEFAULT_MODEL
from providers.opening import Opening
from providers.profiles import profile
from providers.references import model_name
from providers.registry import Choice, Registry
from providers.standard import bounded, default_model, of_row, offers

_DEMO_REASON = "no key, no base URL and no model server on this machine was found"


async def open_registry(config: ProvidersConfig, ports: LoopbackPorts | None = None) -> Registry:
    """Open the providers that are configured, or else found, and choose the default model.

    Looks on loopback only where nothing is configured or a local provider is asked for by name.
    Raises `UnknownModel` where the explicit model's provider is neither configured nor found.
    """
    setting, wanted = _explicit(config)
    opening = Opening(config)
    rows = {row.id: row for row in _rows(config)}
    routes = await _of_rows(rows, opening, config)
    if wanted not in _names(routes):
        name, _, model = wanted.partition(":")
    else:
        name, model = "", ""
    found = _uncovered(config, name)
    if _looks_local(config, name, found, routes):
        found += await detect(ports or LoopbackPorts(), config.deadlines)
    if _looks_kept(config, name, found, routes):
        found += await offer_kept(config.deadlines)
    found = [replace(o, connection=bounded(o.connection, config)) for o in found]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                _routes(offer, model if offer.connection.name == name else "", opening)
            )
            for offer in found
        ]
    of_offers = [task.result() for task in tasks]
    routes += [route for offered in of_offers for route in offered]
    unnamed = {
        offered[0].info.id
        for offer, offered in zip(found, of_offers, strict=True)
        if not (offer.model or (model and offer.connection.name == name))
    }
    if not routes or name == DEMO_MODEL.provider:
        routes.append(Route(DEMO_MODEL, _demo(), DEMO_MODEL.name))
    try:
        choice = _choice(setting, wanted, routes, found)
    except UnknownModel:
        await opening.aclose()
        raise
    registry = Registry(routes, choice, rows, unnamed)
    registry.learn()
    return registry


async def adopt_kept(registry: Registry, config: ProvidersConfig) -> None:
    """Let a model that has just come to this machine answer from now on."""
    for offer in await offer_kept(config.deadlines):
        routes = await _routes(offer, "", Opening(config))
        registry.adopt(routes, Choice(routes[0].info.id, offer.reason))


def _explicit(config: ProvidersConfig) -> tuple[str, str]:
    """The setting that names a model or a provider, and what it says; nothing where none does."""
    if config.default_model:
        return "DEFAULT_MODEL", config.default_model.strip()
    if config.llm_provider:
        return "LLM_PROVIDER", config.llm_provider.strip()
    return "default_model", (config.file_default or "").strip()


def _rows(config: ProvidersConfig) -> list[ModelConfig]:
    """The rows of the file, and one for each function of a plug-in that has none there."""
    named = {row.provider for row in config.models}
    return [
        *config.models,
        *(ModelConfig(name, name) for name in config.functions if name not in named),
    ]


def _names(routes: list[Route]) -> set[str]:
    names = set()
    for route in routes:
        info = route.info
        names |= {info.id, info.provider, f"{info.provider}:{info.name}"}
    return names


def _uncovered(config: ProvidersConfig, name: str) -> list[Offer]:
    """What the environment configures and no row of the file uses, or is asked for by name."""
    used = {row.provider for row in config.models if not row.base_url}
    return [o for o in offers(config) if o.dialect not in used or o.dialect == name]


def _looks_local(
    config: ProvidersConfig, name: str, found: list[Offer], routes: list[Route]
) -> bool:
    if name:
        return name in LOCAL_PROVIDERS - {offer.connection.name for offer in found}
    return config.detect_local and not found and not routes


def _looks_kept(
    config: ProvidersConfig, name: str, found: list[Offer], routes: list[Route]
) -> bool:
    if name:
        return name == DIALECT and name not in {offer.connection.name for offer in found}
    return config.detect_local and not found and not routes


def _demo() -> Provider:
    return Watched(DemoProvider(), Connection(DEMO_MODEL.provider, ""))


async def _of_rows(
    rows: dict[str, ModelConfig], opening: Opening, config: ProvidersConfig
) -> list[Route]:
    routes = []
    for row in rows.values():
        route = _of_row(row, opening, config)
        await load_encoding(route.upstream_model)
        routes.append(route)
    return routes


def _of_row(row: ModelConfig, opening: Opening, config: ProvidersConfig) -> Route:
    if row.provider == DEMO_MODEL.provider:
        info = replace(DEMO_MODEL, id=row.id, label=row.label or DEMO_MODEL.label)
        return Route(info, _demo(), DEMO_MODEL.name, row.fallbacks, system_prompt=row.system_prompt)
    upstream = row.model or default_model(row.provider, config, row.base_url)
    if row.provider == DIALECT and upstream:
        upstream = model_name(upstream)
    # A package's provider, like a function, is its own model where none is named.
    upstream = upstream or (FIRST_LISTED if row.provider in DIALECTS else row.provider)
    label = row.label or (row.id if upstream == FIRST_LISTED else upstream)
    info = ModelInfo(row.id, row.provider, upstream, label, profile(upstream, None, row))
    provider = opening.provider(row.provider, of_row(row, config), row)
    return Route(
        info,
        provider,
        upstream,
        row.fallbacks,
        opening.defaults(row.provider, row),
        system_prompt=row.system_prompt,
        tools=row.use_tools,
    )


async def _routes(offer: Offer, asked: str, opening: Opening) -> list[Route]:
    """The routes of one provider; the model that was asked for is its default."""
    provider = opening.provider(offer.dialect, offer.connection)
    try:
        listed = await _listed(offer, provider)
        first = next(iter(listed), OPENAI_DEFAULT_MODEL)
    except (Unreachable, TimedOut):
        listed, first = {}, FIRST_LISTED
    models = (model for model in (asked, offer.model) if model)
    names = list(dict.fromkeys(models)) or [first]
    for name in names:
        await load_encoding(name)
    defaults = opening.defaults(offer.dialect)
    return [_route(provider, name, listed.get(name), defaults) for name in names]


def _route(provider: Watched, model: str, listed: ModelInfo | None, defaults: Sampling) -> Route:
    """Make a route; what the server lists of the model, its context window above all, is kept."""
    name = provider.connection.name
    info = listed or ModelInfo(f"{name}:{model}", name, model, model)
    can = profile(model, listed.capabilities if listed else None)
    return Route(replace(info, capabilities=can), provider, model, defaults=defaults)


async def _listed(offer: Offer, provider: Watched) -> dict[str, ModelInfo]:
    """What the server offers, by name; raises `Unreachable` and `TimedOut` if it is not up.

    OpenAI's own list is not asked for: it is long, and says nothing of context windows. Nor are
    those of SDKs: they would have to be imported for the start.
    """
    if (
        offer.dialect not in {"openai", "tgi", "local"}
        or offer.connection.base_url == OPENAI_BASE_URL
    ):
        return {}
    try:
        return {info.name: info for info in await provider.models()}
    except (Unreachable, TimedOut):
        raise
    except ProviderError:
        return {}  # not every server has a list


def _choice(setting: str, wanted: str, routes: list[Route], found: list[Offer]) -> Choice:
    if not wanted:
        return Choice(routes[0].info.id, _reason(routes[0], found))
    told = f"{setting} is set" + (" in parley.toml" if setting == "default_model" else "")
    for route in routes:
        if wanted == route.info.id:
            return Choice(route.info.id, told)
    for route in routes:
        if wanted in _names([route]):
            return Choice(route.info.id, told)
    known = ", ".join(route.info.id for route in routes)
    raise UnknownModel(
        f"{setting} is {wanted}, but that provider is neither configured nor found. Set its key"
        f" or base URL, or write one of these as provider:model: {known}."
    )


def _reason(route: Route, found: list[Offer]) -> str:
    if route.info.provider == DEMO_MODEL.provider and route.info.id == DEMO_MODEL.id:
        return _DEMO_REASON
    if found and route.info.id.startswith(f"{found[0].connection.name}:"):
        return found[0].reason
    return "it is the first in parley.toml"
