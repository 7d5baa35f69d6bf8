"""Receipt text: what the model saw, as Markdown for people."""

from collections import Counter

from parley.chat.messages import Role
from parley.chat.quoting import quoted
from parley.chat.receipts import Receipt, ReceiptMessage, Seen

_SHOWN_CHARS = 600
_NAMES = {
    Role.SYSTEM: "System prompt",
    Role.USER: "You",
    Role.ASSISTANT: "Answer",
    Role.TOOL: "Tool",
}
_NOT_PROVED = (
    "The texts are not shown: the conversation no longer holds what was sent, word for word."
)


def receipt_markdown(seen: Seen) -> str:
    """Describe what was seen: each message, what was left out and why, and the proof.

    Texts stand in code blocks, so that nothing in them is taken for Markdown.
    """
    receipt = seen.receipt
    texts = seen.texts or [None] * len(receipt.messages)
    parts = [
        _summary(receipt),
        *([] if seen.texts else [_NOT_PROVED]),
        *(
            _message(*numbered)
            for numbered in enumerate(zip(receipt.messages, texts, strict=True), 1)
        ),
        *_left_out(receipt),
        f"SHA-256 of the request:\n`{receipt.digest}`",
    ]
    return "\n\n".join(parts) + "\n"


def _summary(receipt: Receipt) -> str:
    methods = Counter(message.counted_by for message in receipt.messages)
    # What comes after the @ tells one server's model from another's: for programs.
    methods_named = (
        "an estimate" if name == "estimate" else f"`{name.split('@')[0]}`" for name in methods
    )
    how = " and ".join(methods_named)
    names = [f"`{tool.name}`" for tool in receipt.toolbox.tools]
    tools = f" It could call {', '.join(names)}." if names else ""
    return (
        f"`{receipt.model}` saw {_plural(len(receipt.messages), 'message')} with"
        f" {_plural(receipt.input_tokens, 'token')}, counted by {how}.{tools}"
    )


def _message(number: int, said: tuple[ReceiptMessage, str | None]) -> str:
    message, text = said
    heading = f"**{number}. {_NAMES[message.role]}** · {_plural(message.tokens, 'token')}"
    return heading if text is None else f"{heading}\n\n{quoted(text, _SHOWN_CHARS)}"


def _left_out(receipt: Receipt) -> list[str]:
    lines = []
    for rule in dict.fromkeys(dropped.rule for dropped in receipt.dropped):
        turns = [dropped for dropped in receipt.dropped if dropped.rule == rule]
        tokens = sum(dropped.tokens for dropped in turns)
        why = "nothing was answered" if rule == "no_answer" else f"`{rule}`"
        lines.append(f"- {_plural(len(turns), 'turn')} with {_plural(tokens, 'token')}: {why}")
    if receipt.more_before:
        lines.append("- older turns, which were not read")
    return ["**Left out**\n\n" + "\n".join(lines)] if lines else []


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
