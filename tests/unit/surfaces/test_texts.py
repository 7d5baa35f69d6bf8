"""What Parley itself says: the same in every language, and nothing left in English by mistake."""

import re
import string
from collections.abc import Iterator

import msgspec
import pytest

from parley.surfaces.texts import LANGUAGES, language_of, texts_of
from tests.shape.source import ROOT

# Words that are the same in some languages.
_SHARED = {
    "de": {"seconds", "account.code"},
    "fr": {"images", "seconds", "licence", "receipt.messages", "account.code", "phrases.assistant"},
    "es": {"tokens", "seconds", "per_second", "receipt.tokens"},
}
# No words.
_MARKS = {"thousands", "decimal", "account.comma"}


def said_in(language: str) -> dict[str, str]:
    """Every text by its path."""
    return dict(leaves("", msgspec.to_builtins(texts_of(language))))


def leaves(path: str, value: object) -> Iterator[tuple[str, str]]:
    """The texts of a tree, each with its path."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from leaves(f"{path}.{name}" if path else name, below)
    else:
        assert isinstance(value, str)
        yield path, value


def _places(text: str) -> set[str]:
    """What is filled in; a name that begins with _ stands for words that English alone needs."""
    names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    return {name for name in names if not name.startswith("_")}


others = pytest.mark.parametrize("language", LANGUAGES[1:])


@others
def test_every_language_says_the_same_things(language: str) -> None:
    assert said_in(language).keys() == said_in("en").keys()


@others
def test_no_text_is_left_in_english(language: str) -> None:
    texts, english = said_in(language), said_in("en")
    assert all(text.strip() for name, text in texts.items() if name not in _MARKS)
    same = {name for name, text in texts.items() if text == english[name]} - _MARKS
    assert same == _SHARED.get(language, set())


@others
def test_every_language_fills_in_the_same(language: str) -> None:
    texts = said_in(language)
    places = {name: _places(text) for name, text in said_in("en").items()}
    assert {name: _places(text) for name, text in texts.items()} == places


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("de", "de"),
        ("de-CH", "de"),
        ("FR", "fr"),
        ("zh-TW", "zh"),
        ("zh-Hant-HK,en;q=0.5", "zh"),
        ("pt-BR,pt;q=0.9,es;q=0.8,en;q=0.7", "es"),
        ("en;q=0.3, ja;q=0.9", "ja"),
        ("de;q=0, fr;q=0.1", "fr"),
        ("pt-BR", "en"),
        ("xx", "en"),
        ("*", "en"),
        ("", "en"),
        ("de;q=much, ../../etc", "en"),
        ("," * 10_000, "en"),
    ],
)
def test_a_browser_gets_what_it_likes_best(asked: str, given: str) -> None:
    assert language_of(asked) == given


def test_the_script_for_frames_has_every_language() -> None:
    script = (ROOT / "public" / "frame.js").read_text()
    assert re.findall(r"^    (\w\w): \[", script, re.MULTILINE) == list(LANGUAGES)
