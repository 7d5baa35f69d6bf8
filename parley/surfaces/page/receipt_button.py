"""Receipt button: "What did the model see?" under each answer, and the panel that it opens.

Chainlit has buttons under messages, its actions, and forgets them with the session: they are
offered again whenever a thread is shown.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec
from chainlit.emitter import ChainlitEmitter
from chainlit.session import WebsocketSession
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from parley.chat.errors import NotFound, Unauthenticated
from parley.chat.owner import current_owner
from parley.chat.receipts import Receipts
from parley.surfaces.bodies import decode_body

_NAME = "receipt"
_TITLE = "What did the model see?"
_BODY_LIMIT = 64 * 1024


class _Button(msgspec.Struct):
    name: str
    payload: dict[str, Any]


class _Pressed(msgspec.Struct):
    action: _Button
    sessionId: str  # noqa: N815 - the page's name


async def offer_receipts(session: WebsocketSession, answer_step_ids: Iterable[str]) -> None:
    """Put the button under answers; where it is already, it stays one."""
    emitter = ChainlitEmitter(session)
    for step_id in answer_step_ids:
        action = {
            "id": str(UUID(int=UUID(step_id).int ^ 4)),
            "name": _NAME,
            "payload": {"answer": step_id},
            "label": "",
            "tooltip": _TITLE,
            "icon": "scan-eye",
            "forId": step_id,
        }
        await emitter.emit("remove_action", action)
        await emitter.emit("action", action)


def button_routes(receipts: Receipts, prefix: str) -> list[Route]:
    """Make the route that buttons call, in place of Chainlit's own; `prefix` is the REST API's."""

    async def press(request: Request) -> Response:
        owner = current_owner.get()
        if owner is None:
            raise Unauthenticated("Nobody is known to be calling. Open the page first.")
        pressed = await decode_body(request, _Pressed, _BODY_LIMIT)
        session = WebsocketSession.get_by_id(pressed.sessionId)
        user = session.user if session else None
        if session is None or user is None or user.identifier != owner.identifier:
            raise NotFound("There is no such session. Load the page again.")
        if pressed.action.name != _NAME:
            raise NotFound("There is no such button.")
        answer_id = _uuid(pressed.action.payload.get("answer"))
        turn_id = await receipts.turn_of_answer(owner.id, answer_id)
        await receipts.seen(owner.id, turn_id)  # where there is nothing to show it is said here
        await _open_panel(session, turn_id, f"{prefix}/turns/{turn_id}/context?format=markdown")
        return JSONResponse({"success": True, "response": None})

    return [Route("/project/action", press, methods=["POST"])]


async def _open_panel(session: WebsocketSession, turn_id: str, url: str) -> None:
    emitter = ChainlitEmitter(session)
    element = {"id": turn_id, "type": "text", "name": _TITLE, "display": "side", "url": url}
    await emitter.emit("set_sidebar_title", _TITLE)
    await emitter.emit("set_sidebar_elements", {"elements": [element], "key": turn_id})


def _uuid(value: object) -> str:
    try:
        return str(UUID(str(value)))
    except ValueError:
        raise NotFound("There is no such answer.") from None
