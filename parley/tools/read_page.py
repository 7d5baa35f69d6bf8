"""Read page: the text of a web page or a PDF, with title and date."""

from typing import Annotated

from pydantic import Field

from parley.chat.tools import Source
from parley.tools.cache import BriefCache
from parley.tools.definition import Result
from parley.tools.documents import Document, Parser
from parley.tools.failures import ToolFailed
from parley.tools.robots import Robots
from parley.tools.safe_http import SafeHttp

TYPES = (
    "text/",
    "application/xhtml+xml",
    "application/xml",
    "application/json",
    "application/pdf",
)
PART_CHARS = 16_000
_KEPT_S = 300.0


class PageReader:
    """Reads pages; `robots` is asked first where it is there."""

    def __init__(self, http: SafeHttp, robots: Robots | None) -> None:
        """Read through `http`."""
        self._http = http
        self._robots = robots
        self._parser = Parser()
        self._pages: BriefCache[Document] = BriefCache(_KEPT_S, 16)

    async def read_page(
        self,
        url: Annotated[str, Field(description="The whole address, with https://", max_length=2000)],
        start: Annotated[int, Field(description="The character to begin at, to read on", ge=0)] = 0,
    ) -> Result:
        """Read the text of a web page or a PDF, without its menus and advertisements.

        Use it for an address that the user gave or a search found. Say where something is from as
        a link: [title](address).
        """
        page = await self._pages.get(url, lambda: self._fetch(url))
        part = page.text[start : start + PART_CHARS]
        if not part:
            raise ToolFailed(f"The page has {len(page.text)} characters.", "invalid_arguments")
        lines = [f"{name}: {said}" for name, said in _named(page) if said]
        rest = len(page.text) - start - len(part)
        if rest:
            lines.append(
                f"There is more: {rest} characters, to read with start={start + len(part)}"
            )
        title = page.title or page.url
        return Result("\n".join((*lines, "", part)), (Source(title, page.url),))

    async def _fetch(self, url: str) -> Document:
        before = self._robots.check if self._robots else None
        fetched = await self._http.get(url, types=TYPES, before=before)
        if fetched.status == 404 or fetched.status == 410:
            raise ToolFailed("There is no such page.", "not_found")
        if fetched.status >= 400:
            raise ToolFailed(f"The site answered with the error {fetched.status}.", "unavailable")
        return await self._parser.parse(fetched)


def _named(page: Document) -> tuple[tuple[str, str], ...]:
    return (
        ("Title", page.title),
        ("Author", page.author),
        ("Date", page.date),
        ("Address", page.url),
    )
