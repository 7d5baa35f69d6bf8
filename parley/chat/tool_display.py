"""Tool display: what a tool gave, as Markdown for people. Pure.

A result comes from outside: it stands in a block in which nothing is Markdown or HTML, and only
its sources are links, to the web and nowhere else.
"""

import re
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from parley.chat.quoting import quoted
from parley.chat.tools import Source

# Kept whole in the row; the page only shows it.
_SHOWN_CHARS = 4000
# As references: of signs behind a backslash some begin a formula.
_SIGNS = re.compile(r"[\\`*_{}\[\]()<>#+!|~:&$-]")
_SIGNS_IN_URLS = re.compile(r"[&$]")
# What a URL may have as it is: no bracket, quote or space ends the link early.
_KEPT_IN_URLS = "/:?#@!$&*+,;=%~-._"


def step_title(name: str, action: str) -> str:
    """Name a call for people: the tool, and what it does or did."""
    return f"{name}: {action}" if action else name


def result_markdown(result: str, sources: Sequence[Source] = ()) -> str:
    """Show a result: its sources as links, and its text as it is."""
    links = [f"- {link}" for source in sources if (link := _link(source))]
    parts = ["\n".join(links)] if links else []
    if result:
        parts.append(quoted(result, _SHOWN_CHARS))
    return "\n\n".join(parts)


def _link(source: Source) -> str:
    """Make a link of a source; nothing where it does not lead to the web."""
    try:
        parts = urlsplit(source.url)
    except ValueError:
        return ""
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        return ""
    title = _SIGNS.sub(_reference, " ".join(source.title.split()) or source.url)
    url = _SIGNS_IN_URLS.sub(_reference, quote(source.url, safe=_KEPT_IN_URLS))
    return f"[{title}]({url})"


def _reference(sign: re.Match[str]) -> str:
    return f"&#{ord(sign[0])};"
