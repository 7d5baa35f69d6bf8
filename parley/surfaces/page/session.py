"""Session: Chainlit's of one page, which leaves nothing behind.

Chainlit writes at every disconnect what a session has of its thread's settings, and that may be older than what
another page, or another server's, has set meanwhile. Here what is chosen is kept when it is chosen (asking.py).
"""

from typing import Any

from chainlit.session import WebsocketSession
from typing_extensions import override


class PageSession(WebsocketSession):
    """The session of one page."""

    @override
    def to_persistable(self) -> dict[str, Any]:
        return {}
