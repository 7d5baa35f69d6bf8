"""Unknown: what leads nowhere is our 404, 405 or 426, never the page, which answers the rest."""

from collections import defaultdict
from collections.abc import Iterable

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from parley.chat.errors import InvalidRequest, NotFound
from parley.surfaces.http.failures import refused
from parley.surfaces.websocket import PATHS

_PREFIXES = ("/api", "/v1", "/files")


def unknown_routes(known: Iterable[APIRouter]) -> list[Route]:
    """Make the routes that refuse; they come after `known` and before the page."""
    methods: dict[str, set[str]] = defaultdict(set)
    for router in known:
        for route in router.routes:
            if isinstance(route, APIRoute):
                methods[route.path] |= route.methods or set()
    refusals = [_route(path, _WrongMethod(allowed)) for path, allowed in methods.items()]
    nowhere = (path for prefix in _PREFIXES for path in (prefix, prefix + "/{path:path}"))
    sockets = [_route(path, _OnlyASocket()) for path in PATHS]
    return refusals + sockets + [_route(path, _Nowhere()) for path in nowhere]


def _route(path: str, refusal: "_WrongMethod | _OnlyASocket | _Nowhere") -> Route:
    return Route(path, refusal, include_in_schema=False)


# An instance with `__call__` and not a function: a `Route` gives those every method.
class _WrongMethod:
    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = ", ".join(sorted(allowed))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise HTTPException(405, headers={"allow": self._allowed})


class _OnlyASocket:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = InvalidRequest(f"{scope['path']} is a WebSocket: connect to it by ws:// or wss://.")
        response = refused(scope["path"], error, 426)
        response.headers["upgrade"] = "websocket"
        await response(scope, receive, send)


class _Nowhere:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotFound(f"There is nothing at {scope['path']}.")
