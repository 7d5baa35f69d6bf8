"""Door's files: how an app that is not Parley gives attachments back to who may see them.

Chainlit shows an element by its URL, and serves none that was kept: this adds the routes to its
server. Whatever a file is, a browser guesses no type and runs nothing of it.
"""

import sys
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from chainlit.auth import get_current_user
from fastapi import Depends, FastAPI, HTTPException
from starlette.responses import Response, StreamingResponse

from parley.chat.attachments import (
    Attachment,
    Attachments,
    download_path,
    opens_in_place,
    shared_download_path,
)
from parley.chat.errors import ParleyError

Find = Callable[[str, str | None], Awaitable[Attachment]]


def add_downloads(attachments: Attachments, find: Find) -> None:
    """Add the routes to Chainlit's server, where there is one.

    `find` takes a file's id and, of a shared thread, that one's; what it raises is shown.
    """
    server = sys.modules.get("chainlit.server")
    if server is None:  # a script, that only reads and writes
        return
    app: FastAPI = server.app

    async def download(file_id: str, thread_id: str | None = None) -> Response:
        try:
            found = await find(file_id, thread_id)
        except ParleyError as error:
            raise HTTPException(error.status, error.message) from None
        pieces = attachments.read(found, 0, found.size_bytes)
        return StreamingResponse(pieces, headers=_headers(found))

    for path in (download_path("{file_id}"), shared_download_path("{thread_id}", "{file_id}")):
        # Through the dependency Chainlit says who is signed in, to the data layer first of all.
        app.add_api_route(path, download, dependencies=[Depends(get_current_user)])
        # Before Chainlit's own last route, which answers everything with its page.
        app.router.routes.insert(0, app.router.routes.pop())


def _headers(found: Attachment) -> dict[str, str]:
    kind = "inline" if opens_in_place(found.mime) else "attachment"
    return {
        "content-type": found.mime,
        "content-length": str(found.size_bytes),
        "content-disposition": f"{kind}; filename*=UTF-8''{quote(found.name, safe='')}",
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "private, no-cache",
    }
