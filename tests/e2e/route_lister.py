"""Prints every route, WebSocket and Socket.IO event of the app that runs, as JSON."""

import asyncio
import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any


def all_routes(routes: Any) -> Iterator[Any]:
    """Give the routes, those of included routers too; not those that only refuse (unknown.py)."""
    for route in routes:
        if inner := getattr(route, "original_router", None):
            yield from all_routes(inner.routes)
        elif type(getattr(route, "app", None)).__module__ != "parley.surfaces.unknown":
            yield route


def routes_of(app: Any) -> set[str]:
    """Name the routes: method and path; `ANY` where a route takes every method."""
    found: set[str] = set()
    for route in all_routes(app.router.routes):
        path, methods = getattr(route, "path", ""), getattr(route, "methods", None)
        if type(route).__name__ in {"WebSocketRoute", "APIWebSocketRoute"}:
            found.add(f"WEBSOCKET {path}")
        elif type(route).__name__ == "Mount":
            found.add(f"MOUNT {path or '/'}")
        elif path:
            found |= {f"{method} {path}" for method in methods or {"ANY"}}
    # Answered by whatever answers GET.
    return {name for name in found if not name.startswith("HEAD ") or name == "HEAD /"}


async def main() -> None:
    app = importlib.import_module("app").app
    async with app.router.lifespan_context(app):
        server = importlib.import_module("chainlit.server")
        listed = {
            "ours": sorted(routes_of(app)),
            "page": sorted(routes_of(server.app)),
            "events": sorted(server.sio.handlers["/"]),
        }
    sys.stdout.write(json.dumps(listed))


asyncio.run(main())
