"""Plain route: an endpoint that takes the request and gives the response, with nothing in between."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override


class PlainRoute(APIRoute):
    """Described like every other route, called without FastAPI's search for what it depends on.

    That is a twentieth of what a turn costs before its first text.
    """

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give the endpoint itself."""
        return self.endpoint
