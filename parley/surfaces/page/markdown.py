"""Markdown as the page shows it: text with colons and prices whole, and formulas as formulas.

The page's renderer takes ``:name`` for a directive and drops it: ``nginx:latest`` would show as
``nginx``. A character reference in place of the colon restores it, and public/page/copied.js takes it back
from what is copied; in code it would show, so code is left alone. What dollars are, maths.py says.
Only for the page: what is stored, and what other surfaces get, stays as the model wrote it.

Models and users write anything: each character is looked at a bounded number of times.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator

from chainlit.step import StepDict

from parley.surfaces.page.maths import Piece, maths_in

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_NEXT_FENCE = re.compile(r"^ {0,3}(?:`{3}|~{3})", re.MULTILINE)
# Possessive: a long line of backticks is read once.
_CLOSING = re.compile(r"^ {0,3}(`{3,}+|~{3,}+)[ `~]*+\n", re.MULTILINE)
# What begins or ends a code span, and the blank line that none crosses.
_TICKS_OR_BLANK = re.compile(r"`+|\n\n")
# What begins a block of HTML, up to the next blank line (CommonMark 4.6, its sixth kind); the page shows it as it is.
_HTML_BLOCKS = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt"
    "|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu"
    "|menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr"
    "|track|ul"
)
# A colon before a letter, or several at the start of a line; and what says which of them stay as they are: those that
# are escaped already, those of HTML, where a reference would be read as text, and those of an address that the renderer
# makes a link. Between open brackets it makes none.
_MARK = re.compile(
    r"\\[^\n]|\n[ \t]*+\n|[\[\]]"
    r"|<[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*+>"
    r"|(?m:^) {0,3}</?(?:" + _HTML_BLOCKS + r")(?=[\s/>])[^\n]*+(?:\n(?![ \t]*+\n)[^\n]++)*+"
    r"|</?[A-Za-z][A-Za-z0-9-]*+"
    r"(?:[ \t]++[A-Za-z_:][\w.:-]*+(?:[ \t]*+=[ \t]*+(?:[^\s\"'=<>`]++|'[^'\n]*+'|\"[^\"\n]*+\"))?+)*+[ \t]*+/?>"
    r"|(?<![A-Za-z])(?P<address>https?://[^\W_](?:[^\W_]|[-.])*+(?!_)[^\s<|\]]*+)"
    r"|(?P<colon>(?<!:):(?=[A-Za-z]))"
    r"|(?m:^(?P<indent> {0,3})(?P<several>:{2,}+)(?=[A-Za-z]))",
    re.IGNORECASE,
)
_BEFORE_LETTER = re.compile(r":(?=[A-Za-z])")
# Written so by no model: what is copied must be found again.
_COLON = "&#x3A;"


class Escaper:
    """Escapes a text that grows; what is behind a blank line is not looked at again."""

    def __init__(self) -> None:
        """Begin with an empty text."""
        self._taken = 0
        self._settled: list[str] = []
        self._fence = ""

    def escape(self, text: str) -> str:
        """Escape the whole text, of which the one before was the beginning."""
        while self._settle(text):
            pass
        settled = "".join(self._settled)
        self._settled = [settled]
        rest = text[self._taken :]
        is_code = self._fence or _FENCE.match(rest)
        return settled + (rest if is_code else _escape_prose(rest))

    def _settle(self, text: str) -> bool:
        """Take what ends next: code up to its fence, a fence's line, or prose up to the next."""
        opening = None if self._fence else _FENCE.match(text, self._taken)
        if self._fence:
            end = self._code_end(text)
        elif opening:
            end = text.find("\n", self._taken) + 1
        else:
            end = self._prose_end(text)
        if end <= self._taken:
            return False
        block = text[self._taken : end]
        if opening:
            self._fence = opening[1]
        elif not self._fence:
            block = _escape_prose(block)
        elif self._is_closed_by(block):
            self._fence = ""
        self._settled.append(block)
        self._taken = end
        return True

    def _code_end(self, text: str) -> int:
        """Behind the line that closes the fence, or else behind the last whole line."""
        for closing in _CLOSING.finditer(text, self._taken):
            if closing[1].startswith(self._fence):
                return closing.end()
        return text.rfind("\n", self._taken) + 1

    def _is_closed_by(self, block: str) -> bool:
        last = _CLOSING.match(block, block.rfind("\n", 0, -1) + 1)
        return last is not None and last[1].startswith(self._fence)

    def _prose_end(self, text: str) -> int:
        """Before the next fence, or else behind the last blank line."""
        fence = _NEXT_FENCE.search(text, self._taken)
        if fence:
            return fence.start()
        blank = text.rfind("\n\n", self._taken)
        return blank + 2 if blank >= 0 else 0


def shown(text: str) -> str:
    """Escape a text that is complete."""
    return Escaper().escape(text)


async def show_steps(steps: Iterable[StepDict]) -> None:
    """Escape the steps of a thread, in place and off the event loop: a thread may be large."""
    await asyncio.to_thread(_show_steps, steps)


def _show_steps(steps: Iterable[StepDict]) -> None:
    for step in steps:
        if step["type"] != "user_message":  # shown as it was typed
            step["output"] = shown(step["output"])


def _escape_prose(prose: str) -> str:
    if not (":" in prose or "$" in prose or "\\" in prose):
        return prose
    code = list(_code_spans(prose))
    kept = [Piece(start, end, prose[start:end]) for start, end in code]
    pieces = sorted([*kept, *maths_in(prose, code)], key=lambda piece: piece.start)
    parts: list[str] = []
    at = brackets = 0
    for piece in [*pieces, Piece(len(prose), len(prose), "")]:
        for mark in _MARK.finditer(prose, at, piece.start):
            parts += (prose[at : mark.start()], _escaped(mark, is_in_brackets=brackets > 0))
            brackets = _open_brackets(brackets, mark[0])
            at = mark.end()
        parts += (prose[at : piece.start], piece.shown)
        at = piece.end
    return "".join(parts)


def _escaped(mark: re.Match[str], *, is_in_brackets: bool) -> str:
    match mark.lastgroup:
        case "colon":
            return _COLON
        case "several":
            return mark["indent"] + _COLON * len(mark["several"])
        case "address" if is_in_brackets:
            return _BEFORE_LETTER.sub(_COLON, mark[0])
        case _:
            return mark[0]


def _open_brackets(before: int, mark: str) -> int:
    """Count the brackets that are open behind a mark; none stays so over a blank line."""
    if mark == "[":
        return before + 1
    if mark == "]":
        return max(before - 1, 0)
    return 0 if mark[0] == "\n" else before


def _code_spans(prose: str) -> Iterator[tuple[int, int]]:
    """Find code: from backticks to the next as many, in the same paragraph."""
    found = [match.span() for match in _TICKS_OR_BLANK.finditer(prose)] if "`" in prose else []
    closed_by = _closed_by(prose, found)
    at = 0
    while at < len(found):
        closing = closed_by[at]
        if closing:
            yield found[at][0], found[closing][1]
        at = (closing or at) + 1


def _closed_by(prose: str, found: list[tuple[int, int]]) -> list[int]:
    """Say of each which one closes it, 0 for none; from the end, so that each is looked at once."""
    closed_by = [0] * len(found)
    behind: dict[int, int] = {}
    for at in range(len(found) - 1, -1, -1):
        start, end = found[at]
        if prose[start] == "\n":
            behind = {}
        else:
            closed_by[at] = behind.get(end - start, 0)
            behind[end - start] = at
    return closed_by
