"""Words: what a text is found by, and what a query asks for.

One definition for both databases: SQLite calls these functions from its triggers, PostgreSQL has
the same steps in SQL, made from the same constants (migrations/versions/0003_search.py). A change
here needs a revision that indexes everything again.

A word is folded (case, diacritics, compatibility forms) and carries whose it is and whether it is
of a title: a search then reads only what its owner wrote, also for the beginning of a word.
Where a script has no spaces, every two neighbours are a word, and the last of a run alone.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Literal

from parley.chat.messages import storable_text

Kind = Literal["t", "m"]
TITLE: Final[Kind] = "t"
MESSAGE: Final[Kind] = "m"

# What is longer is found by its beginning: PostgreSQL holds 1 MB of words for a document.
LARGEST_TEXT = 40_000
LARGEST_WORD = 60
LARGEST_QUERY = 500
MOST_QUERY_WORDS = 12

# Ranges for a regular expression, understood alike by Python and PostgreSQL.
MARKS = r"\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670"
SEPARATORS = (
    r"\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00bf\u00d7\u00f7"
    r"\u055a-\u055f\u0589\u05be\u05c0\u05c3\u060c\u061b\u061f\u06d4\u0964\u0965\u0f0b-\u0f14"
    r"\u1361-\u1368\u1680\u17d4-\u17da\u1800-\u180a\u2000-\u2bff\u2e00-\u2e7f\u2ff0-\u3004"
    r"\u3008-\u3020\u3030\u303d-\u303f\u30a0\u30fb\ue000-\uf8ff\ufe00-\ufe6f\ufeff"
    r"\uff00-\uff0f\uffe0-\uffff\U0001f000-\U0001fbff\U000e0000-\U0010ffff"
)
UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u11ff\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u302f"
    r"\u3031-\u30ff\u3100-\u318f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f"
    r"\uac00-\ud7ff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)

_SAME = {0x03C2: "\u03c3", 0x00DF: "ss"}  # the two letters whose case is more than one letter's
_MARK = re.compile(f"[{MARKS}]")
_SEPARATOR = re.compile(f"[\\x00{SEPARATORS}]+")
_ASCII_WORD = re.compile("[a-z0-9]+")  # all that SEPARATORS leaves, found faster
_RUN = re.compile(f"[{UNSPACED}]+")


@dataclass(frozen=True, slots=True)
class Query:
    """Folded words that must all be there; one that `begins` may go on after its last letter."""

    words: tuple[str, ...]
    begins: tuple[str, ...]


def fold(text: str) -> str:
    """Leave of a text what its words are compared by."""
    if text.isascii():
        return text.lower()
    plain = _MARK.sub("", unicodedata.normalize("NFKD", text).lower())
    return unicodedata.normalize("NFC", plain).translate(_SAME)


def document_words(owner_id: str, kind: str, text: str) -> str:
    """Give the words of a text, each with a space on both sides, as the index holds them."""
    place = owner_place(owner_id, kind)
    words = dict.fromkeys(place + word for word in words_of(text[:LARGEST_TEXT]))
    return f" {' '.join(words)} " if words else ""


def words_of(text: str) -> list[str]:
    """Split a text into folded words; one may come twice."""
    folded = fold(text)[:LARGEST_TEXT]
    if folded.isascii():
        return [word[:LARGEST_WORD] for word in _ASCII_WORD.findall(folded)]
    spaced = _SEPARATOR.sub(" ", folded)
    if not _RUN.search(spaced):
        return [word[:LARGEST_WORD] for word in spaced.split()]
    return [
        piece[:LARGEST_WORD]
        for word in _RUN.sub(r" \g<0> ", spaced).split()
        for piece in (_pairs(word) if _RUN.match(word) else (word,))
    ]


def query_of(text: str) -> Query:
    """Read what somebody typed; quotes and operators are separators like any other."""
    spaced = _SEPARATOR.sub(" ", fold(storable_text(text[:LARGEST_QUERY])))
    runs = _RUN.sub(r" \g<0> ", spaced).split()
    words: dict[str, None] = {}
    begins: dict[str, None] = {}
    for number, run in enumerate(runs[:MOST_QUERY_WORDS], 1):
        unspaced = bool(_RUN.match(run))
        pieces = _pairs(run)[:-1] or [run] if unspaced else [run[:LARGEST_WORD]]
        # A letter alone is found as the first of a pair, too.
        begun = len(run) == 1 if unspaced else number == len(runs)
        (begins if begun else words).update(dict.fromkeys(pieces[:MOST_QUERY_WORDS]))
    return Query(tuple(words), tuple(begins))


def owner_place(owner_id: str, kind: str) -> str:
    """What the words of an owner's documents begin with; it keeps apart, it does not protect."""
    return owner_id[-8:].lower() + kind


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run))]
