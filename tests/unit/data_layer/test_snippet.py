"""Snippets: the words around the first hit, as they were written, with the hits marked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_layer.snippet import WIDTH, snippet_of
from data_layer.words import query_of, words_of

# As texts are stored: without lone surrogates, which no database takes.
TEXTS = st.text(
    st.one_of(st.sampled_from("ab 東京é\n,"), st.characters(codec="utf-8")), max_size=400
)


def marked(text: str, query: str) -> list[str]:
    snippet = snippet_of(text, query_of(query))
    return [snippet.text[start:end] for start, end in snippet.marks]


@pytest.mark.parametrize(
    ("text", "query", "marks"),
    [
        ("Tōkyō, and Tokyo's", "TOKYO", ["Tōkyō", "Tokyo"]),
        ("a straße", "strasse", ["straße"]),
        ("東京都と京都", "京都", ["京都", "京都"]),
        ("東京都と京都", "東京都", ["東京都", "京都"]),
        ("大きい東", "東", ["東"]),
        ("searching for words", "words sea", ["searching", "words"]),
        ("searching for words", "for wor", ["for", "words"]),
        ("half ｶﾞｷﾞ", "ガ", ["ｶﾞｷﾞ"]),
        ("half ｶﾞｷﾞ", "ゴ", []),
        ("nothing", "else", []),
    ],
)
def test_hits_are_marked_where_they_are(text: str, query: str, marks: list[str]) -> None:
    assert marked(text, query) == marks


def test_snippet_is_cut_around_the_first_hit() -> None:
    text = "before " * 500 + "the hit\nand the next line" + " after" * 500
    snippet = snippet_of(text, query_of("hit"))
    assert len(snippet.text) <= WIDTH
    assert snippet.text.startswith("before ")
    assert "the hit and the next line after" in snippet.text
    assert snippet.text.endswith(" after")
    ((start, end),) = snippet.marks
    assert snippet.text[start:end] == "hit"


def test_text_without_a_hit_is_shown_from_its_beginning() -> None:
    snippet = snippet_of("some " * 100, query_of("else"))
    assert snippet.text.startswith("some some")
    assert len(snippet.text) <= WIDTH
    assert snippet.marks == ()


@given(TEXTS, TEXTS)
def test_marks_are_in_the_snippet_and_in_order(text: str, query: str) -> None:
    snippet = snippet_of(text, query_of(query))
    places = [place for mark in snippet.marks for place in mark]
    assert places == sorted(places)
    assert all(0 <= start < end <= len(snippet.text) for start, end in snippet.marks)
    assert len(snippet.text) <= WIDTH


@given(TEXTS, st.integers(0, 400))
def test_each_word_of_a_text_is_marked(text: str, which: int) -> None:
    if words := words_of(text):
        assert marked(text, words[which % len(words)])
