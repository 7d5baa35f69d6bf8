import re

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
        (r"a backslash \\:name", r"a backslash \\&#x3A;name"),
        ("see https://a.example/wiki/Help:Contents.", "see https://a.example/wiki/Help:Contents."),
        ("<https://a.example/wiki/Help:Contents>", "<https://a.example/wiki/Help:Contents>"),
        ("[x]: https://a.example/Help:Me", "[x]: https://a.example/Help:Me"),
        ("[https://a.example/b:c](x)", "[https://a.example/b&#x3A;c](x)"),
        ("[`x` https://a.example/b:c](x)", "[`x` https://a.example/b&#x3A;c](x)"),
        ("[open\n\nhttps://a.example/b:c", "[open\n\nhttps://a.example/b:c"),
        ("|https://a.example/b:c|d:e|", "|https://a.example/b:c|d&#x3A;e|"),
        ("http://my_host:name", "http://my_host&#x3A;name"),
        ('a <b style="c:d" e:f=g:h>i:j</b>', 'a <b style="c:d" e:f=g:h>i&#x3A;j</b>'),
        ("if a <b c:d", "if a <b c&#x3A;d"),
        ("<div>a:b\nc:d\n\ne:f", "<div>a:b\nc:d\n\ne&#x3A;f"),
        ("<divide>a:b", "<divide>a&#x3A;b"),
    ],
)
def test_colons_are_shown_whole(written: str, escaped: str) -> None:
    assert shown(written) == escaped


@pytest.mark.parametrize(
    ("written", "escaped"),
    [
        ("It is $x^2$.", "It is $x^2$."),
        ("$5 and $6", "&#x24;5 and &#x24;6"),
        ("$5-$6, US$7 or 8$ a month", "&#x24;5-&#x24;6, US&#x24;7 or 8&#x24; a month"),
        ("costs $100 million and 5$", "costs &#x24;100 million and 5$"),
        ("set $HOME and $PATH", "set &#x24;HOME and $PATH"),
        ("$HOME/bin:$PATH", "&#x24;HOME/bin:$PATH"),
        ("give $2x + 3$ and $5$", "give $2x + 3$ and $5$"),
        ("the $n$th and $f: A \\to B$", "the $n$th and $f: A \\to B$"),
        ("from $a or then b$ to", "from &#x24;a or then b&#x24; to"),
        (r"\$5 and \$6", r"\$5 and \$6"),
        (r"so \(x\) and \[y\] are", r"so $\relax x\relax$ and $$\relax y\relax$$ are"),
        (r"not \\(x\\) and \(y", r"not \\(x\\) and \(y"),
        ("$$x$$", "$$\u2063=\nx\n$$"),
        ("- a\n  $$ x\n  $$\n", "- a\n  $$\u2063<\n   x\n  $$\n"),
        ("$$\na\n+ b $$", "$$\u2063>\na\n+ b \n$$"),
        ("$$\na\n$$\nb", "$$\na\n$$\nb"),
        ("\\[\na\n\\]", "$$\u2063[\na\n$$"),
        ("\\[ a \\]\n", "$$\u2063[=\n a \n$$\n"),
        ("it is $$x$$ here", "it is $$x$$ here"),
        ("\n$$<x\n$$a", "\n$$<x\n$$a"),
        ("```\n$$>\na\n$$\n```", "```\n$$>\na\n$$\n```"),
        ("$$\nopen", "&#x24;&#x24;\nopen"),
        ("$$\na\n\nb\n$$", "&#x24;&#x24;\na\n\nb\n&#x24;&#x24;"),
        ("`$a` and $b$", "`$a` and $b$"),
        ("$a `b$` c$", "&#x24;a `b$` c$"),
        ("$a `b` $c", "&#x24;a `b` $c"),
        ("https://a.example/?$top=1&$skip=$x$", "https://a.example/?$top=1&$skip=$x$"),
        ("| $5 | $6 |\n| $a | b$ |", "| &#x24;5 | &#x24;6 |\n| $a | b$ |"),
        ("```\n$5 $6\n```", "```\n$5 $6\n```"),
        ("公式$x$是", "公式$x$是"),
    ],
)
def test_formulas_are_told_from_money(written: str, escaped: str) -> None:
    assert shown(written) == escaped
    assert as_written(escaped) == written


def test_formula_that_grows_is_only_added_to() -> None:
    """Else the whole text would be sent again with each formula."""
    text = r"Let $x^2 + y^2 = 1$ and $z$ be so."
    for end in range(len(text)):
        assert shown(text).startswith(shown(text[:end]))


_FORMULA = re.compile(
    r"^([ \t]*)\$\$\u2063(\[?)([=<>]?)((?:\\.|[^$]|\$(?!\$))*?)\$\$", re.MULTILINE
)


def as_written(text: str) -> str:
    """What public/page.js makes of a text that is copied; tests/e2e/test_page.py runs that."""

    def formula(found: re.Match[str]) -> str:
        indent, bracket, sign, content = found.groups()
        line = len("\n" + indent)
        if sign in {"=", "<"}:
            content = content[line:]
        if sign in {"=", ">"}:
            content = content[:-line]
        opening, closing = (r"\[", r"\]") if bracket else ("$$", "$$")
        return indent + opening + content + closing

    text = _FORMULA.sub(formula, text)
    for shown_as, written in (
        ("$$\\relax ", r"\["),
        (r"\relax$$", r"\]"),
        ("$\\relax ", r"\("),
        (r"\relax$", r"\)"),
        ("&#x24;", "$"),
        ("&#x3A;", ":"),
    ):
        text = text.replace(shown_as, written)
    return text


_PIECES = st.lists(
    st.sampled_from(
        [
            *("a", ":", "b:c", "`", "```", "~~~", "\n", "\n\n", "  ", "<x", "\\", ">"),
            *(
                "$",
                "$$",
                "5",
                " ",
                "x^2",
                r"\(",
                r"\)",
                r"\[",
                r"\]",
                "$x$",
                "\n$$",
                "http://a",
                "[",
                "]",
                "|",
                "<http://a",
            ),
        ]
    ),
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
    assert as_written(shown(text)) == text


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
        "<a x=\"'",
        "<b c:d ",
        "<div>\na",
        "~" * 999 + "a\n",
        "`" * 999 + "a",
        "$",
        "$a ",
        "$5 ",
        "$a$",
        "$$\n",
        "$$$",
        r"\(",
        r"\[" + "\n",
        r"\(a\)",
        "\n$a",
        "$`a`",
        "a" * 99,
        "https://",
    ],
)
def test_a_mebibyte_of_anything_is_shown(piece: str) -> None:
    """What looked at all that follows for each of these took from minutes to hours."""
    text = piece * (MIB // len(piece))
    assert as_written(shown(text)) == text


def test_backticks_that_never_close_are_shown() -> None:
    text = "a:b " + "".join("`" * length + "a" for length in range(1, 1440))
    assert shown(text) == text.replace("a:b", "a&#x3A;b")
    assert shown("`" * MIB + "\n" + text) == "`" * MIB + "\n" + text


def test_an_open_fence_is_code_to_the_end() -> None:
    text = "````\n" + "a:b\n```\n" * (MIB // 8)
    assert shown(text) == text
