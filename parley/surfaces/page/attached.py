"""Attached: the files that a message names, kept with it and shown beside it."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast
from uuid import uuid4

from chainlit.element import ElementDict
from chainlit.emitter import ChainlitEmitter
from chainlit.session import WebsocketSession
from chainlit.types import FileDict

from parley.chat.attachments import (
    Attachment,
    Attachments,
    NewAttachment,
    download_path,
    shown_as,
)
from parley.chat.engine import Engine
from parley.chat.errors import InvalidRequest, NotFound, ParleyError, StorageUnavailable
from parley.chat.extras import MOST_IMAGES, image_type
from parley.chat.messages import ImagePart
from parley.chat.turns import Owner, Turn, TurnRequest
from parley.observability.logs import get_logger
from parley.surfaces.page.buttons import texts_for
from parley.surfaces.page.reader import show_error
from parley.surfaces.page.uploads import FILES_LIMIT

logger = get_logger(__name__)

_PIECE_BYTES = 256 * 1024
_BEGINNING_BYTES = 16
_WORDLESS = (
    "Write something with your files, and attach them again: without a word there is nothing"
    " to answer."
)
_GONE = "An attached file is not here any more. Attach it again."


def file_ids(payload: object, text: str) -> list[str]:
    """Take the ids of a message's files from what a client sent.

    Raises `InvalidRequest`, also for files without a word: no model could answer those.
    """
    references = payload.get("fileReferences") if isinstance(payload, Mapping) else None
    if not references:
        return []
    if not isinstance(references, list) or len(references) > FILES_LIMIT:
        raise InvalidRequest(f"A message has at most {FILES_LIMIT} files.")
    named = [item.get("id") if isinstance(item, Mapping) else None for item in references]
    ids = [file_id for file_id in named if isinstance(file_id, str)]
    if len(ids) < len(named):
        raise InvalidRequest("A message names its files by their ids.")
    if not text.strip():
        raise InvalidRequest(_WORDLESS)
    return list(dict.fromkeys(ids))


async def images_of(
    session: WebsocketSession, ids: Sequence[str], room_bytes: int
) -> tuple[ImagePart, ...]:
    """Read those of a message's files that a model can see, as many as there is room for."""
    images: list[ImagePart] = []
    for file in [session.files[file_id] for file_id in ids if file_id in session.files]:
        if file["size"] > room_bytes or len(images) == MOST_IMAGES:
            continue
        content = await asyncio.to_thread(_image_at, file["path"], room_bytes)
        if content and (kind := image_type(content)):
            images.append(ImagePart(kind, content))
            room_bytes -= len(content)
    return tuple(images)


def _image_at(path: Path, most_bytes: int) -> bytes | None:
    """Read a file that begins like an image and is no longer than this."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        beginning = file.read(_BEGINNING_BYTES)
        if image_type(beginning):
            content = beginning + file.read(most_bytes)
            return content if len(content) <= most_bytes else None
    return None


async def attach_files(
    session: WebsocketSession,
    attachments: Attachments,
    owner: Owner,
    turn: Turn,
    ids: Sequence[str],
) -> None:
    """Keep the session's files with the user's step, and show each, or why it is not kept."""
    emitter = ChainlitEmitter(session)
    kept = 0
    for file_id in ids:
        file = session.files.pop(file_id, None)
        try:
            found = await _kept(attachments, owner, turn, file)
        except ParleyError as error:
            logger.warning("An attached file is not kept", turn_id=turn.id, code=error.code)
            name = file["name"] if file else ""
            told = (error.message, error.code, name)
            await show_error(session, str(uuid4()), turn.thread_id, *told)
        else:
            await emitter.send_element(_element(found, turn))
            kept += 1
    if kept > len(turn.extras.images):
        await emitter.send_toast(texts_for(session).not_read)


async def ask_anew(
    engine: Engine, attachments: Attachments, request: TurnRequest, turn: Turn
) -> None:
    """Submit what asks the same as this turn, or in other words, with the files of its message.

    They are copied first: other pages show the new turn as soon as it is there. Who asks may be
    cancelled meanwhile, and leaves when there are both or neither.
    """
    asking = asyncio.ensure_future(_ask_anew(engine, attachments, request, turn))
    try:
        await asyncio.wait([asking])
    finally:
        await asyncio.wait([asking])
        refusal = asking.exception()
    if refusal:
        raise refusal


async def _ask_anew(
    engine: Engine, attachments: Attachments, request: TurnRequest, turn: Turn
) -> None:
    step_id, owner = str(uuid4()), request.owner
    copied = await attachments.copy(owner, turn.thread_id, turn.user_step_id, step_id)
    try:
        begun = await engine.submit(replace(request, user_step_id=step_id))
    except StorageUnavailable:
        # It may be there all the same, and be answered. Else its files go with their thread.
        raise
    except ParleyError:
        await _take_back(attachments, owner, copied)
        raise
    if not begun.created:
        await _take_back(attachments, owner, copied)


async def _take_back(attachments: Attachments, owner: Owner, ids: Sequence[str]) -> None:
    for file_id in ids:
        await attachments.delete(owner, file_id)


async def _kept(
    attachments: Attachments, owner: Owner, turn: Turn, file: FileDict | None
) -> Attachment:
    if file is None:
        raise NotFound(_GONE)
    new = NewAttachment(
        id=file["id"],
        thread_id=turn.thread_id,
        step_id=turn.user_step_id,
        name=file["name"],
        mime=file["type"],
    )
    try:
        return await attachments.attach(owner, new, _pieces(file["path"]))
    finally:
        await asyncio.to_thread(file["path"].unlink, missing_ok=True)


def _element(found: Attachment, turn: Turn) -> ElementDict:
    shown = {
        "id": found.id,
        "threadId": turn.thread_id,
        "forId": turn.user_step_id,
        "type": shown_as(found.mime),
        "name": found.name,
        "display": "inline",
        "mime": found.mime,
        "url": download_path(found.id),
    }
    return cast(ElementDict, shown)


async def _pieces(path: Path) -> AsyncGenerator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece
