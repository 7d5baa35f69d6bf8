"""Html: the page's document without what it would fetch from elsewhere.

Chainlit's template takes its fonts from Google and a stylesheet for formulas from a CDN. A
self-hosted page tells nobody who opens it, and does not wait for a network that may not be there.
"""

import re
from collections.abc import Callable
from functools import cache

_FOREIGN = re.compile(
    r"<link\b[^>]*\bhref=\"https?://[^>]*>\s*|<meta\b[^>]*\bcontent=\"https?://[^>]*>\s*"
)


def without_foreign(template: Callable[[str], str]) -> Callable[[str], str]:
    """Wrap a template of Chainlit's; it is rendered once, not for every request."""

    @cache
    def render(root_path: str) -> str:
        return _FOREIGN.sub("", template(root_path))

    return render
