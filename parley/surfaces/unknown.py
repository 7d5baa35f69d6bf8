"""Unknown: what leads nowhere is our 404 or 405, never the page, which answers all that is left."""

from collections import defaultdict
from collections.abc import Iterable

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from parley.chat.errors import NotFound

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
    return refusals + [_route(path, _Nowhere()) for path in nowhere]


def _route(path: str, refusal: "_WrongMethod | _Nowhere") -> Route:
    return Route(path, refusal, include_in_schema=False)


# An instance with `__call__` and not a function: a `Route` gives those every method.
class _WrongMethod:
    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = ", ".join(sorted(allowed))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise HTTPException(405, headers={"allow": self._allowed})


class _Nowhere:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotFound(f"There is nothing at {scope['path']}.")
