"""The page's document asks nobody else for anything."""

import re
from importlib.resources import files
from pathlib import Path

from parley.surfaces.page.html import without_foreign

KATEX = Path(__file__).parents[3] / "public" / "katex"

TEMPLATE = """\
<head>
  <link rel="preconnect" href="https://fonts.example" crossorigin />
  <link
    href="https://fonts.example/css2?family=Inter"
    rel="stylesheet"
  />
  <link rel="stylesheet" crossorigin href="/assets/index.css">
  <link rel="icon" href="/favicon" />
  <a href="https://example.org">a link that a reader may follow</a>
</head>
"""


def test_leaves_out_what_is_elsewhere() -> None:
    html = without_foreign(lambda root: TEMPLATE)("")
    assert "fonts.example" not in html
    assert html.count("<link") == 2
    assert 'href="https://example.org"' in html


def test_renders_once_for_each_root() -> None:
    asked: list[str] = []

    def template(root_path: str) -> str:
        asked.append(root_path)
        return f"<head>{root_path}</head>"

    render = without_foreign(template)
    assert [render("/a"), render("/a"), render("/b")] == [
        "<head>/a</head>",
        "<head>/a</head>",
        "<head>/b</head>",
    ]
    assert asked == ["/a", "/b"]


def test_formulas_are_drawn_with_what_is_here() -> None:
    """Chainlit's script and our stylesheet must be of one version: copy the new one when this fails."""
    template = files("chainlit").joinpath("frontend", "dist", "index.html").read_text()
    html = without_foreign(lambda root: template)("/root/")
    styles = (KATEX / "katex.min.css").read_text()
    (version,) = re.findall(r"katex@([0-9.]+)/", template)
    assert f'.katex-version:after{{content:"{version}"}}' in styles
    assert '"/root/public/katex/katex.min.css"' in html
    assert "https://" not in html
    fonts = set(re.findall(r"url\(fonts/([^)]+)\)", styles))
    assert fonts == {path.name for path in (KATEX / "fonts").iterdir()}
