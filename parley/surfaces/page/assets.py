"""Assets: the scripts and styles of Chainlit's page, packed once and not for each visitor.

Chainlit packs its script of 4.6 MB anew for everybody who opens the page, on the loop, which takes
a tenth of a second from all that stream meanwhile. The names hold a digest of the content: a
browser need not ask for one again.
"""

import asyncio
import gzip
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from parley.chat.errors import NotFound

_PACKED = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css"}
_LEVEL = 6
_HEADERS = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}


def asset_route(directory: Path) -> Route:
    """Make the route of the files of a directory; what it packed stays in memory, some megabytes."""
    files = {path.relative_to(directory).as_posix(): path for path in directory.rglob("*.*")}
    packed: dict[str, bytes] = {}

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        path = files.get(name)
        if path is None:
            raise NotFound(f"There is nothing at {request.url.path}.")
        if path.suffix not in _PACKED or "gzip" not in request.headers.get("accept-encoding", ""):
            return FileResponse(path, headers=_HEADERS)
        if name not in packed:
            packed[name] = await asyncio.to_thread(_pack, path)
        headers = _HEADERS | {"content-encoding": "gzip"}
        return Response(packed[name], headers=headers, media_type=_PACKED[path.suffix])

    return Route("/assets/{name:path}", asset, methods=["GET"])


def _pack(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), _LEVEL, mtime=0)
