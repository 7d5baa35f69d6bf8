"""Attachments: files that belong to a message, and what a surface needs to keep and to show them.

What a file claims about itself is never believed further than this: a name is only shown, and a
type decides how it is shown, from a short list of types that cannot carry a script.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from typing import Protocol

from parley.chat.messages import storable_text
from parley.chat.turns import Owner

ANY_TYPE = "application/octet-stream"
_NAME_CHARS = 200
# How the page shows what a browser may open in place. Never SVG or HTML: they carry scripts.
_SHOWN_AS = {
    "image/png": "image",
    "image/jpeg": "image",
    "image/gif": "image",
    "image/webp": "image",
    "audio/mpeg": "audio",
    "audio/ogg": "audio",
    "audio/wav": "audio",
    "video/mp4": "video",
    "video/webm": "video",
    "application/pdf": "file",
}
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
# What must not be in a name that is shown: controls, line ends, and marks that turn text around.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """A file about to be kept; `step_id` is the message that it belongs to."""

    id: str
    thread_id: str
    step_id: str
    name: str
    mime: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that is kept: `owner_id` and `key` are where its bytes are, `key` their SHA-256."""

    id: str
    owner_id: str
    key: str
    size_bytes: int
    name: str
    mime: str


class Attachments(Protocol):
    """Where files are kept. All methods raise `StorageUnavailable`."""

    async def attach(
        self, owner: Owner, new: NewAttachment, content: AsyncIterable[bytes]
    ) -> Attachment:
        """Keep a file of the owner's; the same id again is the same file.

        Raises `TooLarge`, and `NotFound` for a thread or a file of someone else.
        """
        ...

    async def copy(self, owner: Owner, thread_id: str, step_id: str, to_step_id: str) -> list[str]:
        """Attach a message's files to another one of its thread too; gives their new ids.

        Raises `NotFound` for a thread of someone else.
        """
        ...

    async def delete(self, owner: Owner, element_id: str, thread_id: str | None = None) -> None:
        """Delete a file of the owner's."""
        ...

    async def find(self, viewer_id: str, attachment_id: str) -> Attachment:
        """Find a file that this user may see; raises `NotFound`, also where its bytes are gone."""
        ...

    def read(self, found: Attachment, first: int, length: int) -> AsyncGenerator[bytes]:
        """Read `length` bytes from the `first` on, in pieces."""
        ...


def download_path(attachment_id: str) -> str:
    """Give the path of a file's download, the same on every server and after every restart."""
    return f"/files/{attachment_id}"


def shared_download_path(thread_id: str, attachment_id: str) -> str:
    """Give the path at which those who may see a shared thread find one of its files."""
    return f"/project/share/{thread_id}/file/{attachment_id}"


def shown_as(mime: str) -> str:
    """Say how the page shows a type: image, audio, video, or a file to download."""
    return _SHOWN_AS.get(mime, "file")


def opens_in_place(mime: str) -> bool:
    """Whether a browser may show the type instead of saving it."""
    return mime in _SHOWN_AS


def clean_type(mime: str | None) -> str:
    """Make a media type of what a client says, without parameters; `ANY_TYPE` where it is none."""
    bare = (mime or "").partition(";")[0].strip().lower()
    return bare if _TYPE.fullmatch(bare) else ANY_TYPE


def clean_name(name: str | None) -> str:
    """Make a file's name of what a client says: one line, no path, not too long."""
    last = storable_text(name or "").replace("\\", "/").rstrip("/").rpartition("/")[2]
    shown = " ".join(_UNPRINTABLE.sub(" ", last).split()).strip(". ")
    if len(shown) > _NAME_CHARS:
        stem, dot, ending = shown.rpartition(".")
        kept = f"{dot}{ending}" if stem and len(ending) <= 10 else ""
        shown = shown[: _NAME_CHARS - len(kept)].rstrip(". ") + kept
    return shown or "file"
