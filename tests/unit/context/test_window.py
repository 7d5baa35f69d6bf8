"""Which earlier turns the model gets to see."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.chat.errors import ContextTooLong
from parley.context.tokens import estimate_tokens
from parley.context.window import NO_ANSWER, CountedTurn, Limits, window
from tests.unit.context.support import HISTORIES, counted, exchange

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
def test_no_limit_is_exceeded(history: list[CountedTurn], limits: Limits) -> None:
    cut = window(history, PRESENT_TOKENS, limits)
    tokens = sum(turn.tokens for turn in cut.kept)
    room = limits.context_window and limits.context_window - limits.answer_tokens - PRESENT_TOKENS
    for value, bound in (
        (len(cut.kept), limits.history_turns),
        (2 * len(cut.kept), limits.history_messages),
        (tokens, limits.history_tokens),
        (tokens, room),
    ):
        assert bound is None or value <= bound


@given(HISTORIES, LIMITS)
def test_newest_answered_turns_are_kept_in_order(
    history: list[CountedTurn], limits: Limits
) -> None:
    cut = window(history, PRESENT_TOKENS, limits)
    answered = [turn for turn in history if turn.exchange.answer_text]
    by_limit = [turn for turn, rule in cut.dropped if rule != NO_ANSWER]
    assert [*by_limit, *cut.kept] == answered
    assert len(cut.dropped) + len(cut.kept) == len(history)
    assert bool(cut.rule) == bool(by_limit)
    assert {rule for _, rule in cut.dropped} <= {NO_ANSWER, cut.rule}


@given(HISTORIES, LIMITS)
def test_not_one_more_turn_would_fit(history: list[CountedTurn], limits: Limits) -> None:
    cut = window(history, PRESENT_TOKENS, limits)
    by_limit = [turn for turn, rule in cut.dropped if rule != NO_ANSWER]
    if by_limit:
        again = window([by_limit[-1], *cut.kept], PRESENT_TOKENS, limits)
        assert (again.kept, again.rule) == (cut.kept, cut.rule)


@given(HISTORIES, LIMITS)
def test_cutting_twice_cuts_once(history: list[CountedTurn], limits: Limits) -> None:
    kept = window(history, PRESENT_TOKENS, limits).kept
    assert window(kept, PRESENT_TOKENS, limits).kept == kept


@given(HISTORIES, LIMITS, st.sampled_from([f.name for f in fields(Limits)][:4]), st.integers(1, 50))
def test_larger_limits_keep_no_less(
    history: list[CountedTurn], limits: Limits, name: str, more: int
) -> None:
    bound = getattr(limits, name)
    larger = replace(limits, **{name: None if bound is None else bound + more})  # type: ignore[arg-type]  # names of Limits
    assert len(window(history, PRESENT_TOKENS, larger).kept) >= len(
        window(history, PRESENT_TOKENS, limits).kept
    )


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
    assert window([counted(exchange()), counted(exchange())], PRESENT_TOKENS, limits).rule == rule


def test_message_that_cannot_fit_is_told_in_numbers() -> None:
    limits = Limits(context_window=PRESENT_TOKENS + 4, answer_tokens=5)
    with pytest.raises(ContextTooLong) as refused:
        window([], PRESENT_TOKENS, limits)
    for number in (PRESENT_TOKENS, PRESENT_TOKENS + 4, 5):
        assert str(number) in refused.value.message


def test_message_that_just_fits_is_taken() -> None:
    limits = Limits(context_window=PRESENT_TOKENS + 5, answer_tokens=5)
    assert window([counted(exchange())], PRESENT_TOKENS, limits).kept == ()
