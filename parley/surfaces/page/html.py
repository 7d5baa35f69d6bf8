"""Html: the page's document without what it would fetch from elsewhere.

Chainlit's template takes its fonts from Google and a stylesheet for formulas from a CDN. A
self-hosted page tells nobody who opens it, and does not wait for a network that may not be there.
The stylesheet is in public/katex, of the version whose script Chainlit has.
"""

import re
from collections.abc import Callable
from functools import cache

from parley.surfaces.http.inline import digests

_KATEX = re.compile(r"https://cdn\.jsdelivr\.net/npm/katex@[0-9.]+/dist/katex\.min\.css")
_FOREIGN = re.compile(
    r"<link\b[^>]*\bhref=\"https?://[^>]*>\s*|<meta\b[^>]*\bcontent=\"https?://[^>]*>\s*"
)


# Chainlit's own lines of script, as its template has them: a browser runs no others (gate.py).
_allowed: set[str] = set()


def allowed_scripts() -> str:
    """Give the digests of the inline scripts that were rendered, as a CSP writes them."""
    return " ".join(sorted(_allowed))


def _allow_scripts(html: str) -> str:
    _allowed.update(digests(html, "script"))
    return html


def in_frame(template: Callable[[str], str]) -> Callable[[str], str]:
    """Wrap a template of a page that is shown in frames: before all else it sees whether it can be."""

    def render(root_path: str) -> str:
        script = f'<script src="{root_path.rstrip("/")}/public/frame.js"></script>'
        return template(root_path).replace("<head>", f"<head>{script}", 1)

    return render


def without_foreign(template: Callable[[str], str]) -> Callable[[str], str]:
    """Wrap a template of Chainlit's; it is rendered once, not for every request."""

    @cache
    def render(root_path: str) -> str:
        styles = f"{root_path.rstrip('/')}/public/katex/katex.min.css"
        html = _KATEX.sub(styles, template(root_path))
        return _allow_scripts(_FOREIGN.sub("", html))

    return render
