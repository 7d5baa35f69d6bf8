"""Robots: what a site asks of those that read it by machine (RFC 9309)."""

import asyncio

from protego import Protego
from yarl import URL

from parley.tools.cache import BriefCache
from parley.tools.failures import ToolFailed
from parley.tools.safe_http import SafeHttp

_KEPT_S = 600.0
_LIMIT_CHARS = 500 * 1024


class Robots:
    """Asks a site's robots.txt before a page of it is read."""

    def __init__(self, http: SafeHttp, agent: str) -> None:
        """Ask through `http`, in the name of `agent`."""
        self._http = http
        self._agent = agent
        self._rules: BriefCache[Protego | None] = BriefCache(_KEPT_S)

    async def check(self, page: URL) -> None:
        """Raise `ToolFailed` where the site does not want the page to be read, or cannot say."""
        origin = str(page.origin())
        rules = await self._rules.get(origin, lambda: self._ask(f"{origin}/robots.txt"))
        if rules is None or not await asyncio.to_thread(rules.can_fetch, str(page), self._agent):
            raise ToolFailed(f"{page.host} does not want programs to read this page.", "robots")

    async def _ask(self, url: str) -> Protego | None:
        """Read the rules; None where the site fails, which stands for a no."""
        found = await self._http.get(url)
        if found.status >= 500:
            return None
        said = found.body.decode("utf-8", "replace")[:_LIMIT_CHARS] if found.status < 400 else ""
        # Seconds, for the rules that a site may think up.
        return await asyncio.to_thread(Protego.parse, said)
