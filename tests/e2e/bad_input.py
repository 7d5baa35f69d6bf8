"""Bad input: every route of the API, and the ways in which what it is sent can be wrong.

A new route is a new row of `DOORS`: a body that would do, where it takes one, and what is true of it.
The cases spoil that one way at a time; tests/e2e/test_bad_input_api.py sends them.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

MIB = 1024 * 1024
LONG = "x" * (64 * 1024 + 1)
USER = [{"role": "user", "content": "hi"}]
EXPORT = {
    "version": 1,
    "exported_at": "2026-01-01T00:00:00Z",
    "title": "t",
    "created_at": "2026-01-01T00:00:00Z",
    "metadata": {},
    "turns": [],
}
JSON = {"content-type": "application/json"}
INVALID, LARGE, MISSING = (422, "invalid_request"), (413, "too_large"), (404, "not_found")
FORBIDDEN, CONFLICT = (403, "forbidden"), (409, "conflict")
CONVERSATION_HEADER = "x-conversation-id"
Refusal = tuple[int, str]


@dataclass(frozen=True)
class Door:
    """A route. `text` is the field that words go into, and `too_long` what is too much for it.

    A `strict` one refuses fields that it does not know. `missing` is what an id is answered with
    that leads to nothing, `foreign` one of another's thing; `keyed` says that a key makes a request
    safe to repeat. `queries` are ones that do not fit.
    """

    route: str
    body: dict[str, Any] | None = None
    text: str = "message"
    too_long: object = LONG
    if_too_long: Refusal = LARGE
    strict: bool = False
    largest: int = 2 * MIB
    missing: Refusal = MISSING
    foreign: Refusal | None = MISSING
    keyed: bool = False
    queries: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        return self.route.split(" ")[0]

    @property
    def path(self) -> str:
        return self.route.split(" ")[1]

    @property
    def has_id(self) -> bool:
        return "{" in self.path


PAGES = (
    *("limit=0", "limit=101", "limit=-1", "limit=x"),
    *("cursor=x", "cursor=" + "x" * 600, "cursor=%00", "cursor=%ff"),
)
CONVERSATIONS = "/api/v1/conversations"
CONVERSATION = CONVERSATIONS + "/{conversation_id}"
TURN = "/api/v1/turns/{turn_id}"
ASKED = {"model": "demo:echo", "messages": USER}
LONG_ASKED = [{"role": "user", "content": LONG}]
COMPLETIONS = Door(
    "POST /v1/chat/completions",
    ASKED,
    "messages",
    too_long=LONG_ASKED,
    largest=12 * MIB,
    keyed=True,
)
DOORS = [
    Door("POST /chat", {"session_id": "a", "message": "hi"}, keyed=True),
    Door("POST /api/chat", {"message": "hi"}),
    Door("POST /api/v1/chat", {"message": "hi"}),
    COMPLETIONS,
    Door("GET /v1/models"),
    Door("GET /v1/models/{model_id}", missing=(404, "unknown_model"), foreign=None),
    Door("GET /api/v1/models"),
    Door("GET " + CONVERSATIONS, queries=(*PAGES, "q=" + "x" * 1001)),
    Door(
        "POST " + CONVERSATIONS,
        {"title": "t"},
        "title",
        too_long="x" * 1001,
        if_too_long=INVALID,
        strict=True,
    ),
    Door(
        f"POST {CONVERSATIONS}/import",
        EXPORT,
        "title",
        too_long="x" * 1001,
        if_too_long=INVALID,
        strict=True,
        largest=3 * MIB,
    ),
    Door("GET " + CONVERSATION),
    Door(
        "PATCH " + CONVERSATION,
        {"title": "t"},
        "title",
        too_long="x" * 1001,
        if_too_long=INVALID,
        strict=True,
    ),
    Door("DELETE " + CONVERSATION),
    Door(f"GET {CONVERSATION}/messages", queries=(*PAGES, "order=up")),
    Door(f"POST {CONVERSATION}/messages", {"message": "hi"}, strict=True, keyed=True),
    Door(f"GET {CONVERSATION}/export", queries=("format=pdf", "format=%ff")),
    Door("GET " + TURN),
    Door(f"GET {TURN}/events", queries=("after=x", "after=-1", "after=" + "9" * 30)),
    Door(f"GET {TURN}/context", queries=("format=pdf",)),
    Door(f"POST {TURN}/stop"),
    Door("GET /files/{file_id}"),
    Door("GET /api/v1/me"),
    Door("GET /api/v1/keys"),
    Door(
        "POST /api/v1/keys",
        {"name": "n"},
        "name",
        too_long="x" * 101,
        if_too_long=INVALID,
        strict=True,
    ),
    Door("DELETE /api/v1/keys/{key_id}"),
    Door("GET /api/v1/sign-ins"),
    Door("DELETE /api/v1/sign-ins/{sign_in_id}"),
    Door("GET /api/v1/admin/usage", queries=("days=0", "days=3661", "days=x")),
    Door("GET /api/v1/admin/health"),
    Door("GET /api/v1/admin/users/{user_id}/conversations", foreign=FORBIDDEN),
    Door("GET /health"),
    Door("GET /livez"),
    Door("GET /readyz"),
    Door("GET /metrics"),
]


@dataclass(frozen=True)
class Case:
    """One request, and how it is refused."""

    name: str
    refusal: Refusal
    content: bytes | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=lambda: JSON)
    query: str = ""
    id: str | None = None
    method: str = ""


NO_BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "no body": (b"", JSON),
    "null": (b"null", JSON),
    "a list": (b"[]", JSON),
    "a text": (b'"x"', JSON),
    "a number": (b"7", JSON),
    "cut JSON": (b'{"message": "hi"', JSON),
    "nested deeply": (b"[" * 90_000, JSON),
    "no content type": (b"{}", {}),
    "a form": (b"message=hi", {"content-type": "application/x-www-form-urlencoded"}),
    "plain text": (b"{}", {"content-type": "text/plain"}),
}
NO_IDS = ("x", "..", "\0", "1" * 200, "ü", "' OR 1=1", "11111111-1111-4111-8111-111111111111")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
WRONG = (405, "invalid_request")


def cases(door: Door) -> Iterator[Case]:
    """Give all cases of a door but those that need somebody or something else to be there."""
    yield from _bodies(door)
    yield from (Case(f"?{query[:40]}", INVALID, query=query) for query in door.queries)
    if door.has_id:
        for id in (*map(quote, NO_IDS), "%ff"):
            yield Case(f"id {id[:40]}", door.missing, _with(door), id=id)
    for method in METHODS:
        if not any(each.method == method and _leads_to(each, door) for each in DOORS):
            yield Case(method, WRONG, method=method)


def _bodies(door: Door) -> Iterator[Case]:
    if door.body is None:
        return
    for name, (content, headers) in NO_BODIES.items():
        yield Case(name, INVALID, content, headers)
    words = {key: json.dumps(value) for key, value in door.body.items() if key != door.text}
    words[door.text] = '"\\ud800"' if door.text != "messages" else '"x"'
    cut = ", ".join(f'"{key}": {value}' for key, value in words.items())
    yield Case("half a surrogate", INVALID, f"{{{cut}}}".encode())
    spoilt = f"{{{cut}}}".encode().replace(b'"\\ud800"', b'"\xff\xfe"').replace(b'"x"', b'"\xff"')
    yield Case("bad UTF-8", INVALID, spoilt)
    for value in (7, True, ["x"], {"x": 1}):
        yield Case(f"text as {value}", INVALID, _with(door, **{door.text: value}))
    yield Case("too long", door.if_too_long, _with(door, **{door.text: door.too_long}))
    yield Case("body too large", LARGE, _with(door, x="x" * door.largest))
    if door.strict:
        yield Case("unknown field", INVALID, _with(door, massage="hi"))
    if door.keyed:
        for key in ("", "a b", "x" * 129):
            headers = JSON | {"idempotency-key": key}
            if door is COMPLETIONS:
                headers |= {CONVERSATION_HEADER: "{conversation_id}"}
            yield Case(f"key {key[:9]!r}", INVALID, _with(door), headers)


def _leads_to(door: Door, other: Door) -> bool:
    """Whether the other's path is one of the door's too, with some id in it."""
    pattern = re.sub(r"\\{[a-z_]+\\}", "[^/]+", re.escape(door.path))
    return re.fullmatch(pattern, other.path) is not None


def _with(door: Door, **changes: object) -> bytes:
    return json.dumps({**(door.body or {}), **changes}).encode()
