import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.surfaces.page.markdown import Escaper, shown


@pytest.mark.parametrize(
    ("written", "escaped"),
    [
        ("docker pull nginx:latest", r"docker pull nginx\:latest"),
        ("Dict[str:int]", r"Dict[str\:int]"),
        ("::note\n", "\\::note\n"),
        ("at 12:30, see http://a.example:80/x", "at 12:30, see http://a.example:80/x"),
        ("std::vector", "std::vector"),
        ("`a:b` and ``c:`d:e``", "`a:b` and ``c:`d:e``"),
        ("```\nk:v\n```\nk:v", "```\nk:v\n```\nk\\:v"),
        ("~~~~\n~~~\nk:v\n~~~~\nk:v", "~~~~\n~~~\nk:v\n~~~~\nk\\:v"),
        ("write to <mailto:a@example.org>", "write to <mailto:a@example.org>"),
        (r"already\:escaped", r"already\:escaped"),
    ],
)
def test_colons_are_shown_whole(written: str, escaped: str) -> None:
    assert shown(written) == escaped


_PIECES = st.lists(
    st.sampled_from(["a", ":", "b:c", "`", "```", "~~~", "\n", "\n\n", "  ", "<x", "\\", ">"]),
    max_size=30,
)


@given(_PIECES)
def test_growing_text_ends_as_the_whole_text(pieces: list[str]) -> None:
    escaper, text, escaped = Escaper(), "", ""
    for piece in pieces:
        text += piece
        escaped = escaper.escape(text)
    assert escaped == shown(text)


@given(_PIECES)
def test_only_backslashes_are_added(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert shown(text).replace("\\", "") == text.replace("\\", "")
