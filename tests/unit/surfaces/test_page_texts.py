"""What the page says itself: in every language, and nothing left in English by mistake."""

from dataclasses import asdict

import pytest

from parley.surfaces.page.texts import ENGLISH, LANGUAGES, texts_of

# Words that are the same in some languages.
_SHARED = {"tokens", "images", "seconds", "per_second", "licence"}


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_every_text_is_translated(language: str) -> None:
    texts, english = asdict(LANGUAGES[language]), asdict(ENGLISH)
    assert all(texts.values())
    same = {name for name, text in texts.items() if text == english[name]}
    assert same <= _SHARED


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("de-CH", "Nochmals ausführen"),
        ("FR", "Relancer"),
        ("zh-TW", "重新运行"),
        ("xx", "Run again"),
    ],
)
def test_a_browser_gets_its_language_or_english(asked: str, said: str) -> None:
    assert texts_of(asked).run_again == said
