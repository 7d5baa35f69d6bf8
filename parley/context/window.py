"""Window: which earlier turns the model gets to see. Pure.

The system message and the present turn are always kept; the limits bound the earlier turns. The
oldest whole turns go first, so that no question is parted from its answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from parley.chat.errors import ContextTooLong
from parley.chat.turns import Exchange
from parley.context.tokens import estimate_tokens


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the context: the smallest wins; None is no bound."""

    history_tokens: int | None = 4000
    history_turns: int | None = 20
    history_messages: int | None = None
    context_window: int | None = None
    answer_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """What is kept and dropped of the earlier turns, oldest first, and the rule that cut."""

    kept: tuple[Exchange, ...]
    dropped: tuple[Exchange, ...]
    rule: str
    present_tokens: int


def exchange_tokens(exchange: Exchange) -> int:
    """Count an earlier turn."""
    return estimate_tokens(exchange.user_text) + estimate_tokens(exchange.answer_text)


def window(history: Sequence[Exchange], present: Sequence[str], limits: Limits) -> Window:
    """Choose the newest turns of `history` that fit beside the `present` texts.

    `present` is the system prompt, what the caller brought along, and the message. Raises `ContextTooLong`, with the
    numbers, where they alone exceed the model's context window less the room for the answer.
    """
    present_tokens = sum(map(estimate_tokens, present))
    room = _room(present_tokens, limits)
    turns = tokens = 0
    rule = ""
    for exchange in reversed(history):
        more = tokens + exchange_tokens(exchange)
        rule = _rule(turns + 1, more, room, limits)
        if rule:
            break
        turns, tokens = turns + 1, more
    cut = len(history) - turns
    return Window(tuple(history[cut:]), tuple(history[:cut]), rule, present_tokens)


def _room(present_tokens: int, limits: Limits) -> int | None:
    """Tokens that the model's window leaves for earlier turns."""
    if limits.context_window is None:
        return None
    room = limits.context_window - limits.answer_tokens - present_tokens
    if room < 0:
        raise ContextTooLong(
            f"The message has about {present_tokens} tokens; the model takes"
            f" {limits.context_window}, {limits.answer_tokens} of them for its answer."
            " Shorten the message, or choose a model with a larger context window."
        )
    return room


def _rule(turns: int, tokens: int, room: int | None, limits: Limits) -> str:
    """Name the limit that this many turns and tokens would break; empty for none."""
    bounds = (
        ("MAX_HISTORY_TURNS", turns, limits.history_turns),
        ("MAX_HISTORY_MESSAGES", turns * 2, limits.history_messages),
        ("MAX_HISTORY_TOKENS", tokens, limits.history_tokens),
        ("context_window", tokens, room),
    )
    for name, value, bound in bounds:
        if bound is not None and value > bound:
            return name
    return ""
