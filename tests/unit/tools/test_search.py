"""Search: services as rows, asked in order, against local ones that speak as theirs do."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from parley.tools.definition import tool_of
from parley.tools.opening import ToolsConfig, open_tools, services_of
from parley.tools.registry import ToolRegistry
from parley.tools.safe_http import HttpConfig, open_http
from parley.tools.search_services import Service, brave, searxng, tavily
from parley.tools.web_search import WebSearch
from tests.fakes.web import Web, page_of, web
from tests.patience import PATIENCE_S

RESULTS = [
    {"title": "On\ncats", "url": "https://a.example/", "content": "All about cats.", "x": 1},
    {"title": "", "url": "https://b.example/", "content": None},
    {"title": "Evil", "url": "javascript:alert(1)", "content": ""},
    {"title": "No address"},
    "nonsense",
]
JSON = "application/json"


def answer(*way: str, text: str = "content") -> bytes:
    inside: object = [
        {**item, text: item.get("content")} if isinstance(item, dict) else item for item in RESULTS
    ]
    for step in reversed(way):
        inside = {step: inside}
    return page_of(json.dumps(inside), JSON)


@asynccontextmanager
async def searching(served: Web, *services: Service) -> AsyncIterator[ToolRegistry]:
    config = HttpConfig(
        networks=(ip_network("127.0.0.1/32"),), ports=frozenset({served.port}), total_s=PATIENCE_S
    )
    async with open_http(config) as http:
        asked = services or [searxng(served.url("").rstrip("/"))]
        yield ToolRegistry([tool_of(WebSearch(http, asked).web_search, "“{query}”")])


SERVICES = {
    "searxng": (answer("results"), searxng),
    "brave": (
        answer("web", "results", text="description"),
        lambda url: brave("k3y", f"{url}/search"),
    ),
    "tavily": (answer("results"), lambda url: tavily("k3y", f"{url}/search")),
}


@pytest.mark.parametrize("name", SERVICES)
async def test_services_are_understood(name: str) -> None:
    page, service = SERVICES[name]
    async with web({"/search": page}) as served:
        async with searching(served, service(served.url("").rstrip("/"))) as registry:
            result = await registry.run("web_search", '{"query": "cats & dogs", "count": 3}')
        assert result.error is None
        assert "1. On cats\nhttps://a.example/\nAll about cats." in result.text
        assert "2. https://b.example/" in result.text
        assert "javascript" not in result.text
        assert [s.url for s in result.sources] == ["https://a.example/", "https://b.example/"]
        (asked,) = served.seen
        if name == "tavily":
            assert asked.startswith("POST /search ")
            assert "Authorization: Bearer k3y" in asked
        else:
            assert "q=cats+%26+dogs" in asked
        if name == "brave":
            assert "X-Subscription-Token: k3y" in asked
            assert "count=3" in asked
        if name == "searxng":
            assert "format=json" in asked


async def test_same_search_is_remembered_briefly() -> None:
    async with web({"/search": answer("results")}) as served, searching(served) as registry:
        for _ in range(3):
            await registry.run("web_search", '{"query": "cats"}')
        await registry.run("web_search", '{"query": "dogs"}')
        assert len(served.seen) == 2


@pytest.mark.parametrize(
    "page",
    [
        page_of("busy", status="503 Busy"),
        page_of("{", JSON),
        page_of("<html>", "text/html"),
        page_of("", status="429 Too Many"),
    ],
)
async def test_service_that_is_down_is_told_and_the_next_one_asked(page: bytes) -> None:
    async with web({"/search": page}) as served, web({"/search": answer("results")}) as other:
        down, up = searxng(served.url("").rstrip("/")), searxng(other.url("").rstrip("/"))
        async with searching(served, down) as registry:
            result = await registry.run("web_search", '{"query": "cats"}')
            assert result.error == "unavailable"
            assert "cannot be searched now" in result.text
        config = HttpConfig(
            networks=(ip_network("127.0.0.1/32"),), ports=frozenset({served.port, other.port})
        )
        async with open_http(config) as http:
            search = WebSearch(http, [down, up])
            assert "On cats" in (await search.web_search("cats")).text


@pytest.mark.parametrize(
    "page", [page_of("{}", JSON), page_of("[]", JSON), page_of('{"results":3}', JSON)]
)
async def test_nothing_found_is_no_failure(page: bytes) -> None:
    async with web({"/search": page}) as served, searching(served) as registry:
        result = await registry.run("web_search", '{"query": "cats"}')
        assert (result.error, result.sources) == (None, ())
        assert "Nothing was found" in result.text


async def test_searxng_is_reached_in_the_house_and_only_by_the_search() -> None:
    async def inside(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with web({"/search": answer("results")}) as served:
        url = served.url("", host="searxng").rstrip("/")
        config = ToolsConfig(http=HttpConfig(lookup=inside), searxng_url=url, robots=False)
        async with open_tools(config) as registry:
            assert (await registry.run("web_search", '{"query": "cats"}')).error is None
            result = await registry.run("read_page", json.dumps({"url": f"{url}/search"}))
            assert result.error == "not_allowed"


def test_services_come_in_their_order() -> None:
    named = ToolsConfig(searxng_url="http://s", brave_key="k3y", tavily_key="k3y")
    assert [service.name for service in services_of(named)] == ["SearXNG", "Brave", "Tavily"]
    assert [service.name for service in services_of(ToolsConfig())] == ["ddgs"]
    assert "k3y" not in repr(named) + repr(services_of(named))
