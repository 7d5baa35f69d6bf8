"""What a tool gave is shown as it is: no Markdown, no HTML, no link but to its sources."""

import html
import re

from hypothesis import given
from hypothesis import strategies as st

from parley.chat.tool_display import result_markdown
from parley.chat.tools import Source

NASTY = "![x](http://evil/) <img src=x> [a](javascript:alert(1))"


def test_result_stands_in_a_block() -> None:
    shown = result_markdown(f"{NASTY}\n```\n# out?", (Source("A", "https://a.example/"),))
    links, block = shown.split("\n\n", 1)
    assert links == "- [A](https://a.example/)"
    assert block == f"````text\n{NASTY}\n```\n# out?\n````"


def test_titles_and_addresses_cannot_leave_their_link() -> None:
    source = Source(f"x]({NASTY}", "https://a.example/(b) c<d>\"'\\`[e]\n")
    (line,) = result_markdown("", (source,)).splitlines()
    title, address = re.fullmatch(r"- \[([^\\\[\]]*)\]\(([^()\s<>]*)\)", line).groups()  # type: ignore[union-attr]  # it matches
    assert html.unescape(title) == f"x]({NASTY}"
    assert address.startswith("https://a.example/%28b%29")


def test_nothing_in_a_source_is_a_formula_or_a_reference() -> None:
    source = Source("Pay $5 \\[x\\] \\(y\\) $6 &copy;", "https://a.example/?a=$1&lt;=2&b=$3")
    line = result_markdown("", (source,))
    assert not set("$\\") & set(line)
    assert html.unescape(line).startswith("- [Pay $5 \\[x\\] \\(y\\) $6 &copy;](")
    assert html.unescape(line).endswith("(https://a.example/?a=$1&lt;=2&b=$3)")


def test_only_the_web_is_linked() -> None:
    for url in ("javascript:alert(1)", "data:text/html,x", "//a", "http://", "https://[::1", ""):
        assert result_markdown("", (Source("x", url),)) == ""


@given(st.text("`~ax\n ", max_size=40))
def test_no_text_ends_its_block(text: str) -> None:
    shown = result_markdown(text + "x")
    fence = shown.split("text\n")[0]
    assert shown.endswith(f"\n{fence}")
    assert fence not in shown[len(fence) : -len(fence)]


def test_long_result_is_cut_for_the_eye() -> None:
    assert "… (+6,000)" in result_markdown("x" * 10_000)
