r"""Maths: which dollars in prose begin a formula, and which are money. Pure.

The page's renderer pairs any two dollars: of ``$5 and $6`` it would make a formula, and an open
``$$`` would take all that follows. And it knows neither ``\(…\)`` nor ``\[…\]``, which many models
write, nor a formula on a line of its own unless its dollars are on lines of theirs. So each dollar is
decided here: a formula is given to the renderer in its own form, every other dollar as a character
reference. public/page/copied.js takes both back from what is copied.

The rules for single dollars are Pandoc's (https://pandoc.org/MANUAL.html#math), and stricter ones
for what may be money. A formula of single dollars is on one line, and none crosses a blank line.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Written so by no model: what is copied must be found again.
DOLLAR = "&#x24;"
# Before what stands behind the dollars above a formula: an invisible sign that no model writes.
_NOTE = "\u2063"
# No formula is longer, and no paragraph has more to look at.
_MOST_CHARS = 10_000
_MOST_SIGNS = 2000
# Addresses first: a dollar in one is nobody's. Then escapes, so that \\( is none of ours.
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,31}://[^\s<>]*|\\[^\n]|\$++|\n")
_DOLLARS = re.compile(r"\$++")
_KINDS = {"\n", r"\(", r"\)", r"\[", r"\]"}
_BLANK = re.compile(r"\n[ \t]*+\n")
_CLOSES = {r"\(": r"\)", r"\[": r"\]"}
_COMMAND = re.compile(r"\\[A-Za-z]++|\{[^{}]*+\}")
_WORD = re.compile(r"[A-Za-z]{2,}")
_WORDS = re.compile(r"[A-Za-z]{2,} +[A-Za-z]{2,}")
_NOWHERE = 1 << 62
_ORDINAL = re.compile(r"(?:st|nd|rd|th|s)\b")


class Piece(NamedTuple):
    """A piece of prose that the page gets as `shown`: a formula, or a dollar that is none."""

    start: int
    end: int
    shown: str


class _Token(NamedTuple):
    start: int
    end: int
    kind: str


class _Behind(NamedTuple):
    """What comes next behind a token; `line` and `code` are where one ends and one begins."""

    dollar: _Token | None = None
    bracket: _Token | None = None
    line: int = _NOWHERE
    code: int = _NOWHERE


def maths_in(prose: str, code: Sequence[tuple[int, int]]) -> list[Piece]:
    """Find the formulas and the other dollars of a prose, between its spans of code."""
    if "$" not in prose and r"\(" not in prose and r"\[" not in prose:
        return []
    pieces: list[Piece] = []
    start, spans = 0, deque(code)
    for blank in [*_BLANK.finditer(prose), None]:
        end = blank.end() if blank else len(prose)
        inside = []
        while spans and spans[0][0] < end:
            inside.append(spans.popleft())
        pieces += _maths_of(prose, start, end, inside)
        start = end
    return pieces


def _maths_of(prose: str, start: int, end: int, code: list[tuple[int, int]]) -> list[Piece]:
    """Find those of one paragraph."""
    if prose.count("$", start, end) + prose.count("\\", start, end) > _MOST_SIGNS:
        return [
            Piece(*dollars.span(), DOLLAR * len(dollars[0]))
            for text_start, text_end in _texts(start, end, code)
            for dollars in _DOLLARS.finditer(prose, text_start, text_end)
        ]
    tokens = _tokens(prose, start, end, code)
    behind = _next_of_each(tokens)
    pieces: list[Piece] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if formula := _formula(prose, token, behind[at]):
            pieces.append(formula)
            while at < len(tokens) and tokens[at].start < formula.end:
                at += 1
            continue
        if token.kind[0] == "$" and not _may_stay(prose, token, behind[at]):
            pieces.append(Piece(token.start, token.end, DOLLAR * len(token.kind)))
        at += 1
    return pieces


def _tokens(prose: str, start: int, end: int, code: list[tuple[int, int]]) -> list[_Token]:
    """Dollars, brackets and line ends in order; a span of code is one token."""
    tokens = [_Token(*span, "code") for span in code]
    tokens += [
        _Token(*found.span(), kind)
        for text_start, text_end in _texts(start, end, code)
        for found in _TOKEN.finditer(prose, text_start, text_end)
        if (kind := found[0]) in _KINDS or kind[0] == "$"
    ]
    return sorted(tokens)


def _texts(start: int, end: int, code: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is between the spans of code."""
    for code_start, code_end in code:
        yield start, code_start
        start = code_end
    yield start, end


def _next_of_each(tokens: list[_Token]) -> list[_Behind]:
    """From the end, so that each is looked at once."""
    behind = [_Behind()]
    for token in reversed(tokens[1:]):
        last, kind = behind[-1], token.kind
        if kind == "\n":
            behind.append(last._replace(line=token.start))
        elif kind == "code":
            behind.append(last._replace(code=token.start))
        elif kind[0] == "$":
            behind.append(last._replace(dollar=token))
        else:
            behind.append(last._replace(bracket=token))
    return behind[::-1]


def _formula(prose: str, token: _Token, behind: _Behind) -> Piece | None:
    if token.kind in _CLOSES:
        closing = behind.bracket
        is_pair = closing is not None and closing.kind == _CLOSES[token.kind]
    else:
        closing = behind.dollar
        is_pair = closing is not None and closing.kind == token.kind and len(token.kind) < 3
    if closing is None or not is_pair or closing.end - token.start > _MOST_CHARS:
        return None
    end = behind.line if token.kind in {"$", r"\("} else _NOWHERE
    content = prose[token.end : closing.start]
    if closing.start > min(end, behind.code) or not content.strip():
        return None
    if token.kind == "$" and not _is_maths(prose, token.start, content, closing.end):
        return None
    shown = _shown(prose, token, closing, content)
    return Piece(token.start, closing.end, shown) if shown else None


def _is_maths(prose: str, start: int, content: str, end: int) -> bool:
    """Whether what two single dollars hold is a formula, and not a text with two prices."""
    before, after = prose[start - 1 : start], prose[end : end + 1]
    if content[0].isspace() or content[-1].isspace() or (before.isascii() and before.isalnum()):
        return False
    if after.isascii() and after.isalnum() and not _ORDINAL.match(prose, end):
        return False
    said = _COMMAND.sub(" ", content)
    return not (_WORD if content[0].isdigit() else _WORDS).search(said)


def _shown(prose: str, token: _Token, closing: _Token, content: str) -> str | None:
    r"""Write a formula as the renderer takes it.

    ``\relax`` does nothing in a formula: it says that brackets stood there. So does what stands
    behind the dollars above a formula: a bracket, and whether its lines were its own before.
    """
    is_bracket = token.kind in _CLOSES
    if token.kind in {"$$", r"\["}:
        line = prose.rfind("\n", 0, token.start) + 1
        indent = prose[line : token.start]
        end = prose.find("\n", closing.end)
        rest = prose[closing.end : end if end >= 0 else None]
        if not indent.strip() and not rest.strip() and "$$" not in content:
            return _on_lines_of_its_own(content, indent, "[" if is_bracket else "")
    if not is_bracket:
        return token.kind + content + token.kind
    neighbours = prose[token.start - 1 : token.start] + prose[closing.end : closing.end + 1]
    if "$" in content + neighbours or prose[token.start - 2 : token.start] in _CLOSES.values():
        # Between formulas there must be something, or the renderer reads their dollars as one.
        return None
    dollars = "$" if token.kind == r"\(" else "$$"
    return f"{dollars}\\relax {content}\\relax{dollars}"


def _on_lines_of_its_own(content: str, indent: str, bracket: str) -> str:
    first, _, _ = content.partition("\n")
    begins, ends = not first.strip() and "\n" in content, content.rfind("\n")
    has_end = ends >= 0 and not content[ends:].strip()
    mark = {(True, True): "", (False, True): "<", (True, False): ">", (False, False): "="}
    note = bracket + mark[begins, has_end]
    opening = "$$" + (_NOTE + note if note else "") + ("" if begins else f"\n{indent}")
    return opening + content + ("" if has_end else f"\n{indent}") + "$$"


def _may_stay(prose: str, token: _Token, behind: _Behind) -> bool:
    """Whether a dollar is alone to the end of its paragraph, and may yet begin a formula.

    A text that grows then only grows: the dollar is text until another one closes it.
    """
    after = prose[token.end : token.end + 1]
    is_alone = token.kind == "$" and behind.dollar is None
    return is_alone and not (after.isdigit() or after.isspace())
