"""How long a text is for a model."""

import re
from collections.abc import Sequence

import pytest
import toktok  # type: ignore[import-untyped]  # has no stubs
from hypothesis import example, given
from hypothesis import strategies as st

from parley.context.tokens import ESTIMATE, MESSAGE_OVERHEAD, TokenCounts, estimate_tokens
from tests.samples import SAMPLES
from tests.unit.context.support import Desk, Words

# Beside the samples, whose counts are those of tiktoken.
TEXTS = SAMPLES | {
    "tibetan": "ཁ་སང་དགོང་མོ་ང་ཚོ་གཙང་པོའི་འགྲམ་ལ་འཆམ་འཆམ་བྱས།",
    "cherokee": "ᎤᏒᎯ ᎡᏉᏂ ᎤᎶᏗᏢ ᎣᎨᏙᎸ.",
    "mongolian": "ᠥᠴᠦᠭᠡᠳᠦᠷ ᠣᠷᠣᠢ ᠪᠢᠳᠡ ᠭᠣᠣᠯ ᠤᠨ ᠡᠷᠭᠢ ᠳᠡᠭᠡᠷᠡ ᠠᠯᠬᠤᠪᠠ",
    "syriac": "ܐܬܡܠܝ ܒܪܡܫܐ ܗܠܟܢ ܠܘܬ ܢܗܪܐ ܘܡܠܠܢ.",
}
USUAL = re.findall(
    r"\w+",
    "english german french turkish vietnamese russian ukrainian greek arabic persian hindi bengali"
    " tamil armenian burmese amharic georgian khmer tibetan cherokee mongolian syriac zalgo"
    " chinese japanese korean thai python c html json url base64 emoji whitespace blank",
)
RARE = (
    "armenian",
    "burmese",
    "amharic",
    "georgian",
    "khmer",
    "tibetan",
    "cherokee",
    "mongolian",
    "syriac",
)
WORDS = [word for kind in USUAL for word in re.findall(r"\s*\S+", TEXTS[kind])]


@given(st.text(st.characters(exclude_categories=[])))
def test_estimate_takes_any_text(text: str) -> None:
    assert estimate_tokens(text) >= len(text) / 3


@pytest.mark.parametrize("kind", USUAL)
def test_usual_text_is_not_underestimated(kind: str) -> None:
    exact = max(_exact(TEXTS[kind], "o200k_base"), _exact(TEXTS[kind], "cl100k_base"))
    assert estimate_tokens(TEXTS[kind]) >= exact


@pytest.mark.parametrize("kind", TEXTS)
def test_estimate_is_never_far_off(kind: str) -> None:
    assert estimate_tokens(TEXTS[kind]) >= 0.6 * _exact(TEXTS[kind], "o200k_base")
    assert estimate_tokens(TEXTS[kind]) >= 0.5 * _exact(TEXTS[kind], "cl100k_base")
    most = 4.2 * _exact(TEXTS[kind], "o200k_base")
    assert estimate_tokens(TEXTS[kind]) <= max(most, _bytes(TEXTS[kind]) if kind in RARE else 0)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_estimate_is_no_more_than_the_bytes(text: str) -> None:
    assert estimate_tokens(text) <= _bytes(text)


@pytest.mark.parametrize("kind", ["english", "burmese", "chinese", "json"])
def test_long_text_is_estimated_as_a_short_one(kind: str) -> None:
    times = 500_000 // len(TEXTS[kind])
    tokens = (estimate_tokens(TEXTS[kind] * 100) - MESSAGE_OVERHEAD) * times / 100
    assert estimate_tokens(TEXTS[kind] * times) == pytest.approx(tokens, rel=0.02)


def test_last_part_of_a_long_text_counts() -> None:
    plain = "word " * 100_000
    assert estimate_tokens(plain + "7" * 50_000) > estimate_tokens(plain) + 30_000


# Short words around a line of base64, which is none of them.
@example(["The", " was", " ᎡᏉᏂ", " 대해", TEXTS["base64"], " quiet,", " and"])
@given(st.lists(st.sampled_from(WORDS), unique=True))
def test_usual_words_are_not_underestimated(words: list[str]) -> None:
    text = "".join(words)
    assert estimate_tokens(text) >= _exact(text, "o200k_base")


def _bytes(text: str) -> int:
    return len(text.encode()) + MESSAGE_OVERHEAD


def _exact(text: str, encoding: str) -> int:
    (tokens,) = toktok.batch_count([text], encoding, threads=1)
    assert isinstance(tokens, int)
    return tokens


async def test_same_text_is_counted_once() -> None:
    counts, words = TokenCounts(), Words()
    for _ in range(2):
        found = await counts.count(words, ["a b", "c", "a b"])
        assert {text: count.tokens - MESSAGE_OVERHEAD for text, count in found.items()} == {
            "a b": 2,
            "c": 1,
        }
    assert words.asked == ["a b", "c"]


async def test_other_tokenizer_counts_anew() -> None:
    counts, words, others = TokenCounts(), Words(), Words("others")
    await counts.count(words, ["a"])
    assert (await counts.count(others, ["a"]))["a"].counted_by == "others"
    assert others.asked == ["a"]


async def test_silent_tokenizer_is_an_estimate_and_asked_again() -> None:
    counts, words = TokenCounts(), Words()
    words.silent = True
    assert (await counts.count(words, ["a"]))["a"].counted_by == ESTIMATE
    words.silent = False
    assert (await counts.count(words, ["a"]))["a"].counted_by == "words"


async def test_kept_counts_are_bounded() -> None:
    counts, words = TokenCounts(), Words()
    long = "x" * 5000
    await counts.count(words, [long, *map(str, range(300))])
    words.asked.clear()
    await counts.count(words, [long, "299", "0"])
    assert words.asked == [long, "0"]


async def test_tokens_are_counted_once_in_a_conversation() -> None:
    desk, words = Desk(), Words()
    desk.provider.counts = words
    for text in ("one", "two", "three"):
        await desk.answer(await desk.begin(text), f"re {text}")
    assert sorted(words.asked) == sorted({*words.asked})
    assert "re three" not in words.asked


async def test_estimates_are_not_kept_for_a_tokenizer() -> None:
    desk, words = Desk(), Words()
    desk.provider.counts = words
    words.silent = True
    await desk.answer(await desk.begin("one"), "re one")
    words.silent = False
    context = await desk.build(await desk.begin("two"))
    assert _methods(context.receipt["messages"]) == {"words"}


async def test_change_of_tokenizer_counts_the_history_anew() -> None:
    desk = Desk()
    await desk.answer(await desk.begin("unquestionably"), "re one")
    await desk.answer(await desk.begin("two"), "re two")
    desk.provider.counts = Words()
    context = await desk.build(await desk.begin("three"))
    assert _methods(context.receipt["messages"]) == {"words"}
    said = context.record.exchanges
    assert [n.user_tokens for n in said] == [1 + MESSAGE_OVERHEAD] * 2
    assert [n.answer_tokens for n in said] == [2 + MESSAGE_OVERHEAD] * 2


def _methods(messages: object) -> set[str]:
    assert isinstance(messages, Sequence)
    return {message["counted_by"] for message in messages}
