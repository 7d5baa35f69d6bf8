"""Receipt: made of a request, stored with its turn, and the exact request made again from it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import msgspec

from parley.chat.messages import ImagePart, Message, Part, Role, TextPart
from parley.chat.models import CompletionRequest, Sampling
from parley.chat.receipts import VERSION, DroppedTurn, Receipt, ReceiptMessage
from parley.chat.turns import Exchange, Turn
from parley.context.tokens import Count
from parley.context.window import Window


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
    """Make the receipt of a request.

    `present` counts the system prompt, what the caller brought along, and the message.
    """
    system, *earlier, message = present
    kept = [(t.exchange.turn_id, count) for t in cut.kept for count in (t.user, t.answer)]
    sources = [
        (None, system),
        *((None, count) for count in earlier),
        *kept,
        (turn.id, message),
    ]
    messages = tuple(
        ReceiptMessage(said.role, turn_id, count.tokens, count.counted_by)
        for said, (turn_id, count) in zip(request.messages, sources, strict=True)
    )
    return Receipt(
        model=model,
        upstream_model=request.model,
        sampling=asdict(request.sampling),
        messages=messages,
        dropped=tuple(DroppedTurn(t.exchange.turn_id, t.tokens, rule) for t, rule in cut.dropped),
        more_before=more_before,
        limits=asdict(cut.limits),
        input_tokens=sum(message.tokens for message in messages),
        system_prompt=request.messages[0].text if turn.system_prompt is None else None,
        digest=digest_of(request),
    )


def rebuild(
    receipt: Receipt, turn: Turn, exchanges: Sequence[Exchange]
) -> CompletionRequest | None:
    """Make the request again from the receipt and the rows; None where the rows have changed.

    `exchanges` are those of the receipt's turns, in any order.
    """
    texts = {(e.turn_id, Role.USER): e.user_text for e in exchanges}
    texts |= {(e.turn_id, Role.ASSISTANT): e.answer_text for e in exchanges}
    texts[turn.id, Role.USER] = turn.text
    system = turn.system_prompt if receipt.system_prompt is None else receipt.system_prompt
    messages = []
    for message in receipt.messages:
        text = texts.get((message.turn_id, message.role)) if message.turn_id else system
        if text is None:
            return None
        messages.append(Message.of(message.role, text))
    sampling = msgspec.convert(receipt.sampling, Sampling)
    request = CompletionRequest(receipt.upstream_model, tuple(messages), sampling)
    return request if digest_of(request) == receipt.digest else None


def digest_of(request: CompletionRequest) -> str:
    """SHA-256 of the request as JSON: sorted keys, no spaces, UTF-8, 1.0 and not 1 for a fraction.

    A message of text alone is its text, another one the list of its parts; images are their bytes'
    own digest. Tools and the wanted form are there where they were asked for.
    """
    sampling = asdict(request.sampling)
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
