"""Which earlier turns the model gets to see."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.chat.errors import ContextTooLong
from parley.chat.turns import Exchange
from parley.context.tokens import estimate_tokens
from parley.context.window import Limits, exchange_tokens, window
from tests.unit.context.support import HISTORIES, exchange

PRESENT = ("system", "question")
PRESENT_TOKENS = sum(map(estimate_tokens, PRESENT))


def optional(largest: int) -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(0, largest)


LIMITS = st.builds(
    Limits,
    history_tokens=optional(200),
    history_turns=optional(12),
    history_messages=optional(24),
    context_window=st.none() | st.integers(PRESENT_TOKENS + 10, 200),
    answer_tokens=st.integers(0, 10),
)


@given(HISTORIES, LIMITS)
def test_no_limit_is_exceeded(history: list[Exchange], limits: Limits) -> None:
    cut = window(history, PRESENT, limits)
    tokens = sum(map(exchange_tokens, cut.kept))
    room = limits.context_window and limits.context_window - limits.answer_tokens - PRESENT_TOKENS
    for value, bound in (
        (len(cut.kept), limits.history_turns),
        (2 * len(cut.kept), limits.history_messages),
        (tokens, limits.history_tokens),
        (tokens, room),
    ):
        assert bound is None or value <= bound


@given(HISTORIES, LIMITS)
def test_newest_turns_are_kept_in_order(history: list[Exchange], limits: Limits) -> None:
    cut = window(history, PRESENT, limits)
    assert [*cut.dropped, *cut.kept] == history
    assert bool(cut.rule) == bool(cut.dropped)


@given(HISTORIES, LIMITS)
def test_not_one_more_turn_would_fit(history: list[Exchange], limits: Limits) -> None:
    cut = window(history, PRESENT, limits)
    if cut.dropped:
        again = window([cut.dropped[-1], *cut.kept], PRESENT, limits)
        assert (again.kept, again.rule) == (cut.kept, cut.rule)


@given(HISTORIES, LIMITS)
def test_cutting_twice_cuts_once(history: list[Exchange], limits: Limits) -> None:
    kept = window(history, PRESENT, limits).kept
    assert window(kept, PRESENT, limits).kept == kept


@given(HISTORIES, LIMITS, st.sampled_from([f.name for f in fields(Limits)][:4]), st.integers(1, 50))
def test_larger_limits_keep_no_less(
    history: list[Exchange], limits: Limits, name: str, more: int
) -> None:
    bound = getattr(limits, name)
    larger = replace(limits, **{name: None if bound is None else bound + more})  # type: ignore[arg-type]  # names of Limits
    assert len(window(history, PRESENT, larger).kept) >= len(window(history, PRESENT, limits).kept)


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        (Limits(history_turns=1), "MAX_HISTORY_TURNS"),
        (Limits(history_messages=3), "MAX_HISTORY_MESSAGES"),
        (Limits(history_tokens=20), "MAX_HISTORY_TOKENS"),
        (Limits(context_window=PRESENT_TOKENS + 20), "context_window"),
        (Limits(), ""),
    ],
)
def test_limit_that_cut_is_named(limits: Limits, rule: str) -> None:
    assert window([exchange(), exchange()], PRESENT, limits).rule == rule


def test_message_that_cannot_fit_is_told_in_numbers() -> None:
    limits = Limits(context_window=PRESENT_TOKENS + 4, answer_tokens=5)
    with pytest.raises(ContextTooLong) as refused:
        window([], PRESENT, limits)
    for number in (PRESENT_TOKENS, PRESENT_TOKENS + 4, 5):
        assert str(number) in refused.value.message


def test_message_that_just_fits_is_taken() -> None:
    limits = Limits(context_window=PRESENT_TOKENS + 5, answer_tokens=5)
    assert window([exchange()], PRESENT, limits).kept == ()


@given(st.text(st.characters(exclude_categories=[])))
def test_estimate_takes_any_text(text: str) -> None:
    assert estimate_tokens(text) >= len(text) / 3
