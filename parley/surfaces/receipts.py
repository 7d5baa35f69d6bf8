"""``GET {API_V1}/turns/{turn_id}/context``: what the model saw for an answer."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from parley.auth.callers import Callers
from parley.chat.errors import NotFound, Unauthenticated
from parley.chat.receipts import Receipts, Seen
from parley.chat.turns import Owner
from parley.surfaces.receipt_text import receipt_markdown
from parley.surfaces.sse import ID_PATTERN

# One's own words, also to a cache between us.
_PRIVATE = {"cache-control": "private, no-store", "x-content-type-options": "nosniff"}


def receipt_routes(receipts: Receipts, callers: Callers, prefix: str) -> APIRouter:
    """Make the route; `callers` says whose turns may be read."""
    router = APIRouter(prefix=prefix, tags=["turns"])

    @router.get(
        "/turns/{turn_id}/context",
        summary="Read what the model saw for an answer",
        response_class=JSONResponse,
    )
    async def context(
        request: Request, turn_id: str, format: Literal["json", "markdown"] = "json"
    ) -> Response:
        seen = await _seen(receipts, _owners(request, callers), _uuid(turn_id))
        if format == "markdown":
            return PlainTextResponse(receipt_markdown(seen), headers=_PRIVATE)
        return JSONResponse(seen_json(seen), headers=_PRIVATE)

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


async def _seen(receipts: Receipts, owners: Sequence[Owner], turn_id: str) -> Seen:
    *before, last = owners
    for owner in before:
        with suppress(NotFound):
            return await receipts.seen(owner.id, turn_id)
    return await receipts.seen(last.id, turn_id)


def _owners(request: Request, callers: Callers) -> Sequence[Owner]:
    """Recognise a browser, or a caller of ``/chat`` by the session id that it talks under.

    Under a new secret that caller is a new owner, and still the one before.
    """
    session_id = request.headers.get("x-session-id")
    if session_id is not None and ID_PATTERN.fullmatch(session_id):
        session = callers.of_session(request, session_id)
        return [each.owner for each in (session.before, session) if each]
    principal = callers.known(request)
    if principal is None:
        raise Unauthenticated("Nobody is known to be calling: send a cookie or X-Session-Id.")
    return [principal.owner]


def _uuid(turn_id: str) -> str:
    try:
        return str(UUID(turn_id))
    except ValueError:
        raise NotFound("There is no such turn.") from None
