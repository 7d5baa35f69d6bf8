"""Uploads: files that a page sends before its message, and what becomes of them with it.

Chainlit's two routes for this are ours: it reads a file whole into memory before it looks at its
size, and shows HTML in place. A file waits in its session's directory until a message names it.
"""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from chainlit.server import validate_file_upload
from chainlit.session import WebsocketSession
from chainlit.user import PersistedUser
from fastapi import UploadFile as ChainlitUpload
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from parley.chat.attachments import clean_name, clean_type
from parley.chat.errors import (
    InvalidRequest,
    NotFound,
    ParleyError,
    StorageUnavailable,
    TooLarge,
    Unauthenticated,
)
from parley.chat.owner import current_owner
from parley.observability.logs import get_logger
from parley.surfaces.downloads import safe_headers
from parley.surfaces.page.arrivals import Patience, Slots, bounded
from parley.surfaces.page.doors import UPLOADS
from parley.surfaces.page.refusals import refusal
from parley.surfaces.page.waiting import check_disk, check_share

logger = get_logger(__name__)

# Files of one message, and files that may wait in one session.
FILES_LIMIT = 10
_WAITING_LIMIT = 2 * FILES_LIMIT
# What a form adds to its file: boundaries, headers, and whatever fields a page may add.
_FORM_BYTES = 64 * 1024
_FORM = "multipart/form-data"
_SIZE = re.compile("[0-9]{1,18}")
_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class UploadConfig:
    """Where files wait, how large one may be, and how many are received at once.

    `waiting_bytes` is for all files of an owner that wait; `least_free_bytes` stay free on the disk.
    """

    directory: Path
    limit_bytes: int = 50 * 1024 * 1024
    at_once: int = 8
    waiting_bytes: int = 500_000_000
    least_free_bytes: int = 200_000_000
    patience: Patience = field(default_factory=Patience)


class Uploads:
    """An ASGI app in the place of Chainlit's routes for the files of sessions."""

    def __init__(self, config: UploadConfig) -> None:
        """Take files as configured."""
        self._config = config
        self._slots = Slots(config.at_once, config.patience)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a file, or show one that waits."""
        try:
            response = await self._answer(scope, receive)
        except ParleyError as error:
            response = refusal(scope, error)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        session = _session(Request(scope))
        if scope["method"] == "POST" and scope["path"] == UPLOADS:
            return JSONResponse({"id": await self._take(session, scope, receive)})
        if scope["method"] in {"GET", "HEAD"}:
            return _waiting(session, scope["path"].removeprefix(f"{UPLOADS}/"))
        raise InvalidRequest(f"{scope['method']} is not possible at {UPLOADS}.")

    async def _take(self, session: WebsocketSession, scope: Scope, receive: Receive) -> str:
        """Receive a file into the session; gives its id."""
        config = self._config
        headers = Request(scope).headers
        if headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            raise InvalidRequest(f"Send the file in a form, as {_FORM}.")
        announced = headers.get("content-length", "")
        size = min(int(announced), config.limit_bytes) if _SIZE.fullmatch(announced) else 0
        if size and int(announced) > config.limit_bytes + _FORM_BYTES:
            raise self._too_large()
        assert isinstance(session.user, PersistedUser)
        owner_id = session.user.id
        async with self._slots.one(owner_id):
            check_share(owner_id, size, config.waiting_bytes)
            await check_disk(config.directory, size, config.least_free_bytes)
            most = config.limit_bytes + _FORM_BYTES
            arriving = bounded(receive, most, self._too_large, config.patience)
            async with _form_file(Request(scope, arriving)) as file:
                if (file.size or 0) > config.limit_bytes:
                    raise self._too_large()
                check_share(owner_id, file.size or 0, config.waiting_bytes)
                await check_disk(config.directory, file.size or 0, config.least_free_bytes)
                return await _keep(session, file)

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"The file is larger than {self._config.limit_bytes} bytes (LIMIT_UPLOAD_BYTES)."
        )


def _session(request: Request) -> WebsocketSession:
    """Find the caller's own session; another's is a missing one."""
    owner = current_owner.get()
    if owner is None:
        raise Unauthenticated("Nobody is known to be calling. Open the page first.")
    found: WebsocketSession | None = WebsocketSession.get_by_id(
        request.query_params.get("session_id", "")
    )
    user = found.user if found else None
    if found is None or not isinstance(user, PersistedUser) or user.id != owner.id:
        raise NotFound("There is no such session. Load the page again.")
    return found


def _waiting(session: WebsocketSession, file_id: str) -> Response:
    file = session.files.get(file_id)
    if file is None:
        raise NotFound("There is no such file.")
    return FileResponse(file["path"], headers=safe_headers(file["name"], file["type"]))


@asynccontextmanager
async def _form_file(request: Request) -> AsyncIterator[UploadFile]:
    """Read the form; what is large in it goes to a temporary file, not into memory."""
    try:
        async with request.form(max_files=1, max_fields=8, max_part_size=_FORM_BYTES) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise InvalidRequest("Send one file, in a form's field named file.")
            yield file
    except (HTTPException, MultiPartException):
        raise InvalidRequest("The form cannot be read. Send one file in it.") from None
    except ClientDisconnect:
        raise InvalidRequest("The connection was closed before the file was complete.") from None


async def _keep(session: WebsocketSession, file: UploadFile) -> str:
    """Let the file wait in the session's directory; gives its id."""
    file_id, name, mime = str(uuid4()), clean_name(file.filename), clean_type(file.content_type)
    _check_type(name, mime)
    path = session.files_dir / file_id
    try:
        size = await asyncio.to_thread(_copy, file.file, path)
    except OSError as error:
        logger.error("An upload could not be written", reason=error.strerror)  # noqa: TRY400 - the reason is enough
        raise StorageUnavailable(
            "There is no room for the file at the moment. Messages without files work."
        ) from error
    if WebsocketSession.get_by_id(session.id) is not session:
        await asyncio.to_thread(shutil.rmtree, session.files_dir, ignore_errors=True)
        raise NotFound("The session ended meanwhile. Load the page again.")
    # Whoever takes a file back in the page tells nobody: the oldest make room.
    for oldest in list(session.files)[: 1 - _WAITING_LIMIT]:
        session.files.pop(oldest)["path"].unlink(missing_ok=True)
    session.files[file_id] = {"id": file_id, "path": path, "name": name, "type": mime, "size": size}
    return file_id


def _check_type(name: str, mime: str) -> None:
    """Raise `InvalidRequest` for what .chainlit/config.toml does not accept."""
    try:
        validate_file_upload(
            ChainlitUpload(BytesIO(), filename=name, headers=Headers({"content-type": mime}))
        )
    except ValueError:
        raise InvalidRequest(f"Files of the type {mime} are not taken here.") from None


def _copy(source: BinaryIO, path: Path) -> int:
    """Copy to a new file for the server's user alone; gives its size."""
    path.parent.parent.mkdir(mode=0o700, exist_ok=True, parents=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        try:
            shutil.copyfileobj(source, file, _PIECE_BYTES)
            file.flush()
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return file.tell()
