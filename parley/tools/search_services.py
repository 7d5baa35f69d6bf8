"""Search services: each one is a row; a new one that answers in JSON is another."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import msgspec

from parley.tools.failures import ToolFailed
from parley.tools.safe_http import Fetched, SafeHttp

_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Found:
    """One result of a search."""

    title: str
    url: str
    text: str


@dataclass(frozen=True, slots=True)
class JsonService:
    """A search service that answers in JSON.

    `query` and `count` name what is asked, `results` the way to the list in the answer, `text` the
    field with the words of a result.
    """

    name: str
    url: str
    results: tuple[str, ...]
    text: str
    query: str = "q"
    count: str | None = "count"
    posts: bool = False
    fixed: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    async def search(self, http: SafeHttp, query: str, count: int) -> Sequence[Found]:
        """Search; raises `ToolFailed`."""
        asked: dict[str, Any] = {**self.fixed, self.query: query}
        if self.count:
            asked[self.count] = count
        if self.posts:
            answer = await http.post(self.url, asked, self.headers)
        else:
            answer = await http.get(f"{self.url}?{urlencode(asked)}", headers=self.headers)
        return self._read(answer)

    def _read(self, answer: Fetched) -> Sequence[Found]:
        if answer.status >= 400:
            raise ToolFailed(f"{self.name} answered with the error {answer.status}.", "unavailable")
        try:
            inside: Any = msgspec.json.decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ToolFailed(f"{self.name} did not answer in JSON.", "unavailable") from None
        for step in self.results:
            inside = inside.get(step) if isinstance(inside, dict) else None
        items = inside if isinstance(inside, list) else []
        return [
            Found(str(item.get("title") or ""), str(item["url"]), str(item.get(self.text) or ""))
            for item in items
            if isinstance(item, dict) and item.get("url")
        ]


def brave(key: str, url: str = "https://api.search.brave.com/res/v1/web/search") -> JsonService:
    """Make the row of https://api-dashboard.search.brave.com/app/documentation/web-search."""
    headers = {"X-Subscription-Token": key, "Accept": "application/json"}
    return JsonService("Brave", url, ("web", "results"), "description", headers=headers)


def tavily(key: str, url: str = "https://api.tavily.com/search") -> JsonService:
    """Make the row of https://docs.tavily.com/documentation/api-reference/endpoint/search."""
    headers = {"Authorization": f"Bearer {key}"}
    return JsonService(
        "Tavily",
        url,
        ("results",),
        "content",
        query="query",
        count="max_results",
        posts=True,
        headers=headers,
    )


def searxng(url: str) -> JsonService:
    """Make the row of https://docs.searxng.org/dev/search_api.html; JSON must be on there."""
    return JsonService(
        "SearXNG", f"{url}/search", ("results",), "content", count=None, fixed={"format": "json"}
    )


class Ddgs:
    """Search engines without a key, through the `ddgs` library, in a thread.

    It speaks to the engines, whose addresses it knows, in a browser's manner and with a client of
    its own; nothing that a model or a page says is an address there.
    """

    name = "ddgs"

    async def search(self, http: SafeHttp, query: str, count: int) -> Sequence[Found]:
        """Search; raises `ToolFailed`."""
        return await asyncio.to_thread(_ask_ddgs, query, count)


def _ask_ddgs(query: str, count: int) -> Sequence[Found]:
    from ddgs import DDGS  # noqa: PLC0415 - only where it is used
    from ddgs.exceptions import DDGSException  # noqa: PLC0415

    try:
        found = DDGS(timeout=_TIMEOUT_S).text(query, max_results=count)
    except DDGSException as error:
        if "No results" in str(error):
            return []
        raise ToolFailed(
            "The search engines did not answer, or want no more questions now.", "unavailable"
        ) from None
    return [
        Found(str(item.get("title", "")), str(item.get("href", "")), str(item.get("body", "")))
        for item in found
    ]


Search = Callable[[str, int], Awaitable[Sequence[Found]]]
Service = JsonService | Ddgs
