"""``GET {API_V1}/turns/{turn_id}/context``: what the model saw for an answer."""

from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from parley.auth.callers import Callers
from parley.auth.principal import Scope
from parley.chat.receipts import DroppedTurn, Receipts, Seen
from parley.surfaces.http.schema import giving
from parley.surfaces.owners import PRIVATE, first_found, owners_of_turn, uuid_or_missing
from parley.surfaces.receipt_text import receipt_markdown
from parley.surfaces.texts import ENGLISH, texts_of


class SeenMessage(msgspec.Struct):
    """A message that the model saw; `content` is null where the text cannot be proved any more."""

    role: str
    content: str | None
    turn_id: str | None
    tokens: int
    counted_by: str


class SeenShape(msgspec.Struct):
    """What the model saw for an answer; `verified` says that the texts are those of the digest."""

    turn_id: str
    verified: bool
    model: str
    upstream_model: str
    sampling: dict[str, Any]
    messages: list[SeenMessage]
    dropped: list[DroppedTurn]
    more_before: bool
    limits: dict[str, int | None]
    input_tokens: int
    digest: str
    version: int
    toolbox: dict[str, Any]
    tool_tokens: int


def receipt_routes(receipts: Receipts, callers: Callers, prefix: str) -> APIRouter:
    """Make the route; `callers` says whose turns may be read."""
    router = APIRouter(prefix=prefix, tags=["turns"])

    @router.get(
        "/turns/{turn_id}/context",
        summary="Read what the model saw for an answer",
        responses=giving(SeenShape, kinds={"text/plain": "The same for people"}),
    )
    async def context(
        request: Request, turn_id: str, format: Literal["json", "markdown"] = "json"
    ) -> Response:
        owners = owners_of_turn(request, callers, Scope.READ)
        known_id = uuid_or_missing(turn_id, "turn")
        seen = await first_found(owners, lambda owner_id: receipts.seen(owner_id, known_id))
        if format == "markdown":
            return PlainTextResponse(receipt_markdown(seen, texts_of(ENGLISH)), headers=PRIVATE)
        return JSONResponse(seen_json(seen), headers=PRIVATE)

    return router


def seen_json(seen: Seen) -> dict[str, object]:
    """Write what was seen; without the proof of the digest no text is passed off as sent."""
    receipt = seen.receipt.to_json()
    del receipt["system_prompt"]  # it is the first message's text
    texts = seen.texts or [None] * len(seen.receipt.messages)
    messages = [
        {
            "role": message.role.value,
            "content": text,
            "turn_id": message.turn_id,
            "tokens": message.tokens,
            "counted_by": message.counted_by,
        }
        for message, text in zip(seen.receipt.messages, texts, strict=True)
    ]
    proof = {"turn_id": seen.turn_id, "verified": seen.texts is not None}
    return proof | receipt | {"messages": messages}
