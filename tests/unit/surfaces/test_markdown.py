import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.surfaces.page.markdown import Escaper, shown


@pytest.mark.parametrize(
    ("written", "escaped"),
    [
        ("docker pull nginx:latest", "docker pull nginx&#x3A;latest"),
        ("Dict[str:int]", "Dict[str&#x3A;int]"),
        ("::note\n", "&#x3A;&#x3A;note\n"),
        ("at 12:30, see http://a.example:80/x", "at 12:30, see http://a.example:80/x"),
        ("std::vector", "std::vector"),
        ("`a:b` and ``c:`d:e``", "`a:b` and ``c:`d:e``"),
        ("```\nk:v\n```\nk:v", "```\nk:v\n```\nk&#x3A;v"),
        ("~~~~\n~~~\nk:v\n~~~~\nk:v", "~~~~\n~~~\nk:v\n~~~~\nk&#x3A;v"),
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


@given(_PIECES, st.lists(st.integers(0, 90), max_size=5))
def test_any_cut_shows_what_the_beginning_alone_would(pieces: list[str], cuts: list[int]) -> None:
    text, escaper = "".join(pieces), Escaper()
    for cut in sorted(cuts):
        assert escaper.escape(text[:cut]) == shown(text[:cut])


@given(_PIECES)
def test_what_is_copied_is_what_was_written(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert shown(text).replace("&#x3A;", ":") == text


MIB = 1024 * 1024


@pytest.mark.parametrize(
    "piece",
    [
        "a\n\n",
        "\n",
        "`",
        ":",
        ":a",
        "`a:b`",
        "`\n\n",
        "x\n```\n",
        "```\n",
        "<a:b",
        "~" * 999 + "a\n",
        "`" * 999 + "a",
    ],
)
def test_a_mebibyte_of_anything_is_shown(piece: str) -> None:
    """What looked at all that follows for each of these took from minutes to hours."""
    text = piece * (MIB // len(piece))
    assert shown(text).replace("&#x3A;", ":") == text


def test_backticks_that_never_close_are_shown() -> None:
    text = "a:b " + "".join("`" * length + "a" for length in range(1, 1440))
    assert shown(text) == text.replace("a:b", "a&#x3A;b")
    assert shown("`" * MIB + "\n" + text) == "`" * MIB + "\n" + text


def test_an_open_fence_is_code_to_the_end() -> None:
    text = "````\n" + "a:b\n```\n" * (MIB // 8)
    assert shown(text) == text
