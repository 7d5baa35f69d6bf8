"""Sentences: what is said in English elsewhere, errors above all, said to people in their language.

An error is written in English where it is raised, and travels so: to programs, into rows and to
other replicas. For people its sentence is looked up among those of languages/en.toml, as gettext
looks up its messages, and said again in another language with what it was filled in with: what a
model server said stays as it is. A sentence that is not there is shown in English, below what its
code means. Errors that were stored before are translated too. See docs/decisions/0074.

A part in brackets is there where what it is filled in with is; ``{_name}`` stands for English words
that no other language needs.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache

from parley.surfaces.texts import ENGLISH, Texts, texts_of

# What is longer is nothing that was foreseen, and is not searched for sentences.
_MOST_CHARS = 4000
_SAID = "said"
_PIECE = re.compile(r"\{(\w+)\}|\[([^\]]*)\]")
# The error of a model that was tried before.
_KIND = re.compile(r"\((\w+)\)")
_Table = Callable[[Texts], dict[str, str]]


def error_text(texts: Texts, message: str, code: str = "") -> str:
    """Say an error's message in the language of `texts`; `code` is for one that is not known."""
    said = _translated(texts, message) if len(message) <= _MOST_CHARS else None
    if said is not None:
        return said
    general = texts.codes.get(code, "")
    if texts.tag == ENGLISH:
        return message or general
    return "\n\n".join(filter(None, (general, message)))


def phrase_text(texts: Texts, said: str) -> str:
    """Say what a tool does, how an attempt at an answer ended, or why there was one."""
    return texts.kinds.get(said) or _said(texts, _phrases, said) or said


def title_text(texts: Texts, title: str) -> str:
    """Say the title of a tool's step: its name, and what it does."""
    name, colon, action = title.partition(": ")
    return f"{name}{colon}{phrase_text(texts, action)}"


def _translated(texts: Texts, message: str) -> str | None:
    """Find the sentence; None for one that is not known. An error after failovers has two."""
    failed = _tried().fullmatch(message)
    said = _said(texts, _errors, failed[_SAID] if failed else message)
    if not (said and failed):
        return said
    models = _KIND.sub(lambda kind: f"({texts.kinds.get(kind[1], kind[1])})", failed["models"])
    return said + _filled_in(texts.tried, {"models": models})


def _said(texts: Texts, table: _Table, message: str) -> str | None:
    for key, sentence in _sentences(table):
        if found := sentence.fullmatch(message):
            return _filled_in(table(texts)[key], _own_parts(texts, found.groupdict()))
    return None


def _own_parts(texts: Texts, found: Mapping[str, str | None]) -> dict[str, str | None]:
    """Some of what a sentence is filled in with are words of ours."""

    def own(value: str) -> str:
        return texts.kinds.get(value) or _said(texts, _parts, value) or value

    return {name: value and own(value) for name, value in found.items()}


def _filled_in(sentence: str, values: Mapping[str, str | None]) -> str:
    """Fill in a sentence; what is missing is left out, with the brackets around it."""

    def fill(piece: re.Match[str]) -> str:
        name, bracketed = piece.groups()
        if name:
            return values.get(name) or ""
        is_there = all(values.get(inner) for inner, _ in _PIECE.findall(bracketed))
        return _PIECE.sub(fill, bracketed) if is_there else ""

    return _PIECE.sub(fill, sentence)


def _errors(texts: Texts) -> dict[str, str]:
    return texts.errors


def _parts(texts: Texts) -> dict[str, str]:
    return texts.parts


def _phrases(texts: Texts) -> dict[str, str]:
    return texts.phrases


@cache
def _sentences(table: _Table) -> list[tuple[str, re.Pattern[str]]]:
    """Make the patterns of each English sentence; those that say most come first."""
    forms = [(key, form) for key, text in table(texts_of(ENGLISH)).items() for form in _forms(text)]
    forms.sort(key=lambda keyed: -len(_PIECE.sub("", keyed[1])))
    return [(key, re.compile(_pattern(form), re.DOTALL)) for key, form in forms]


@cache
def _tried() -> re.Pattern[str]:
    return re.compile(_pattern(f"{{said}}{texts_of(ENGLISH).tried}"), re.DOTALL)


def _forms(sentence: str) -> list[str]:
    """Write a sentence with each part in brackets, and without."""
    before, bracket, rest = sentence.partition("[")
    if not bracket:
        return [sentence]
    inside, _, after = rest.partition("]")
    return [before + part + form for form in _forms(after) for part in (inside, "")]


def _pattern(sentence: str) -> str:
    """Make a pattern that reads a text once: no part of it is tried again at another place.

    What somebody said may have any words in it, and ends where they come for the last time.
    """
    first, *pieces = re.split(r"\{(\w+)\}", sentence)
    names, literals = pieces[::2], [re.escape(literal) for literal in pieces[1::2]]
    if literals:
        literals[-1] += r"\Z"
    amounts = (".+" if name == _SAID else ".+?" for name in names)
    parts = zip(names, amounts, literals, strict=True)
    return re.escape(first) + "".join(f"(?>(?P<{n}>{amount}){end})" for n, amount, end in parts)
