"""Extras: what a message brings along beside its text, bounded, and as JSON that rows keep."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from parley.chat.errors import InvalidRequest, TooLarge
from parley.chat.messages import ImagePart
from parley.chat.models import ModelInfo
from parley.chat.turns import Extras

# Beside the images: schemas are read by the model each time.
LIMIT_BYTES = 256 * 1024
MOST_IMAGES = 16
MOST_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# What the bytes of an image begin with, by the types that models take.
_BEGINNINGS: Mapping[str, re.Pattern[bytes]] = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
}
IMAGE_TYPES = frozenset(_BEGINNINGS)
_NOTHING = Extras()


def check_extras(extras: Extras, image_limit_bytes: int) -> None:
    """Raise `InvalidRequest` or `TooLarge` for what cannot be kept, or means nothing."""
    _check_images(extras.images, image_limit_bytes)
    names = [tool.name for tool in extras.tools]
    if len(names) > MOST_TOOLS or len(extras.use_tools or ()) > MOST_TOOLS:
        raise InvalidRequest(f"A message has at most {MOST_TOOLS} tools.")
    for name in (*names, *(extras.use_tools or ())):
        if not _NAME.fullmatch(name):
            raise InvalidRequest("A tool's name has 1 to 64 letters, digits, _ and -, no other.")
    if len(set(names)) < len(names):
        raise InvalidRequest("Two tools have the same name. Rename one.")
    choice = extras.tool_choice
    if choice and choice.name and choice.name not in {*names, *(extras.use_tools or ())}:
        raise InvalidRequest("The tool that must be called is none of those that are offered.")
    _check_size(extras)


def image_type(beginning: bytes) -> str | None:
    """Say of which type an image is that models take, by its first bytes; None for no image."""
    return next((kind for kind, first in _BEGINNINGS.items() if first.match(beginning)), None)


def _check_images(images: Sequence[ImagePart], limit_bytes: int) -> None:
    if len(images) > MOST_IMAGES:
        raise InvalidRequest(f"A message has at most {MOST_IMAGES} images.")
    for image in images:
        beginning = _BEGINNINGS.get(image.media_type)
        if beginning is None or not beginning.match(image.data):
            raise InvalidRequest("An image must be a PNG, JPEG, GIF or WebP, and say which.")
    size = sum(len(image.data) for image in images)
    if size > limit_bytes:
        raise TooLarge(
            f"The images of the message have {size} bytes together, the limit is {limit_bytes}"
            " (LIMIT_IMAGE_BYTES). Send smaller ones."
        )


def _check_size(extras: Extras) -> None:
    if extras == _NOTHING:
        return
    try:
        encoded = msgspec.json.encode(replace(extras, images=()))
    except (UnicodeEncodeError, RecursionError, TypeError):
        raise InvalidRequest("The tools or the form of the answer are not valid JSON.") from None
    if b"\\u0000" in encoded:
        raise InvalidRequest("There is a NUL character in the tools or the form of the answer.")
    if len(encoded) > LIMIT_BYTES:
        raise TooLarge(
            f"The tools and the form of the answer have {len(encoded)} bytes together, the limit"
            f" is {LIMIT_BYTES}."
        )


def check_abilities(extras: Extras, info: ModelInfo) -> None:
    """Raise `InvalidRequest` where the model cannot do what the message needs."""
    if extras.images and not info.capabilities.vision:
        raise InvalidRequest(
            f"The model {info.id} is not known to see images. Choose one that does, or send the"
            " message without them. (Whoever runs this server can say vision = true in"
            " parley.toml.)"
        )
    if extras.tools and not info.capabilities.tools:
        raise InvalidRequest(
            f"The model {info.id} is not known to call tools. Choose one that does, or send the"
            " message without them. (Whoever runs this server can say tools = true in parley.toml.)"
        )


def can_serve(extras: Extras, info: ModelInfo) -> bool:
    """Whether the model can do what the message needs."""
    try:
        check_abilities(extras, info)
    except InvalidRequest:
        return False
    return True


def extras_json(extras: Extras) -> dict[str, Any] | None:
    """Give extras as they are stored, images in base64; None for none."""
    if extras == _NOTHING:
        return None
    stored: dict[str, Any] = msgspec.to_builtins(extras)
    kept_empty = {"use_tools"}  # none at all, which is not the same as nothing said
    return {
        name: value
        for name, value in stored.items()
        if value not in (None, "") and (value != [] or name in kept_empty)
    }


def extras_of(stored: Mapping[str, Any] | None) -> Extras:
    """Read extras as they were stored."""
    if not stored:
        return _NOTHING
    return msgspec.convert(stored, Extras)


def digestible(extras: Extras) -> bytes:
    """Give bytes that are the same for the same extras only; none for none.

    Said again from a browser of another language it is the same message.
    """
    if extras == _NOTHING or replace(extras, language="") == _NOTHING:
        return b""
    said: dict[str, Any] = msgspec.to_builtins(extras)
    del said["language"]
    return msgspec.json.encode(said, order="sorted")


def with_tools_of(extras: Extras, of_thread: object) -> Extras:
    """Fill in which of Parley's tools may be used, by what the thread's metadata say of it."""
    if extras.use_tools is not None or not isinstance(of_thread, list):
        return extras
    names = [name for name in of_thread if isinstance(name, str) and _NAME.fullmatch(name)]
    return replace(extras, use_tools=tuple(names[:MOST_TOOLS]))
