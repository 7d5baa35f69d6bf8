"""Quoting: a text from outside as a block of Markdown in which nothing is Markdown or HTML. Pure."""

import re


def quoted(text: str, most_chars: int) -> str:
    """Put the beginning of a text into a block that it cannot end."""
    more = len(text) - most_chars
    shown = text[:most_chars] + (f"… (+{more:,})" if more > 0 else "")
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"
