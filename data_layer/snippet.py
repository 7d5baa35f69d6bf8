"""Snippet: the part of a text that shows why it was found, cut from the text as it was written.

Made here and not in the databases, so that both give the same. Where the words are is data, not
markup: what shows a snippet has nothing to unescape.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from data_layer.words import SEPARATORS, UNSPACED, Query, fold, words_of

WIDTH = 160
_BEFORE = WIDTH // 3
# What looks like a sign and is read as letters or digits: "½", "™", "²".
_COMPATIBLE = (
    r"\u00aa\u00b2\u00b3\u00b5\u00b9\u00ba\u00bc-\u00be\u2070-\u209c\u2100-\u218b\u2460-\u24ff"
    r"\U0001f100-\U0001f2ff\U0001fbf0-\U0001fbf9"
)
# A run of a script without spaces, or a word of any other.
_RUN_OR_WORD = re.compile(f"[{UNSPACED}]+|(?:[^\\x00{SEPARATORS}{UNSPACED}]|[{_COMPATIBLE}])+")
_SPACE = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of a text on one line, and the places in it (start, end) of what was looked for."""

    text: str
    marks: tuple[tuple[int, int], ...]


def snippet_of(text: str, query: Query) -> Snippet:
    """Cut about 160 characters around the first hit, or from the beginning where there is none."""
    found = _hits(text, query)
    first = next(found, None)
    start = _start_of(text, first[0]) if first else 0
    end = _end_of(text, start)
    marks = []
    for begin, stop in chain([first] if first else [], found):
        if begin >= end:
            break
        marks.append((begin - start, min(stop, end) - start))
    return Snippet(_SPACE.sub(" ", text[start:end]), tuple(marks))


def _start_of(text: str, hit: int) -> int:
    """Begin some words before the hit, at a word where there is one near."""
    if hit <= _BEFORE:
        return 0
    space = _SPACE.search(text, hit - _BEFORE, hit)
    return space.end() if space else hit - _BEFORE


def _end_of(text: str, start: int) -> int:
    end = start + WIDTH
    if end >= len(text):
        return len(text)
    cut = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
    return cut if cut > start + WIDTH * 3 // 4 else end


def _hits(text: str, query: Query) -> Iterator[tuple[int, int]]:
    """Find the words of the query, in order; lazily, since mostly the first few are wanted."""
    pairs = tuple({*query.words, *query.begins})
    for piece in _RUN_OR_WORD.finditer(text):
        if _is_unspaced(piece[0]):
            yield from _hits_in_run(piece[0], piece.start(), pairs)
        elif _is_hit(piece[0], query):
            yield piece.span()


def _is_unspaced(piece: str) -> bool:
    return re.match(f"[{UNSPACED}]", piece) is not None


@lru_cache(maxsize=4096)
def _is_hit(piece: str, query: Query) -> bool:
    return any(word in query.words or word.startswith(query.begins) for word in words_of(piece))


def _hits_in_run(run: str, at: int, pairs: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Find pairs of characters, and join those that touch."""
    folded = fold(run)
    if len(folded) != len(run):  # characters that were folded into others: all or nothing
        if any(pair in folded for pair in pairs):
            yield at, at + len(run)
        return
    hit = [False] * len(run)
    for pair in pairs:
        place = folded.find(pair)
        while place >= 0:
            hit[place : place + len(pair)] = [True] * len(pair)
            place = folded.find(pair, place + 1)
    for marked in re.finditer("1+", "".join("1" if one else "0" for one in hit)):
        yield at + marked.start(), at + marked.end()
