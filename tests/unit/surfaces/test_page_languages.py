"""Chainlit's part of the page in the reader's language, and the greeting."""

import json
from pathlib import Path

import chainlit.config
import pytest
from starlette.requests import HTTPConnection

from parley.chat.errors import RateLimited, TooLarge
from parley.surfaces.page.languages import (
    chainlit_tag,
    correct,
    corrections,
    greeting,
    liked_by,
)
from parley.surfaces.page.refusals import refusal
from parley.surfaces.texts import LANGUAGES, texts_of
from tests.shape.source import ROOT
from tests.unit.surfaces.test_texts import leaves

CHAINLITS = Path(chainlit.config.TRANSLATIONS_DIR)


@pytest.mark.parametrize(
    ("asked", "tag"),
    [
        ("de-CH", "de"),
        ("de-DE", "de-DE"),
        ("zh-Hant-HK", "zh-TW"),
        ("zh-HK", "zh-TW"),
        ("zh-Hans-SG", "zh"),
        ("es-MX", "es"),
        ("pt-BR", "pt"),
        ("xx-YY", "en-US"),
    ],
)
def test_a_region_that_chainlit_does_not_know_gets_its_language(asked: str, tag: str) -> None:
    assert chainlit_tag(asked, CHAINLITS) == tag


@pytest.mark.parametrize("language", LANGUAGES)
def test_chainlit_has_every_language_of_ours(language: str) -> None:
    assert list(CHAINLITS.glob(f"{language}*.json"))


def words_of(language: str) -> dict[str, str]:
    """What Chainlit says in one of our languages, by the path of each text."""
    (file, *_) = sorted(CHAINLITS.glob(f"{language}*.json"))
    return dict(leaves("", json.loads(file.read_text())))


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_of_chainlits_page_stays_english_or_wrong(language: str) -> None:
    (file, *_) = sorted(CHAINLITS.glob(f"{language}*.json"))
    told, better = json.loads(file.read_text()), corrections()[language]
    said = dict(leaves("", told))
    # A newer Chainlit may have mended it.
    assert {path: said.get(path, "") for path in better} == {
        path: wrong for path, (wrong, _) in better.items()
    }
    correct(told, better)
    corrected, english = dict(leaves("", told)), words_of("en")
    assert corrected.keys() == english.keys()
    assert [corrected[path] for path in better] == [right for _, right in better.values()]
    if language == "ja":
        same = {path for path, text in corrected.items() if text == english[path]}
        assert {path.partition(".")[0] for path in same} == {"auth", "navigation", "alerts"}


def test_what_whoever_runs_the_server_has_written_stays() -> None:
    told = {"a": {"b": "Ours"}}
    correct(told, {"a.b": ("Chainlit's", "Parley's"), "a.c": ("", "New")})
    assert told == {"a": {"b": "Ours", "c": "New"}}


def test_the_greeting_that_is_shipped_is_translated() -> None:
    said = {
        greeting(str(ROOT), language) for language in ("en", "de-CH", "fr", "es", "zh-TW", "ja")
    }
    assert said == {texts_of(language).greeting for language in LANGUAGES}
    assert greeting(str(ROOT), "xx") == (ROOT / "chainlit.md").read_text()


def test_whoever_runs_the_server_greets_in_their_own_words(tmp_path: Path) -> None:
    assert greeting(str(tmp_path), "de") is None
    (tmp_path / "chainlit.md").write_text("Hello from us")
    assert greeting(str(tmp_path), "de-CH") == "Hello from us"
    (tmp_path / "chainlit_de.md").write_text("Hallo von uns")
    assert greeting(str(tmp_path), "de-CH") == "Hallo von uns"
    (tmp_path / "chainlit_de-CH.md").write_text("Grüezi")
    assert greeting(str(tmp_path), "de-CH") == "Grüezi"


def test_a_refusal_is_shown_in_the_readers_language_and_told_programs_in_english() -> None:
    headers = [(b"accept-language", b"de-CH,de;q=0.9")]
    scope = {"type": "http", "path": "/project/file", "headers": headers}
    told = json.loads(
        bytes(refusal(scope, TooLarge("The file is larger than 5 bytes (LIMIT_X).")).body)
    )
    assert told["detail"] == "Die Datei ist größer als 5 Bytes (LIMIT_X)."
    assert told["error"]["message"] == "The file is larger than 5 bytes (LIMIT_X)."
    again = refusal(scope, RateLimited("Too many files are arriving. Try again.", retry_after_s=5))
    assert again.headers["retry-after"] == "5"


def test_one_language_can_be_set_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    scope = {"type": "http", "path": "/", "headers": [(b"accept-language", b"ja")]}
    assert liked_by(HTTPConnection(scope)) == "ja"
    monkeypatch.setattr(chainlit.config.config.ui, "language", "de-DE")
    assert liked_by(HTTPConnection(scope)) == "de-DE"
