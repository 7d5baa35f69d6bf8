"""Usage: what a turn cost in tokens."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one completion; `estimated` marks our own count, never a provider's."""

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    estimated: bool = False


def added(one: Usage | None, other: Usage) -> Usage:
    """Add up what completions of one turn cost; estimated where any of it is."""
    if one is None:
        return other
    return Usage(
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        _sum(one.reasoning_tokens, other.reasoning_tokens),
        _sum(one.cached_tokens, other.cached_tokens),
        one.estimated or other.estimated,
    )


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)
