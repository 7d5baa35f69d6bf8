"""Documents: bytes from the web as text, parsed in a child process with bounds."""

import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from parley.tools.failures import ToolFailed
from parley.tools.safe_http import Fetched

_ROOT = Path(__file__).parents[2]
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
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "parley.tools.extract",
        fetched.media_type,
        fetched.url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=_ROOT,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        out, _ = await process.communicate(fetched.body)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode:
        raise ToolFailed("The page is damaged, or too much to parse.", "unsupported")
    said = json.loads(out)
    return {name: str(value) for name, value in said.items()}
