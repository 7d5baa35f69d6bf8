"""Markdown as the page shows it: text with colons whole.

The page's renderer takes ``:name`` for a directive and drops it: ``nginx:latest`` would show as
``nginx``. A backslash before the colon restores it; in code it would show, so code is left alone.
Only for the page: what is stored, and what other surfaces get, stays as the model wrote it.
"""

import re

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
# A colon before a letter, or the first of several at the start of a line; not one that is escaped
# already, and not the one of an autolink such as <mailto:a@b.c>.
_DIRECTIVE = re.compile(r"(?<![\\:]):(?=[A-Za-z])|(?m:^(?P<several> {0,3}):(?=:+[A-Za-z]))")
_AUTOLINK = re.compile(r"<[A-Za-z][A-Za-z0-9+.-]{1,31}$")


class Escaper:
    """Escapes a text that grows; what is behind a blank line is not looked at again."""

    def __init__(self) -> None:
        """Begin with an empty text."""
        self._taken = 0
        self._settled: list[str] = []
        self._fence = ""

    def escape(self, text: str) -> str:
        """Escape the whole text, of which the one before was the beginning."""
        while (end := self._block_end(text)) > self._taken:
            self._settled.append(self._escape_block(text[self._taken : end], settle=True))
            self._taken = end
        settled = "".join(self._settled)
        self._settled = [settled]
        return settled + self._escape_block(text[self._taken :], settle=False)

    def _block_end(self, text: str) -> int:
        """Where the next block ends: behind a blank line, or behind a line of a fence."""
        if self._fence or _FENCE.match(text, self._taken):
            return text.find("\n", self._taken) + 1
        blank = text.find("\n\n", self._taken)
        fence = re.compile(r"^ {0,3}(?:`{3}|~{3})", re.MULTILINE).search(text, self._taken)
        ends = [
            end for end in (blank + 2 if blank >= 0 else 0, fence.start() if fence else 0) if end
        ]
        return min(ends, default=0)

    def _escape_block(self, block: str, *, settle: bool) -> str:
        opening = _FENCE.match(block)
        if self._fence:
            closes = opening and opening[1].startswith(self._fence) and not block.strip(" \n`~")
            if settle and closes:
                self._fence = ""
            return block
        if opening:
            if settle:
                self._fence = opening[1]
            return block
        return _escape_prose(block)


def shown(text: str) -> str:
    """Escape a text that is complete."""
    return Escaper().escape(text)


def _escape_prose(block: str) -> str:
    parts: list[str] = []
    at = 0
    for span in _CODE_SPAN.finditer(block):
        parts += (_escape_colons(block[at : span.start()]), span[0])
        at = span.end()
    return "".join([*parts, _escape_colons(block[at:])])


def _escape_colons(prose: str) -> str:
    def escaped(found: re.Match[str]) -> str:
        if _AUTOLINK.search(prose, max(0, found.start() - 40), found.start()):
            return found[0]
        return f"{found['several'] or ''}\\:"

    return _DIRECTIVE.sub(escaped, prose)
