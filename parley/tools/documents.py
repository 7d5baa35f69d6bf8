"""Documents: bytes from the web as text, parsed in a child process with bounds."""

import asyncio
import json
from dataclasses import dataclass

from parley.tools.child import run_apart
from parley.tools.failures import ToolFailed
from parley.tools.safe_http import Fetched

# How many documents are parsed at once: each takes a core.
_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Document:
    """What is said on a page."""

    url: str
    text: str
    title: str = ""
    author: str = ""
    date: str = ""


class Parser:
    """Parses documents, a few at a time."""

    def __init__(self, timeout_s: float = 20.0) -> None:
        """Give up on a document after `timeout_s`."""
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def parse(self, fetched: Fetched) -> Document:
        """Give the text of a document; raises `ToolFailed`."""
        async with self._turns:
            try:
                async with asyncio.timeout(self._timeout_s):
                    said = await _in_child(fetched)
            except TimeoutError:
                raise ToolFailed("The page could not be parsed in time.", "timeout") from None
        text = said.pop("text").strip()
        if not text:
            raise ToolFailed("There is no text on this page that could be read.", "unsupported")
        return Document(fetched.url, text, **said)


async def _in_child(fetched: Fetched) -> dict[str, str]:
    said_of_it = (fetched.media_type, fetched.url, fetched.charset)
    out = await run_apart("parley.tools.extract", *said_of_it, given=fetched.body)
    if out is None:
        raise ToolFailed("The page is damaged, or too much to parse.", "unsupported")
    said = json.loads(out)
    return {name: str(value) for name, value in said.items()}
