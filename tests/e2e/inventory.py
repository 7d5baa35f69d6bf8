"""Every door of Parley with its guard. tests/e2e/test_route_inventory.py knocks at each.

A new route, WebSocket or Socket.IO event is a new row here: its method and path as the router has
them, its guard, and what to send where a body is needed before anybody is refused.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Guard(StrEnum):
    """Who may come in."""

    OPEN = "anybody, nothing of anyone is there"
    IDENTITY = "whoever is known; what belongs to another is not there"
    PERSON = "a user who signed in; not guests, not keys"
    ADMIN = "an administrator"
    CLOSED = "nobody: it is Chainlit's, and not offered"


@dataclass(frozen=True)
class Door:
    """A row: the guard, and what a fair request sends."""

    guard: Guard
    json: Any = None
    form: dict[str, str] = field(default_factory=dict)


OPEN, IDENTITY = Door(Guard.OPEN), Door(Guard.IDENTITY)
PERSON, CLOSED = Door(Guard.PERSON), Door(Guard.CLOSED)
ADMIN = Door(Guard.ADMIN)
_ID = "11111111-1111-4111-8111-111111111111"

OURS: dict[str, Door] = {
    # Signing in and out.
    "GET /login": OPEN,
    "GET /auth/config": OPEN,
    "GET /auth/oauth/{provider_id}": OPEN,
    "GET /auth/oauth/{provider_id}/callback": OPEN,
    "POST /logout": OPEN,
    "GET /logout/provider": OPEN,
    # In a Space alone; elsewhere they are not there.
    "GET /login/framed": CLOSED,
    "POST /login/framed": CLOSED,
    # One's account.
    "GET /account": OPEN,  # nobody is led to the sign-in
    "POST /account/keys": Door(Guard.PERSON, form={"name": "x", "scope": "read"}),
    "POST /account/keys/{key_id}/revoke": PERSON,
    "POST /account/sign-ins/{sign_in_id}/end": PERSON,
    "POST /account/sign-out-everywhere": PERSON,
    "GET /api/v1/me": IDENTITY,
    "GET /api/v1/keys": PERSON,
    "POST /api/v1/keys": Door(Guard.PERSON, {"name": "x"}),
    "DELETE /api/v1/keys/{key_id}": PERSON,
    "GET /api/v1/sign-ins": PERSON,
    "DELETE /api/v1/sign-ins/{sign_in_id}": PERSON,
    # For administrators.
    "GET /api/v1/admin/usage": ADMIN,
    "GET /api/v1/admin/health": ADMIN,
    "GET /api/v1/admin/users/{user_id}/conversations": ADMIN,
    # Conversations.
    "POST /chat": Door(Guard.IDENTITY, {"session_id": "a", "message": "hi"}),
    "GET /api/v1/models": IDENTITY,
    "GET /api/v1/conversations": IDENTITY,
    "POST /api/v1/conversations": Door(Guard.IDENTITY, {}),
    "GET /api/v1/conversations/{conversation_id}": IDENTITY,
    "PATCH /api/v1/conversations/{conversation_id}": Door(Guard.IDENTITY, {"title": "x"}),
    "DELETE /api/v1/conversations/{conversation_id}": IDENTITY,
    "GET /api/v1/conversations/{conversation_id}/messages": IDENTITY,
    "POST /api/v1/conversations/{conversation_id}/messages": Door(
        Guard.IDENTITY, {"message": "hi"}
    ),
    "GET /api/v1/conversations/{conversation_id}/export": IDENTITY,
    "POST /api/v1/conversations/import": Door(Guard.IDENTITY, {}),
    "POST /api/chat": Door(Guard.IDENTITY, {"message": "hi"}),
    "POST /api/v1/chat": Door(Guard.IDENTITY, {"message": "hi"}),
    "GET /v1/models": IDENTITY,
    "GET /v1/models/{model_id:path}": IDENTITY,
    "POST /v1/chat/completions": Door(
        Guard.IDENTITY, {"model": "x", "messages": [{"role": "user", "content": "hi"}]}
    ),
    "WEBSOCKET /ws": IDENTITY,
    "WEBSOCKET /ws/chat": IDENTITY,
    "GET /api/v1/turns/{turn_id}": IDENTITY,
    "GET /api/v1/turns/{turn_id}/events": IDENTITY,
    "POST /api/v1/turns/{turn_id}/stop": IDENTITY,
    "GET /api/v1/turns/{turn_id}/context": IDENTITY,
    "GET /files/{file_id}": IDENTITY,
    # For machines.
    "GET /health": OPEN,
    "GET /livez": OPEN,
    "GET /readyz": OPEN,
    "GET /metrics": OPEN,
    "GET /openapi.json": OPEN,
    "GET /docs": OPEN,
    "GET /api/docs": OPEN,
    "GET /api/redoc": OPEN,
    "GET /playground": OPEN,
    "GET /docs/assets/{name}": OPEN,
    "MOUNT /": OPEN,  # the page: below
}
PAGE: dict[str, Door] = {
    # What a browser needs before anybody is known.
    "HEAD /": OPEN,
    "GET /{full_path:path}": OPEN,
    "GET /assets/{filename:path}": OPEN,
    "GET /assets/{name:path}": OPEN,
    "GET /public/{filename:path}": OPEN,
    "GET /avatars/{avatar_id:str}": OPEN,
    "GET /favicon": OPEN,
    "GET /logo": OPEN,
    "GET /project/translations": OPEN,
    "POST /set-session-cookie": Door(Guard.OPEN, {"session_id": _ID}),
    # In front of these stand our own, above.
    "GET /health": OPEN,
    "GET /auth/config": OPEN,
    "GET /auth/oauth/{provider_id}": OPEN,
    "GET /auth/oauth/{provider_id}/callback": OPEN,
    "POST /logout": OPEN,
    "GET /user": IDENTITY,
    "GET /project/settings": IDENTITY,
    "POST /project/threads": Door(Guard.IDENTITY, {"pagination": {"first": 20}, "filter": {}}),
    "GET /project/thread/{thread_id}": IDENTITY,
    "GET /project/thread/{thread_id}/element/{element_id}": IDENTITY,
    "PUT /project/thread": Door(Guard.IDENTITY, {"threadId": _ID, "name": "x"}),
    "DELETE /project/thread": Door(Guard.IDENTITY, {"threadId": _ID}),
    "PUT /project/thread/share": Door(Guard.IDENTITY, {"threadId": _ID, "isShared": True}),
    "GET /project/share/{thread_id}": IDENTITY,
    "GET /project/share/{thread_id}/file/{file_id}": IDENTITY,
    "PUT /feedback": Door(Guard.IDENTITY, {"feedback": {"forId": _ID, "value": 1}}),
    "DELETE /feedback": Door(Guard.IDENTITY, {"feedbackId": _ID}),
    "POST /project/action": Door(
        Guard.IDENTITY,
        {"action": {"name": "receipt", "payload": {"answer": _ID}}, "sessionId": _ID},
    ),
    "GET /page/turns/{turn_id}": IDENTITY,
    "POST /project/file": IDENTITY,
    "GET /project/file/{file_id}": IDENTITY,
    "POST /login": CLOSED,
    "POST /auth/header": CLOSED,
    "POST /auth/jwt": CLOSED,
    "POST /auth/oauth/azure-ad-hybrid/callback": CLOSED,
    "GET /copilot/{filename:path}": CLOSED,
    "GET /docs": OPEN,  # ours stands in front
    "GET /docs/oauth2-redirect": CLOSED,
    "GET /redoc": CLOSED,
    "GET /openapi.json": OPEN,  # ours stands in front
    "POST /mcp": CLOSED,
    "DELETE /mcp": CLOSED,
    "PUT /project/element": CLOSED,
    "DELETE /project/element": CLOSED,
    "MOUNT /ws/socket.io": IDENTITY,
}
# Each is answered only on a socket whose handshake somebody known made.
EVENTS: dict[str, Guard] = {
    "connect": Guard.IDENTITY,
    "disconnect": Guard.IDENTITY,
    "connection_successful": Guard.IDENTITY,
    "clear_session": Guard.IDENTITY,
    "chat_settings_change": Guard.IDENTITY,
    "client_message": Guard.IDENTITY,
    "edit_message": Guard.IDENTITY,
    "stop": Guard.IDENTITY,
    "fetch_favorites": Guard.IDENTITY,
    "message_favorite": Guard.IDENTITY,
}
