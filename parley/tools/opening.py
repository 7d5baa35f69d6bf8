"""Opening: the tools of this server, made of what settings say."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from yarl import URL

from parley.observability.logs import get_logger
from parley.tools.definition import Tool, tool_of
from parley.tools.plugins import load_installed
from parley.tools.read_page import PageReader
from parley.tools.registry import ToolRegistry
from parley.tools.robots import Robots
from parley.tools.safe_http import HttpConfig, open_http
from parley.tools.search_services import Ddgs, Service, brave, searxng, tavily
from parley.tools.tunnel import open_tunnel
from parley.tools.web_search import WebSearch

logger = get_logger(__name__)

WEB_SEARCH, READ_PAGE = "web_search", "read_page"
# How long a search may take: all services one after the other, or the engines.
_SEARCH_S = 40.0
BUILT_IN = (WEB_SEARCH, READ_PAGE)


@dataclass(frozen=True, slots=True)
class ToolsConfig:
    """What settings know of tools; `names` are those that there are, None for all.

    `searxng_url`, `brave_key` and `tavily_key` are asked in this order; without them the search
    engines that want no key.
    """

    names: frozenset[str] | None = None
    http: HttpConfig = field(default_factory=HttpConfig)
    searxng_url: str | None = None
    brave_key: str | None = field(default=None, repr=False)
    tavily_key: str | None = field(default=None, repr=False)
    robots: bool = True
    plugins: tuple[Tool, ...] = ()


@asynccontextmanager
async def open_tools(config: ToolsConfig) -> AsyncIterator[ToolRegistry]:
    """Open the tools; leaving it closes their connections."""
    async with AsyncExitStack() as stack:
        tools: list[Tool] = []
        if _is_on(config, READ_PAGE):
            http = await stack.enter_async_context(open_http(config.http))
            robots = Robots(http, config.http.user_agent) if config.robots else None
            reader = PageReader(http, robots)
            tools.append(tool_of(reader.read_page, "Reading {url}", timeout_s=60))
        if _is_on(config, WEB_SEARCH):
            http = await stack.enter_async_context(open_http(_search_http(config)))
            search = WebSearch(http, services_of(config))
            action = "Searching the web for “{query}”"
            tools.append(tool_of(search.web_search, action, timeout_s=_SEARCH_S))
        tools += [tool for tool in config.plugins if _is_on(config, tool.spec.name)]
        tools += load_installed(lambda name: _is_on(config, name))
        registry = ToolRegistry(tools)
        logger.info("Tools", tools=", ".join(registry.names) or "none")
        yield registry


def services_of(config: ToolsConfig) -> list[Service]:
    """Make the rows of the search services, in the order in which they are asked."""
    services: list[Service] = []
    if config.searxng_url:
        services.append(searxng(config.searxng_url))
    if config.brave_key:
        services.append(brave(config.brave_key))
    if config.tavily_key:
        services.append(tavily(config.tavily_key))
    # Search engines speak TLS, and nothing else.
    tunnel = partial(open_tunnel, replace(config.http, ports=frozenset({443})))
    return services or [Ddgs(tunnel, patience_s=_SEARCH_S * 0.75)]


def _is_on(config: ToolsConfig, name: str) -> bool:
    return config.names is None or name in config.names


def _search_http(config: ToolsConfig) -> HttpConfig:
    """Let the search reach the service that was named, wherever that is; pages may not."""
    http = replace(config.http, total_s=_SEARCH_S * 0.3)
    if not config.searxng_url:
        return http
    url = URL(config.searxng_url)
    return replace(http, hosts=frozenset({(url.host or "", url.port or 0)}))
