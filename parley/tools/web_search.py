"""Web search: titles, addresses and a few words of pages about something."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from parley.chat.tools import Source
from parley.observability.logs import get_logger
from parley.tools.cache import BriefCache
from parley.tools.definition import Result
from parley.tools.failures import ToolFailed
from parley.tools.safe_http import SafeHttp
from parley.tools.search_services import Found, Service

logger = get_logger(__name__)

_KEPT_S = 300.0
_TEXT_CHARS = 500


class WebSearch:
    """Asks search services, one after the other until one answers."""

    def __init__(self, http: SafeHttp, services: Sequence[Service]) -> None:
        """Ask `services`, of which there is one at least, through `http`."""
        self._http = http
        self._services = services
        self._kept: BriefCache[Sequence[Found]] = BriefCache(_KEPT_S)

    async def web_search(
        self,
        query: Annotated[str, Field(description="What to look for", min_length=1, max_length=400)],
        count: Annotated[int, Field(description="How many results", ge=1, le=20)] = 6,
    ) -> Result:
        """Search the web: gives titles, addresses and a few words of each page.

        Use it for what may have changed, and for what you do not know. Read a page with read_page
        before you rely on it. Say where something is from as a link: [title](address).
        """
        found = await self._kept.get(f"{count} {query}", lambda: self._ask(query, count))
        shown = [item for item in found if _is_web(item.url)][:count]
        if not shown:
            return Result("Nothing was found. Try other words.")
        lines = [
            f"{number}. {_line(item.title) or item.url}\n{item.url}\n{_line(item.text)[:_TEXT_CHARS]}"
            for number, item in enumerate(shown, 1)
        ]
        sources = [Source(_line(item.title) or item.url, item.url) for item in shown]
        return Result("\n\n".join(lines), sources)

    async def _ask(self, query: str, count: int) -> Sequence[Found]:
        failed: ToolFailed | None = None
        for service in self._services:
            try:
                return await service.search(self._http, query, count)
            except ToolFailed as error:
                failed = error
                logger.warning("Search failed", service=service.name, why=error.why)
        if failed and failed.why == "not_found":
            raise failed
        raise ToolFailed(
            f"The web cannot be searched now. {failed.message if failed else ''}", "unavailable"
        )


def _is_web(url: str) -> bool:
    try:
        return urlsplit(url).scheme in {"http", "https"}
    except ValueError:
        return False


def _line(text: str) -> str:
    return " ".join(text.split())
