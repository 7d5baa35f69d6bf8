"""The ladder: which model answers when nobody says which, in fixed order and with the reason.

Explicit model; keys and URLs of the environment; a model server on this machine; the demo.
"""

from parley.chat.errors import ProviderError, TimedOut, UnknownModel, Unreachable
from parley.chat.models import ModelInfo, Sampling
from parley.chat.ports import Route
from providers.config import Connection, LoopbackPorts, Offer, ProvidersConfig
from providers.demo import DEMO_MODEL, DemoProvider
from providers.encodings import load_encoding
from providers.loopback import LOCAL_PROVIDERS, detect
from providers.openai_compatible import (
    FIRST_LISTED,
    OPENAI_BASE_URL,
    OPENAI_DEFAULT_MODEL,
    OpenAICompatible,
    base_url,
)
from providers.registry import Choice, Registry

_DEMO_REASON = "no key, no base URL and no model server on this machine was found"


async def open_registry(config: ProvidersConfig, ports: LoopbackPorts | None = None) -> Registry:
    """Open the providers that are configured, or else found, and choose the default model.

    Looks on loopback only where nothing is configured or a local provider is asked for by name.
    Raises `UnknownModel` where the explicit model's provider is neither configured nor found.
    """
    setting, wanted = _explicit(config)
    name, _, model = wanted.partition(":")
    offers = _configured(config)
    if _looks_local(config, name, offers):
        offers += await detect(ports or LoopbackPorts(), config.deadlines)
    defaults = Sampling(max_tokens=config.max_tokens, temperature=config.temperature)
    routes: list[Route] = []
    for offer in offers:
        asked = model if offer.connection.name == name else ""
        routes += await _routes(offer, asked, defaults)
    if not routes or name == DEMO_MODEL.provider:
        routes.append(Route(DEMO_MODEL, DemoProvider(), DEMO_MODEL.name))
    return Registry(routes, _choice(setting, wanted, routes, offers))


def _explicit(config: ProvidersConfig) -> tuple[str, str]:
    """The setting that names a model or a provider, and what it says; nothing where none does."""
    if config.default_model:
        return "DEFAULT_MODEL", config.default_model.strip()
    return "LLM_PROVIDER", (config.llm_provider or "").strip()


def _configured(config: ProvidersConfig) -> list[Offer]:
    offers = []
    if config.openai_api_key or config.openai_base_url:
        offers.append(_openai(config))
    if config.tgi_base_url:
        offers.append(_tgi(config, config.tgi_base_url))
    return offers


def _openai(config: ProvidersConfig) -> Offer:
    connection = Connection(
        "openai",
        config.openai_base_url or OPENAI_BASE_URL,
        config.openai_api_key,
        deadlines=config.deadlines,
        key_setting="OPENAI_API_KEY",
        url_setting="OPENAI_BASE_URL",
        model_setting="OPENAI_MODEL",
    )
    model = config.openai_model or (None if config.openai_base_url else OPENAI_DEFAULT_MODEL)
    setting = "OPENAI_API_KEY" if config.openai_api_key else "OPENAI_BASE_URL"
    return Offer(connection, model, f"{setting} is set")


def _tgi(config: ProvidersConfig, url: str) -> Offer:
    connection = Connection(
        "tgi",
        base_url(url).removesuffix("/v1") + "/v1",
        config.tgi_api_key,
        deadlines=config.deadlines,
        key_setting="TGI_API_KEY",
        url_setting="TGI_BASE_URL",
    )
    return Offer(connection, "tgi", "TGI_BASE_URL is set")


def _looks_local(config: ProvidersConfig, name: str, offers: list[Offer]) -> bool:
    if name:
        return name in LOCAL_PROVIDERS - {offer.connection.name for offer in offers}
    return config.detect_local and not offers


async def _routes(offer: Offer, asked: str, defaults: Sampling) -> list[Route]:
    """The routes of one provider; the model that was asked for is its default."""
    provider = OpenAICompatible(offer.connection, defaults)
    try:
        listed = await _listed(provider)
        first = next(iter(listed), OPENAI_DEFAULT_MODEL)
    except (Unreachable, TimedOut):
        listed, first = {}, FIRST_LISTED
    models = (model for model in (asked, offer.model) if model)
    names = list(dict.fromkeys(models)) or [first]
    for name in names:
        await load_encoding(name)
    return [_route(provider, name, listed.get(name)) for name in names]


def _route(provider: OpenAICompatible, model: str, listed: ModelInfo | None) -> Route:
    """Make a route; what the server lists of the model, its context window above all, is kept."""
    name = provider.connection.name
    info = listed or ModelInfo(f"{name}:{model}", name, model, model)
    return Route(info, provider, model)


async def _listed(provider: OpenAICompatible) -> dict[str, ModelInfo]:
    """What the server offers, by name; raises `Unreachable` and `TimedOut` if it is not up.

    OpenAI's own list is not asked for: it is long, and says nothing of context windows.
    """
    if provider.connection.base_url == OPENAI_BASE_URL:
        return {}
    try:
        return {info.name: info for info in await provider.models()}
    except (Unreachable, TimedOut):
        raise
    except ProviderError:
        return {}  # not every server has a list


def _choice(setting: str, wanted: str, routes: list[Route], offers: list[Offer]) -> Choice:
    if not wanted:
        reason = offers[0].reason if offers else _DEMO_REASON
        return Choice(routes[0].info.id, reason)
    for route in routes:
        if wanted in {route.info.id, route.info.provider}:
            return Choice(route.info.id, f"{setting} is set")
    known = ", ".join(route.info.id for route in routes)
    raise UnknownModel(
        f"{setting} is {wanted}, but that provider is neither configured nor found. Set its key"
        f" or base URL, or write one of these as provider:model: {known}."
    )
