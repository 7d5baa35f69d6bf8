"""Element dicts: Chainlit's live elements taken down, and rows shown as its dictionaries.

An element is changed right after Chainlit hands it over, so everything is copied before the first
await. Its `path` is opened only inside the session's own directory, its `url` never.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from chainlit.context import context_var
from chainlit.element import Element, ElementDict

from data_layer.elements import NewElement
from data_layer.rows import AnyRow
from data_layer.storable import check_size, storable_json, uuid_of
from parley.chat.attachments import download_path
from parley.chat.errors import Forbidden
from parley.chat.messages import storable_text
from parley.observability.logs import get_logger

logger = get_logger(__name__)

# Keys with a column, keys that only live as long as the session, and one that names a local file.
_NOT_EXTRA = {
    "id",
    "threadId",
    "forId",
    "type",
    "name",
    "display",
    "mime",
    "url",
    "chainlitKey",
    "path",
    "content",
}


def new_element(element: Element, session_files: Path | None) -> NewElement:
    """Take an element down as it is now; raises `InvalidRequest`, `TooLarge` and `Forbidden`.

    `session_files` is the directory that the session keeps its files in, None outside of one.
    """
    known = element.to_dict()
    extra = storable_json(
        {key: value for key, value in known.items() if key not in _NOT_EXTRA and value is not None}
    )
    check_size(extra, "element")
    return NewElement(
        id=uuid_of(element.id),
        thread_id=uuid_of(element.thread_id),
        step_id=uuid_of(element.for_id) if element.for_id else None,
        type=storable_text(element.type),
        name=storable_text(element.name),
        display=storable_text(element.display),
        mime=storable_text(element.mime) if element.mime else None,
        url=_web_url(element.url),
        extra=extra,
        content=_content(element, session_files),
    )


def session_files() -> Path | None:
    """Give the directory of the session that runs now; None where none does."""
    context = context_var.get(None)
    return context.session.files_dir if context else None


def element_dict(row: AnyRow) -> ElementDict:
    """Show a row; where it has bytes, its URL is their download."""
    columns: dict[str, Any] = {
        "id": row.id,
        "threadId": row.thread_id,
        "forId": row.step_id,
        "type": row.type,
        "name": row.name,
        "display": row.display,
        "mime": row.mime,
        "url": download_path(row.id) if row.object_key else row.url,
        "chainlitKey": None,
    }
    absent = dict.fromkeys(ElementDict.__annotations__)
    absent.pop("path")
    extra: Mapping[str, Any] = row.extra or {}
    return cast(ElementDict, {**absent, **extra, **columns})


def _content(element: Element, session_files: Path | None) -> bytes | Path | None:
    """Say where the element's bytes are; what a custom element shows is in its `props`."""
    if element.type == "custom":
        return None
    if element.content:
        content = element.content
        return storable_text(content).encode() if isinstance(content, str) else bytes(content)
    return _inside(Path(element.path), session_files) if element.path else None


def _inside(path: Path, directory: Path | None) -> Path:
    """Give the file that a path leads to, if the session has it."""
    if directory is not None:
        real = path.resolve()
        if real.is_relative_to(directory.resolve()) and real.is_file():
            return real
    logger.warning("A file outside its session's was not opened")
    raise Forbidden("A file of this element is not one of the session's. Upload it, or send bytes.")


def _web_url(url: str | None) -> str | None:
    try:
        return storable_text(url) if url and urlsplit(url).scheme in {"http", "https"} else None
    except ValueError:
        return None
