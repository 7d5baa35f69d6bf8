"""``GET /files/{id}``: a file that belongs to a message, for those who may see it.

Whatever a file is, it can do nothing here: a browser may show a few types in place, saves all
others, guesses no type, and runs nothing (the sandbox would hold even a type that could).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from parley.chat.attachments import Attachment, Attachments, opens_in_place
from parley.chat.errors import Unauthenticated
from parley.chat.owner import current_owner

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_UNQUOTED = re.compile(r"[^A-Za-z0-9 !#$&+^_`|~.()=@,;'\[\]-]")


@dataclass(frozen=True, slots=True)
class _Part:
    first: int
    length: int
    is_whole: bool


def download_routes(attachments: Attachments) -> APIRouter:
    """Make the route; whose file it is, the store of attachments decides."""
    router = APIRouter(tags=["files"])

    @router.get(
        "/files/{file_id}",
        summary="Download a file",
        response_class=Response,
        responses={
            200: {"description": "Its bytes, of the type that it has"},
            206: {"description": "The part that was asked for"},
            304: {"description": "The browser has it already"},
            416: {"description": "It has no such part"},
        },
    )
    @router.head("/files/{file_id}", include_in_schema=False)
    async def download(request: Request, file_id: str) -> Response:
        viewer = current_owner.get()
        if viewer is None:
            raise Unauthenticated("Nobody is known to be calling. Open the page first.")
        return download_answer(request, attachments, await attachments.find(viewer.id, file_id))

    return router


def safe_headers(name: str, mime: str) -> dict[str, str]:
    """Make the headers that a user's file is sent with, whatever it is."""
    kind = "inline" if opens_in_place(mime) else "attachment"
    return {
        "content-type": mime,
        "content-disposition": _disposition(kind, name),
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        # Asked for again each time: it may have been deleted.
        "cache-control": "private, no-cache",
    }


def download_answer(request: Request, attachments: Attachments, found: Attachment) -> Response:
    """Send a file whose viewer was found to be allowed to have it, or the part that is asked for."""
    etag = f'"{found.key}"'
    headers = {**safe_headers(found.name, found.mime), "etag": etag, "accept-ranges": "bytes"}
    if _is_known(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    part = _wanted(request.headers, etag, found.size_bytes)
    if part is None:
        headers["content-range"] = f"bytes */{found.size_bytes}"
        return Response(status_code=416, headers=headers)
    headers["content-length"] = str(part.length)
    if not part.is_whole:
        last = part.first + part.length - 1
        headers["content-range"] = f"bytes {part.first}-{last}/{found.size_bytes}"
    status = 200 if part.is_whole else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    pieces = attachments.read(found, part.first, part.length)
    return StreamingResponse(pieces, status, headers)


def _is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether the browser has these bytes already."""
    known = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag in known or known == ["*"]


def _wanted(headers: Mapping[str, str], etag: str, size: int) -> _Part | None:
    """Read ``Range``; None where the file has nothing there. What is not understood means all."""
    whole = _Part(0, size, is_whole=True)
    found = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    if not found or found.groups() == ("", "") or headers.get("if-range", etag) != etag:
        return whole
    first, last = (int(digits[:19]) if digits else None for digits in found.groups())
    if first is None:
        first, last = max(0, size - (last or 0)), size - 1
    last = size - 1 if last is None else min(last, size - 1)
    if first > last and not first >= size:
        return whole  # its last byte is before its first: no range at all
    return _Part(first, last - first + 1, is_whole=False) if first < size else None


def _disposition(kind: str, name: str) -> str:
    """Write the name so that every browser reads the same one (RFC 6266)."""
    plain = _UNQUOTED.sub("_", name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
