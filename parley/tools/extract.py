"""Extract: the text of a document, in a process of its own.

Run as ``python -m parley.tools.extract MEDIA_TYPE URL CHARSET``: the document comes in, JSON goes out.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

from parley.tools.child import be_bounded

_PAGES = 200
_CHARS = 1_000_000
_NAME_CHARS = 300


def main() -> None:
    """Read the document from the standard input, and write what was found."""
    be_bounded()
    media_type, url, charset = sys.argv[1:4]
    body = sys.stdin.buffer.read()
    if media_type.startswith("text/"):
        body = _in_utf8(body, charset)
    found = extract(body, media_type, url)
    sys.stdout.buffer.write(json.dumps(found).encode())


def extract(body: bytes, media_type: str, url: str) -> dict[str, Any]:
    """Give the text of a document, and its title, author and date where they are known."""
    if media_type == "application/pdf":
        return _pdf(body)
    if media_type in {"text/html", "application/xhtml+xml"}:
        return _html(body, url)
    return {"text": body.decode("utf-8", "replace")[:_CHARS]}


def _in_utf8(body: bytes, charset: str) -> bytes:
    """Write a text in UTF-8 where its server says what it is in; else it is guessed."""
    try:
        return body.decode(charset, "replace").encode() if charset else body
    except (LookupError, UnicodeError):
        return body


def _html(body: bytes, url: str) -> dict[str, Any]:
    import trafilatura  # noqa: PLC0415 - a quarter of a second, of which a PDF needs nothing

    found = trafilatura.bare_extraction(
        body, url=url, with_metadata=True, include_comments=False, include_tables=True
    )
    if found is None or isinstance(found, dict) or not found.text:
        return {"text": (trafilatura.html2txt(body) or "")[:_CHARS]}
    named = {"title": found.title, "author": found.author, "date": found.date}
    return {"text": found.text[:_CHARS], **_cut(named)}


def _cut(named: Mapping[str, str | None]) -> dict[str, str]:
    return {name: said[:_NAME_CHARS] for name, said in named.items() if said}


def _pdf(body: bytes) -> dict[str, Any]:
    import pypdfium2  # type: ignore[import-untyped]  # noqa: PLC0415 - it has no types, and HTML needs none

    document = pypdfium2.PdfDocument(body)
    named = document.get_metadata_dict(skip_empty=True)
    texts: list[str] = []
    for number in range(min(len(document), _PAGES)):
        texts.append(document[number].get_textpage().get_text_bounded())
        if sum(map(len, texts)) > _CHARS:
            break
    said = {"title": named.get("Title"), "author": named.get("Author")}
    return {"text": "\n\n".join(texts)[:_CHARS], **_cut(said)}


if __name__ == "__main__":
    main()
