"""Receipt text: what the model saw, as Markdown for people."""

from collections import Counter

from parley.chat.messages import Role
from parley.chat.quoting import quoted
from parley.chat.receipts import Receipt, ReceiptMessage, Seen
from parley.surfaces.texts import Texts

_SHOWN_CHARS = 600


def receipt_markdown(seen: Seen, texts: Texts) -> str:
    """Describe what was seen: each message, what was left out and why, and the proof.

    Texts stand in code blocks, so that nothing in them is taken for Markdown.
    """
    receipt, said = seen.receipt, texts.receipt
    contents = seen.texts or [None] * len(receipt.messages)
    parts = [
        _summary(receipt, texts),
        *([] if seen.texts else [said.not_proved]),
        *(
            _message(number, message, content, texts)
            for number, (message, content) in enumerate(
                zip(receipt.messages, contents, strict=True), 1
            )
        ),
        *_left_out(receipt, texts),
        f"{said.digest}\n`{receipt.digest}`",
    ]
    return "\n\n".join(parts) + "\n"


def _summary(receipt: Receipt, texts: Texts) -> str:
    said = texts.receipt
    methods = Counter(message.counted_by for message in receipt.messages)
    # What comes after the @ tells one server's model from another's: for programs.
    how = (said.estimate if name == "estimate" else f"`{name.split('@')[0]}`" for name in methods)
    saw = said.saw.format(
        model=f"`{receipt.model}`",
        messages=texts.count(said.messages, len(receipt.messages)),
        tokens=texts.count(said.tokens, receipt.input_tokens),
        methods=said.and_.join(how),
    )
    names = ", ".join(f"`{tool.name}`" for tool in receipt.toolbox.tools)
    return saw + (said.could_call.format(names=names) if names else "")


def _message(number: int, message: ReceiptMessage, content: str | None, texts: Texts) -> str:
    said = texts.receipt
    names = {
        Role.SYSTEM: texts.system_prompt,
        Role.USER: said.you,
        Role.ASSISTANT: said.answer,
        Role.TOOL: said.tool,
    }
    tokens = texts.count(said.tokens, message.tokens)
    heading = f"**{number}. {names[message.role]}** · {tokens}"
    return heading if content is None else f"{heading}\n\n{quoted(content, _SHOWN_CHARS)}"


def _left_out(receipt: Receipt, texts: Texts) -> list[str]:
    said, lines = texts.receipt, []
    for rule in dict.fromkeys(dropped.rule for dropped in receipt.dropped):
        dropped = [turn for turn in receipt.dropped if turn.rule == rule]
        line = said.dropped.format(
            turns=texts.count(said.turns, len(dropped)),
            tokens=texts.count(said.tokens, sum(turn.tokens for turn in dropped)),
            why=said.no_answer if rule == "no_answer" else f"`{rule}`",
        )
        lines.append(f"- {line}")
    if receipt.more_before:
        lines.append(f"- {said.older}")
    return [f"**{said.left_out}**\n\n" + "\n".join(lines)] if lines else []
