"""Unknown: paths below the API's prefixes that lead nowhere are our 404, never the page."""

from fastapi import APIRouter

from parley.chat.errors import NotFound

_PREFIXES = ("/api", "/v1")
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def unknown_routes() -> APIRouter:
    """Make the routes; include them after every other below these prefixes."""
    router = APIRouter(include_in_schema=False)

    async def unknown(path: str) -> None:
        raise NotFound(f"There is nothing at this path: {path}.")

    for prefix in _PREFIXES:
        router.add_api_route(prefix + "/{path:path}", unknown, methods=_METHODS)
    return router
