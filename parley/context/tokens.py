"""Tokens: how long a text is for a model, by its own tokenizer or by a marked estimate."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from parley.chat.models import Tokenizer

ESTIMATE = "estimate"
# Per message, for role and separators, as chat templates have them.
MESSAGE_OVERHEAD = 4
_KEPT_COUNTS, _KEPT_CHARS = 256, 4096


@dataclass(frozen=True, slots=True)
class Count:
    """Tokens of one message, and the name of the tokenizer that counted them, or `ESTIMATE`."""

    tokens: int
    counted_by: str


class TokenCounts:
    """Counts messages; what comes again and again, system prompts above all, is counted once."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self._kept: OrderedDict[tuple[str, str], int] = OrderedDict()

    async def count(self, tokenizer: Tokenizer | None, texts: Sequence[str]) -> dict[str, Count]:
        """Count each text as a message; an estimate where the tokenizer cannot say."""
        unknown = list(dict.fromkeys(texts))
        if tokenizer is None:
            return {text: estimated(text) for text in unknown}
        name = tokenizer.name
        counts = {text: Count(n, name) for text in unknown if (n := self._recall(name, text))}
        unknown = [text for text in unknown if text not in counts]
        numbers = await tokenizer.count(unknown) if unknown else ()
        if numbers is None:
            return counts | {text: estimated(text) for text in unknown}
        for text, number in zip(unknown, numbers, strict=True):
            counts[text] = Count(number + MESSAGE_OVERHEAD, name)
            self._keep(name, text, counts[text].tokens)
        return counts

    def _recall(self, name: str, text: str) -> int | None:
        tokens = self._kept.get((name, text))
        if tokens is not None:
            self._kept.move_to_end((name, text))
        return tokens

    def _keep(self, name: str, text: str, tokens: int) -> None:
        if len(text) > _KEPT_CHARS:
            return
        self._kept[name, text] = tokens
        if len(self._kept) > _KEPT_COUNTS:
            self._kept.popitem(last=False)


def estimated(text: str) -> Count:
    """Count a message without its model's tokenizer."""
    return Count(estimate_tokens(text), ESTIMATE)


def estimate_tokens(text: str) -> int:
    """Estimate high rather than low: a third of the UTF-8 bytes, and a few for the message.

    English has about four bytes a token; Chinese, Japanese and code have about three.
    """
    return math.ceil(len(text.encode("utf-8", "replace")) / 3) + MESSAGE_OVERHEAD
