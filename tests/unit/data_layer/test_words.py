"""Words: a text is split and folded once for both databases, and a query alike."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_layer.words import (
    LARGEST_QUERY,
    LARGEST_TEXT,
    LARGEST_WORD,
    MOST_QUERY_WORDS,
    document_words,
    fold,
    query_of,
    words_of,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's GPT-4, 3.5!", ["it", "s", "gpt", "4", "3", "5"]),
        ("Tōkyō STRASSE Straße ΣΑΣ", ["tokyo", "strasse", "strasse", "\u03c3\u03b1\u03c3"]),
        ("\uff21\uff22 ½ №5", ["ab", "1", "2", "no5"]),
        ("東京都abc 大", ["東京", "京都", "都", "abc", "大"]),
        ("한국어 ｶﾞ", ["한국", "국어", "어", "ガ"]),
        ("हिन्दी файл йод", ["हिन्दी", "фаил", "иод"]),
        ("__init__(self)\0\ud800🎉", ["init", "self", "\ud800"]),
        ("x" * 99, ["x" * LARGEST_WORD]),
    ],
)
def test_text_is_split_into_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(TEXTS)
def test_word_is_a_word_of_its_own(text: str) -> None:
    for word in words_of(text):
        assert words_of(word)[0] == word
        assert fold(word) == word


@given(TEXTS, TEXTS)
def test_query_for_a_text_is_found_in_it(before: str, text: str) -> None:
    held = document_words("0" * 32, "m", f"{before} {text}")
    query = query_of(text)
    assert all(f" 00000000m{word} " in held for word in query.words)
    assert all(f" 00000000m{begun}" in held for begun in query.begins)


@pytest.mark.parametrize(
    ("text", "words", "begins"),
    [
        ("one two", {"one"}, {"two"}),
        ("東京都", {"東京", "京都"}, set()),
        ("東", set(), {"東"}),
        ("東 one", set(), {"東", "one"}),
        ("a b a", {"a", "b"}, {"a"}),
        ('" OR *', set(), {"or"}),
        ("\ud800 \0 %", set(), set()),
    ],
)
def test_query_says_what_may_go_on(text: str, words: set[str], begins: set[str]) -> None:
    query = query_of(text)
    assert (set(query.words), set(query.begins)) == (words, begins)


@pytest.mark.parametrize(
    "text", ["word " * 9**6, "東" * 9**6, "x" * 9**6, " ".join("abcdefghijklmnop")]
)
def test_query_has_bounds(text: str) -> None:
    query = query_of(text)
    assert len(query.words) + len(query.begins) <= MOST_QUERY_WORDS**2
    assert sum(map(len, query.words + query.begins)) <= 2 * LARGEST_QUERY


@pytest.mark.parametrize("text", ["one ", "東京", "\ufdfa"])
def test_document_has_bounds(text: str) -> None:
    assert len(words_of(text * LARGEST_TEXT)) <= LARGEST_TEXT


def test_document_holds_a_word_once() -> None:
    held = document_words("0123456789ABCDEF", "t", "Two two TWO")
    assert held == " 89abcdefttwo "
    assert re.fullmatch(r"( \w+)+ ", document_words("0" * 32, "m", "some words"))
    assert not document_words("0" * 32, "m", "?!")
