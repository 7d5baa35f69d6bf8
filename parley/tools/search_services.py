"""Search services: each one is a row; a new one that answers in JSON is another."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from parley.tools.ask_engines import Answered, Asked
from parley.tools.child import run_apart
from parley.tools.failures import ToolFailed
from parley.tools.safe_http import Fetched, SafeHttp

_AT_ONCE = 4
_WHY_NOTHING = {
    # The library does not tell these two apart.
    "not_found": "The search engines gave nothing: there is nothing, or they want no more questions"
    " now. Try other words.",
    "timeout": "The search engines took too long.",
    "unavailable": "The search engines did not answer.",
}

OpenTunnel = Callable[[], AbstractAsyncContextManager[str]]


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
    """Search engines without a key, through the `ddgs` library, in a process of its own.

    It goes out through a tunnel that `tunnel` opens; `ca_file` has the authorities to believe.
    A few searches run at once, others wait; more than `most` are refused.
    """

    name = "ddgs"

    def __init__(
        self,
        tunnel: OpenTunnel,
        ca_file: Path | None = None,
        *,
        patience_s: float = 30,
        most: int = 32,
    ) -> None:
        """Give up on a search after `patience_s`."""
        self._tunnel = tunnel
        self._ca_file = ca_file
        self._patience_s = patience_s
        self._most = most
        self._asked = 0
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def search(self, http: SafeHttp, query: str, count: int) -> Sequence[Found]:
        """Search; raises `ToolFailed`."""
        if self._asked >= self._most:
            raise ToolFailed("Too many searches run at once. Ask again in a minute.", "unavailable")
        self._asked += 1
        try:
            async with asyncio.timeout(self._patience_s), self._turns, self._tunnel() as proxy:
                ca_file = str(self._ca_file) if self._ca_file else None
                answer = await _apart(Asked(query, count, proxy, ca_file))
        except TimeoutError:
            answer = Answered(why="timeout")
        finally:
            self._asked -= 1
        if answer.why:
            raise ToolFailed(_WHY_NOTHING[answer.why], answer.why)
        return [Found(*item) for item in answer.found]


async def _apart(asked: Asked) -> Answered:
    out = await run_apart("parley.tools.ask_engines", given=msgspec.json.encode(asked))
    return msgspec.json.decode(out, type=Answered) if out else Answered(why="unavailable")


Service = JsonService | Ddgs
