"""What a client says of a file: a name is only shown, a type only decides how."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parley.chat.attachments import ANY_TYPE, clean_name, clean_type, opens_in_place, shown_as


@given(st.text())
@example("a\r\nset-cookie: x=y")
@example("\u202egnp.exe")
def test_any_name_becomes_one_short_printable_line(name: str) -> None:
    shown = clean_name(name)
    assert shown
    assert len(shown) <= 200
    assert "/" not in shown
    assert "\\" not in shown
    assert shown.encode().decode() == shown == clean_name(shown)
    assert not set(shown) & set("\0\r\n\t\x7f\u2028\u202e")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Grüße 🎉.txt", "Grüße 🎉.txt"),
        ("/home/me/a b.txt", "a b.txt"),
        ("C:\\temp\\a.txt", "a.txt"),
        ("folder/", "folder"),
        (".env", "env"),
        ("..", "file"),
        ("", "file"),
        (None, "file"),
        (f"{'x' * 300}.tar", f"{'x' * 196}.tar"),
    ],
)
def test_names_stay_what_they_are_where_they_can(name: str | None, shown: str) -> None:
    assert clean_name(name) == shown


@given(st.text())
def test_any_type_fits_into_a_header(mime: str) -> None:
    assert clean_type(mime).encode("ascii")
    assert clean_type(clean_type(mime)) == clean_type(mime)


@pytest.mark.parametrize(
    ("mime", "cleaned"),
    [
        ("Text/Plain; charset=utf-8", "text/plain"),
        ("image/svg+xml", "image/svg+xml"),
        ("text", ANY_TYPE),
        ("text/plain\r\nx: y", ANY_TYPE),
        (None, ANY_TYPE),
    ],
)
def test_types_lose_their_parameters(mime: str | None, cleaned: str) -> None:
    assert clean_type(mime) == cleaned


@pytest.mark.parametrize("mime", ["text/html", "image/svg+xml", "application/xhtml+xml", ANY_TYPE])
def test_what_may_carry_a_script_is_only_saved(mime: str) -> None:
    assert not opens_in_place(mime)
    assert shown_as(mime) == "file"
