"""Downloads: headers that hold for any file, and the part of it that was asked for."""

import re
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from parley.chat.attachments import clean_name
from parley.surfaces.downloads import _wanted, safe_headers


@given(st.text())
def test_every_reader_of_the_header_gets_the_name(name: str) -> None:
    cleaned = clean_name(name)
    response = Response(headers=safe_headers(cleaned, "text/html"))
    found = re.fullmatch(
        r"attachment; filename=\"[^\"\\%\r\n]+\"; filename\*=UTF-8''([A-Za-z0-9._~%-]+)",
        response.headers["content-disposition"],
    )
    assert found
    assert unquote(found[1]) == cleaned


@given(
    size=st.integers(0, 30),
    first=st.none() | st.integers(0, 40),
    last=st.none() | st.integers(0, 40),
)
def test_a_part_is_what_the_bytes_say(size: int, first: int | None, last: int | None) -> None:
    content = bytes(range(size))
    asked = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    part = _wanted({"range": asked}, '"x"', size)
    if first is None:
        expected = content if last is None else content[max(0, size - last) :]
    else:
        expected = content[first:] if last is None else content[first : last + 1]
    if part is None:
        assert expected == b""
    elif not part.is_whole:
        assert content[part.first : part.first + part.length] == expected != b""
    else:
        backwards = first is not None and last is not None and last < first
        assert backwards or (first is None and last is None)
        assert part.length == size


def test_another_version_is_sent_whole() -> None:
    part = _wanted({"range": "bytes=0-1", "if-range": '"old"'}, '"new"', 9)
    assert part
    assert (part.is_whole, part.length) == (True, 9)
