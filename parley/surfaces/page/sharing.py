"""Sharing: Chainlit's two routes for shared threads, ours in their place, and their files.

Its own share whether or not that is switched on, and show who shares. Where sharing is off, these
answer as if there was nothing to share.
"""

from typing import Protocol

import msgspec
from chainlit.types import ThreadDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from parley.chat.attachments import Attachments, shared_download_path
from parley.chat.errors import NotFound, Unauthenticated
from parley.chat.owner import current_owner
from parley.chat.turns import Owner
from parley.surfaces.downloads import download_answer
from parley.surfaces.http.bodies import decode_body
from parley.surfaces.page.languages import liked_by
from parley.surfaces.page.markdown import show_steps
from parley.surfaces.sentences import phrase_text
from parley.surfaces.texts import texts_of

_BODY_LIMIT = 4 * 1024


class Sharing(Protocol):
    """Threads that others may read; what is not shared, was deleted or never was looks the same."""

    async def share(self, owner_id: str, thread_id: str, *, is_shared: bool) -> None:
        """Share a thread or take that back, at once; raises `NotFound`."""
        ...

    async def view(self, thread_id: str) -> ThreadDict:
        """Read a thread as anybody may see it; raises `NotFound` unless it is shared."""
        ...

    async def owner_of_file(self, thread_id: str, element_id: str) -> str:
        """Say whose a file is that a shared thread shows; raises `NotFound` for any other."""
        ...


class _Shared(msgspec.Struct):
    threadId: str  # noqa: N815 - the page's names
    isShared: bool  # noqa: N815


def sharing_routes(sharing: Sharing | None, attachments: Attachments) -> list[Route]:
    """Make the routes; None where sharing is off."""

    async def share(request: Request) -> Response:
        owner = _known()
        asked = await decode_body(request, _Shared, _BODY_LIMIT)
        await _on(sharing).share(owner.id, asked.threadId, is_shared=asked.isShared)
        return JSONResponse({"success": True})

    async def view(request: Request) -> Response:
        _known()
        thread = await _on(sharing).view(request.path_params["thread_id"])
        for step in thread["steps"]:
            step["name"] = phrase_text(texts_of(liked_by(request)), step["name"])
        await show_steps(thread["steps"])
        # Asked for again each time: it may not be shared any more.
        return JSONResponse(thread, headers={"cache-control": "no-store"})

    async def download(request: Request) -> Response:
        _known()
        thread_id, file_id = (request.path_params[name] for name in ("thread_id", "file_id"))
        owner_id = await _on(sharing).owner_of_file(thread_id, file_id)
        found = await attachments.find(owner_id, file_id)
        return download_answer(request, attachments, found)

    return [
        Route("/project/thread/share", share, methods=["PUT"]),
        Route("/project/share/{thread_id}", view, methods=["GET"]),
        Route(shared_download_path("{thread_id}", "{file_id}"), download, methods=["GET"]),
    ]


def _known() -> Owner:
    owner = current_owner.get()
    if owner is None:
        raise Unauthenticated("Nobody is known to be calling. Open the page first.")
    return owner


def _on(sharing: Sharing | None) -> Sharing:
    if sharing is None:
        raise NotFound("There is no such conversation.")
    return sharing
