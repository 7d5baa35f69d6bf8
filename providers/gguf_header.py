"""The header of a GGUF file: what a model says of itself, read without loading it.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"GGUF"
_VERSIONS = frozenset({2, 3})
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_MOST_FIELDS = 4096
_MOST_BYTES = 1024 * 1024
# Vocabularies have some megabytes.
_MOST_HEADER_BYTES = 64 * 1024 * 1024
_TEMPLATE = b"tokenizer.chat_template" + struct.pack("<I", _STRING)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The model's own name, context window in tokens and chat template, where the file tells them."""

    name: str | None
    context_window: int | None
    chat_template: str = ""


def read_header(path: Path) -> GgufHeader:
    """Read a header; raises `OSError`, and `ValueError` for a file that is no GGUF.

    Reads up to the first list, which is the vocabulary: name and window are before it wherever
    llama.cpp's own tools wrote the file, and are not known otherwise. The template is behind it, and
    is looked for by its key.
    """
    with path.open("rb") as file:
        try:
            return replace(_read(file), chat_template=_template(file))
        except (struct.error, UnicodeDecodeError) as exc:
            raise ValueError("it ends in its header, or is damaged there") from exc


def _read(file: BinaryIO) -> GgufHeader:
    if file.read(4) != _MAGIC:
        raise ValueError("it is no GGUF file")
    version, _, count = _unpack(file, "<IQQ")
    if version not in _VERSIONS:
        raise ValueError(f"it is GGUF of version {version}, which is not known")
    fields = _fields(file, min(count, _MOST_FIELDS))
    name, architecture = fields.get("general.name"), fields.get("general.architecture")
    window = fields.get(f"{architecture}.context_length")
    return GgufHeader(
        name if isinstance(name, str) else None,
        window if isinstance(window, int) and window > 0 else None,
    )


def _template(file: BinaryIO) -> str:
    with mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:
        at = mapped.find(_TEMPLATE, 0, _MOST_HEADER_BYTES)
        if at < 0:
            return ""
        file.seek(at + len(_TEMPLATE))
        return _string(file)


def _fields(file: BinaryIO, count: int) -> dict[str, object]:
    fields: dict[str, object] = {}
    for _ in range(count):
        key = _string(file)
        (kind,) = _unpack(file, "<I")
        if kind == _ARRAY:
            break
        fields[key] = _string(file) if kind == _STRING else _scalar(file, kind)
    return fields


def _scalar(file: BinaryIO, kind: int) -> object:
    if kind not in _SCALARS:
        raise ValueError("its header has a field of an unknown kind")
    (value,) = _unpack(file, "<" + _SCALARS[kind])
    return value


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<Q")
    if length > _MOST_BYTES:
        raise ValueError("its header has a text that is too long")
    text = file.read(length)
    if len(text) < length:
        raise ValueError("it ends in its header")
    return text.decode()


def _unpack(file: BinaryIO, form: str) -> tuple[int, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))
