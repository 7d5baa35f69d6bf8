"""Tokens: how long a text is for a model, as far as that is known without its tokenizer."""

import math

METHOD = "estimate"
# Per message, for role and separators, as chat templates have them.
_MESSAGE_OVERHEAD = 4


def estimate_tokens(text: str) -> int:
    """Estimate high rather than low: a third of the UTF-8 bytes, and a few for the message.

    English has about four bytes a token; Chinese, Japanese and code have about three.
    """
    return math.ceil(len(text.encode("utf-8", "replace")) / 3) + _MESSAGE_OVERHEAD
