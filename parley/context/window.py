"""Window: which earlier turns the model gets to see. Pure.

The system message and the present turn are always kept; the limits bound the earlier turns. The
oldest whole turns go first, so that no question is parted from its answer, and no tool call from
its result.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from parley.chat.errors import ContextTooLong
from parley.chat.turns import Exchange
from parley.context.tokens import Count

# The rule of a turn that nothing was answered to: two questions in a row confuse chat templates.
NO_ANSWER = "no_answer"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the context: the smallest wins; None is no bound."""

    history_tokens: int | None = 4000
    history_turns: int | None = 20
    history_messages: int | None = None
    context_window: int | None = None
    answer_tokens: int = 0


@dataclass(frozen=True, slots=True)
class CountedTurn:
    """An earlier turn and the tokens of its messages: one answer, but for one with tools."""

    exchange: Exchange
    user: Count
    answer: tuple[Count, ...]

    @property
    def counts(self) -> tuple[Count, ...]:
        """The count of each message."""
        return (self.user, *self.answer)

    @property
    def tokens(self) -> int:
        """Tokens of all its messages."""
        return sum(count.tokens for count in self.counts)


@dataclass(frozen=True, slots=True)
class Window:
    """What is kept of the earlier turns, and what is dropped by which rule, both oldest first.

    `rule` names the limit that cut; empty where none did.
    """

    kept: tuple[CountedTurn, ...]
    dropped: tuple[tuple[CountedTurn, str], ...]
    rule: str
    limits: Limits


def window(history: Sequence[CountedTurn], present_tokens: int, limits: Limits) -> Window:
    """Choose the newest answered turns of `history` that fit beside the present turn.

    `present_tokens` are those of the system prompt, what the caller brought along, and the
    message. Raises `ContextTooLong`, with the numbers, where they alone exceed the model's context
    window less the room for the answer.
    """
    room = _room(present_tokens, limits)
    kept: list[CountedTurn] = []
    dropped: list[tuple[CountedTurn, str]] = []
    tokens, messages, rule = 0, 0, ""
    for turn in reversed(history):
        if not turn.exchange.answer_text:
            dropped.append((turn, NO_ANSWER))
            continue
        said = messages + len(turn.counts)
        rule = rule or _rule((len(kept) + 1, said, tokens + turn.tokens), room, limits)
        if rule:
            dropped.append((turn, rule))
        else:
            kept.append(turn)
            tokens += turn.tokens
            messages = said
    return Window(tuple(reversed(kept)), tuple(reversed(dropped)), rule, limits)


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


def _rule(sizes: tuple[int, int, int], room: int | None, limits: Limits) -> str:
    """Name the limit that so many turns, messages and tokens would break; empty for none."""
    turns, messages, tokens = sizes
    bounds = (
        ("MAX_HISTORY_TURNS", turns, limits.history_turns),
        ("MAX_HISTORY_MESSAGES", messages, limits.history_messages),
        ("MAX_HISTORY_TOKENS", tokens, limits.history_tokens),
        ("context_window", tokens, room),
    )
    for name, value, bound in bounds:
        if bound is not None and value > bound:
            return name
    return ""
