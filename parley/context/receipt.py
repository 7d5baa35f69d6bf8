"""Receipt: what the model saw, what it did not, and why. Stored with the turn."""

import hashlib
from collections.abc import Sequence

from parley.chat.messages import Message
from parley.context.tokens import METHOD, estimate_tokens
from parley.context.window import Window

VERSION = 1


def receipt_of(messages: Sequence[Message], cut: Window) -> dict[str, object]:
    """Make the receipt: turn ids and token counts, never text."""
    return {
        "version": VERSION,
        "counted_by": METHOD,
        "kept_turns": [exchange.turn_id for exchange in cut.kept],
        "dropped_turns": [exchange.turn_id for exchange in cut.dropped],
        "rule": cut.rule,
        "message_tokens": [estimate_tokens(message.text) for message in messages],
        "digest": digest_of(messages),
    }


def digest_of(messages: Sequence[Message]) -> str:
    """SHA-256 over role and text of each message, lengths included, so that no two prompts meet."""
    digest = hashlib.sha256()
    for message in messages:
        for part in (message.role.value, message.text):
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "big"))
            digest.update(encoded)
    return digest.hexdigest()
