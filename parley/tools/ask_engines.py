"""Ask engines: a search through the library `ddgs`, in a process of its own.

Run as ``python -m parley.tools.ask_engines``: an `Asked` comes in as JSON, an `Answered` goes out.
The library has a client of its own, that looks like a browser to engines which refuse others; its
only way out is the proxy that it is given (parley/tools/tunnel.py).
"""

import sys
from typing import Any, Literal

import msgspec

from parley.tools.child import be_bounded

# For each engine; some are asked side by side, the next ones where those give too little.
ENGINE_S = 5
_CHARS = {"title": 300, "href": 2000, "body": 2000}


class Asked(msgspec.Struct):
    """A search; `ca_file` has the authorities that are believed instead of the usual ones."""

    query: str
    count: int
    proxy: str
    ca_file: str | None = None


class Answered(msgspec.Struct):
    """Title, address and words of each result, or why there are none."""

    found: list[tuple[str, str, str]] = []
    why: Literal["not_found", "timeout", "unavailable"] | None = None


def main() -> None:
    """Read what is asked from the standard input, and write what was found."""
    be_bounded()
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    sys.stdout.buffer.write(msgspec.json.encode(ask(asked)))


def ask(asked: Asked) -> Answered:
    """Ask the engines."""
    from ddgs import DDGS  # noqa: PLC0415 - only where it is used
    from ddgs.exceptions import DDGSException, TimeoutException  # noqa: PLC0415

    engines = DDGS(proxy=asked.proxy, timeout=ENGINE_S, verify=asked.ca_file or True)
    try:
        found = engines.text(asked.query, max_results=asked.count)
    except TimeoutException:
        return Answered(why="timeout")
    except DDGSException as error:
        return Answered(why="not_found" if "No results" in str(error) else "unavailable")
    return Answered([(_of(item, "title"), _of(item, "href"), _of(item, "body")) for item in found])


def _of(item: dict[str, Any], name: str) -> str:
    return str(item.get(name) or "")[: _CHARS[name]]


if __name__ == "__main__":
    main()
