"""Receipt: made of a request, stored with its turn, and the exact request made again from it."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace

import msgspec

from parley.chat.messages import ImagePart, Message, Part, Role, TextPart
from parley.chat.models import CompletionRequest, Sampling, Toolbox
from parley.chat.receipts import VERSION, DroppedTurn, Receipt, ReceiptMessage
from parley.chat.tools import answer_messages
from parley.chat.turns import Exchange, Turn
from parley.context.asking import question_of, request_of
from parley.context.tokens import ESTIMATE, Count
from parley.context.window import Window

# What a chat template may put around all messages.
_TEMPLATE_TOKENS = 32


def read_receipt(stored: Mapping[str, object] | None) -> Receipt | None:
    """Read a stored receipt; None for none, or for one of an older version."""
    if not stored or stored.get("version") != VERSION:
        return None
    return msgspec.convert(stored, Receipt)


def receipt_of(
    turn: Turn,
    model: str,
    request: CompletionRequest,
    cut: Window,
    present: Sequence[Count],
    *,
    more_before: bool,
) -> Receipt:
    """Make the receipt of a request, but for its tools.

    `present` counts the system prompt, what the caller brought along, the message, and what there
    is of its answer.
    """
    before = 1 + len(turn.earlier)
    sources = [
        *((None, count) for count in present[:before]),
        *((t.exchange.turn_id, count) for t in cut.kept for count in t.counts),
        *((turn.id, count) for count in present[before:]),
    ]
    messages = tuple(
        ReceiptMessage(said.role, turn_id, count.tokens, count.counted_by)
        for said, (turn_id, count) in zip(request.messages, sources, strict=True)
    )
    return Receipt(
        model=model,
        upstream_model=request.model,
        sampling=msgspec.to_builtins(request.sampling),
        messages=messages,
        dropped=tuple(DroppedTurn(t.exchange.turn_id, t.tokens, rule) for t, rule in cut.dropped),
        more_before=more_before,
        limits=msgspec.to_builtins(cut.limits),
        input_tokens=sum(message.tokens for message in messages),
        system_prompt=request.messages[0].text if turn.system_prompt is None else None,
        digest=digest_of(request),
    )


def with_tools(receipt: Receipt, toolbox: Toolbox, tokens: int) -> Receipt:
    """Say which of Parley's tools were offered, and what all tools cost."""
    if toolbox == receipt.toolbox and tokens == receipt.tool_tokens:
        return receipt
    return replace(
        receipt,
        toolbox=toolbox,
        tool_tokens=tokens,
        input_tokens=receipt.input_tokens + tokens,
    )


def receipt_for(stored: Mapping[str, object], request: CompletionRequest) -> Mapping[str, object]:
    """Give a receipt that is of this request, which is drawn otherwise than the one before."""
    return {
        **stored,
        "sampling": msgspec.to_builtins(request.sampling),
        "digest": digest_of(request),
    }


def most_tokens(receipt: Receipt) -> int:
    """Bound what a provider may count of a request: an estimate may be half of it (tokens.py)."""
    said = sum(m.tokens * (1 + (m.counted_by == ESTIMATE)) for m in receipt.messages)
    return said + 2 * receipt.tool_tokens + _TEMPLATE_TOKENS


def rebuild(
    receipt: Receipt, turn: Turn, exchanges: Sequence[Exchange]
) -> CompletionRequest | None:
    """Make the request again from the receipt and the rows; None where the rows have changed.

    `exchanges` are those of the receipt's turns, in any order.
    """
    said: dict[str | None, Iterator[Message]] = {e.turn_id: iter(e.messages) for e in exchanges}
    answer = answer_messages(turn.id, turn.answer.text, turn.answer.tools)
    said[turn.id] = iter((*question_of(turn), *answer))
    system = turn.system_prompt if receipt.system_prompt is None else receipt.system_prompt
    said[None] = iter(() if system is None else (Message.of(Role.SYSTEM, system),))
    messages = tuple(next(said.get(m.turn_id, iter(())), None) for m in receipt.messages)
    sampling = msgspec.convert(receipt.sampling, Sampling)
    request = replace(
        request_of(turn, receipt.upstream_model, sampling, receipt.toolbox),
        messages=tuple(message for message in messages if message),
    )
    whole = len(request.messages) == len(messages)
    return request if whole and digest_of(request) == receipt.digest else None


def digest_of(request: CompletionRequest) -> str:
    """SHA-256 of the request as JSON: sorted keys, no spaces, UTF-8, 1.0 and not 1 for a fraction.

    A message of text alone is its text, another one the list of its parts; images are their bytes'
    own digest. Tools and the wanted form are there where they were asked for.
    """
    sampling = msgspec.to_builtins(request.sampling)
    for fraction in ("temperature", "top_p"):
        if sampling[fraction] is not None:
            sampling[fraction] = float(sampling[fraction])
    document: dict[str, object] = {
        "model": request.model,
        "messages": [{"role": m.role.value, "content": _content(m)} for m in request.messages],
        "sampling": sampling,
    }
    if request.tools:
        document["tools"] = [asdict(tool) for tool in request.tools]
    if request.tool_choice:
        document["tool_choice"] = asdict(request.tool_choice)
    if request.response_format:
        document["response_format"] = asdict(request.response_format)
    return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()


def _content(message: Message) -> str | list[dict[str, object]]:
    if all(isinstance(part, TextPart) for part in message.parts):
        return message.text
    return [_part(part) for part in message.parts]


def _part(part: Part) -> dict[str, object]:
    fields = {"type": type(part).__name__, **asdict(part)}
    if isinstance(part, ImagePart):
        fields["data"] = hashlib.sha256(part.data).hexdigest()
    return fields
