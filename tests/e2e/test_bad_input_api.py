"""Bad input at every door of the API: status, code, a message, and nothing written.

Each row is a route and a body that would do; the cases spoil it one way at a time.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.e2e.resumable import new_conversation, say
from tests.e2e.support import JSON, client_of, row_counts
from tests.server import ParleyProcess

MIB = 1024 * 1024
USER = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True)
class Door:
    """`text` is the field with the message or title, `strict` says that unknown ones are refused."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    text: str = "message"
    strict: bool = False
    too_long: int = 413
    largest: int = 2 * MIB
    other_methods: tuple[str, ...] = ("PUT", "TRACE")

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


CONVERSATION = "/api/v1/conversations/{conversation}"
TURN = "/api/v1/turns/{turn}"
DOORS = [
    Door("POST", "/chat", {"session_id": "a", "message": "hi"}),
    Door("POST", "/api/chat", {"message": "hi"}),
    Door("POST", "/api/v1/chat", {"message": "hi"}),
    Door(
        "POST",
        "/v1/chat/completions",
        {"model": "demo:echo", "messages": USER},
        "messages",
        largest=9 * MIB,
    ),
    Door("POST", "/api/v1/conversations", {"title": "t"}, "title", strict=True, too_long=201),
    Door("PATCH", CONVERSATION, {"title": "t"}, "title", strict=True, too_long=200),
    Door("POST", CONVERSATION + "/messages", {"message": "hi"}, strict=True),
    Door("GET", "/api/v1/conversations"),
    Door("GET", CONVERSATION),
    Door("GET", CONVERSATION + "/messages"),
    Door("GET", CONVERSATION + "/export"),
    Door("DELETE", CONVERSATION),
    Door("GET", TURN),
    Door("GET", TURN + "/events"),
    Door("GET", TURN + "/context"),
    Door("POST", TURN + "/stop"),
    Door("GET", "/api/v1/models"),
    Door("GET", "/v1/models"),
]
WITH_BODY = [door for door in DOORS if door.body]
WITH_ID = [door for door in DOORS if "{" in door.path]


@dataclass
class Ada:
    """A guest with a conversation and a turn."""

    client: httpx2.AsyncClient
    parley: ParleyProcess
    ids: dict[str, str] = field(default_factory=dict)

    def path(self, door: Door, **ids: str) -> str:
        return door.path.format(**(self.ids | ids))


@pytest.fixture(scope="module")
async def ada(demo: ParleyProcess) -> AsyncIterator[Ada]:
    async with client_of(demo) as client:
        conversation = await new_conversation(client)
        events = await say(client, conversation, "hi")
        ids = {"conversation": conversation, "turn": events[0]["turn_id"]}
        yield Ada(client, demo, ids)


@pytest.fixture(scope="module")
async def eve(demo: ParleyProcess) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(demo) as client:
        await client.get("/api/v1/conversations")
        yield client


async def refused(
    ada: Ada, client: httpx2.AsyncClient, method: str, path: str, **sent: Any
) -> httpx2.Response:
    """Ask, and see that nothing was written."""
    before = row_counts(ada.parley)
    response = await client.request(method, path, **sent)
    assert row_counts(ada.parley) == before, "something was written"
    error = response.json()["error"]
    assert error["message"]
    assert error["request_id"] == response.headers["x-request-id"]
    assert ("type" in error) == path.startswith("/v1")
    return response


def code(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"", JSON),
        (b"null", JSON),
        (b"[]", JSON),
        (b'"x"', JSON),
        (b"7", JSON),
        (b'{"message": "hi"', JSON),
        (b"[" * 90_000, JSON),
        (b'{"message": "\xff\xfe", "title": "\xff", "model": "\xff"}', JSON),
        (b"{}", {}),
        (b"message=hi", {"content-type": "application/x-www-form-urlencoded"}),
        (b"{}", {"content-type": "text/plain"}),
    ],
    ids=[
        "no body",
        "null",
        "a list",
        "a text",
        "a number",
        "cut JSON",
        "nested deeply",
        "bad UTF-8",
        "no content type",
        "a form",
        "plain text",
    ],
)
@pytest.mark.parametrize("door", WITH_BODY, ids=lambda door: door.name)
async def test_a_body_that_is_none(
    ada: Ada, door: Door, content: bytes, headers: dict[str, str]
) -> None:
    response = await refused(
        ada, ada.client, door.method, ada.path(door), content=content, headers=headers
    )
    assert code(response) == (422, "invalid_request")


@pytest.mark.parametrize("value", [7, True, ["x"], {"x": 1}], ids=str)
@pytest.mark.parametrize("door", WITH_BODY, ids=lambda door: door.name)
async def test_a_text_of_the_wrong_type(ada: Ada, door: Door, value: object) -> None:
    body = {**(door.body or {}), door.text: value}
    response = await refused(ada, ada.client, door.method, ada.path(door), json=body)
    assert code(response) == (422, "invalid_request")


@pytest.mark.parametrize("door", [d for d in WITH_BODY if d.strict], ids=lambda door: door.name)
async def test_an_unknown_field(ada: Ada, door: Door) -> None:
    body = {**(door.body or {}), "massage": "hi"}
    response = await refused(ada, ada.client, door.method, ada.path(door), json=body)
    assert code(response) == (422, "invalid_request")
    assert "massage" in response.json()["error"]["message"]


@pytest.mark.parametrize("door", WITH_BODY, ids=lambda door: door.name)
async def test_a_body_over_the_limit(ada: Ada, door: Door) -> None:
    body = json.dumps({**(door.body or {}), "x": "x" * door.largest}).encode()
    response = await refused(
        ada, ada.client, door.method, ada.path(door), content=body, headers=JSON
    )
    assert code(response) == (413, "too_large")


@pytest.mark.parametrize(
    "door", [d for d in WITH_BODY if d.too_long == 413], ids=lambda door: door.name
)
async def test_a_message_over_the_limit(ada: Ada, door: Door) -> None:
    long = "x" * (64 * 1024 + 1)
    value: Any = [{"role": "user", "content": long}] if door.text == "messages" else long
    body = {**(door.body or {}), door.text: value}
    response = await refused(ada, ada.client, door.method, ada.path(door), json=body)
    assert code(response) == (413, "too_large")


@pytest.mark.parametrize("id", ["x", "..", "%00", "1" * 200, "ü", "' OR 1=1"])
@pytest.mark.parametrize("door", WITH_ID, ids=lambda door: door.name)
async def test_an_id_that_is_none(ada: Ada, door: Door, id: str) -> None:
    if id == "..":  # a client would walk up by itself
        id = "%2e%2e"
    path = ada.path(door, conversation=id, turn=id)
    response = await refused(ada, ada.client, door.method, path, json=door.body)
    assert code(response) == (404, "not_found")


@pytest.mark.parametrize("door", WITH_ID, ids=lambda door: door.name)
async def test_anothers_id_is_like_none(ada: Ada, eve: httpx2.AsyncClient, door: Door) -> None:
    none = str(uuid4())
    foreign = await refused(ada, eve, door.method, ada.path(door), json=door.body)
    path = ada.path(door, conversation=none, turn=none)
    missing = await refused(ada, eve, door.method, path, json=door.body)
    assert code(foreign) == code(missing) == (404, "not_found")
    said = [response.json()["error"]["message"] for response in (foreign, missing)]
    assert said[0] == said[1]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
async def test_a_method_that_is_not_possible(ada: Ada, door: Door) -> None:
    for method in door.other_methods:
        response = await refused(ada, ada.client, method, ada.path(door))
        assert code(response) == (405, "invalid_request")
        assert door.method in response.headers["allow"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=-1",
        "cursor=x",
        "cursor=" + "x" * 600,
        "cursor=%00",
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/conversations", CONVERSATION + "/messages"])
async def test_a_page_that_is_none(ada: Ada, path: str, query: str) -> None:
    where = path.format(**ada.ids)
    response = await refused(ada, ada.client, "GET", f"{where}?{query}")
    assert code(response) == (422, "invalid_request")


@pytest.mark.parametrize("key", ["", "a b", "x" * 129])
async def test_a_key_that_is_none(ada: Ada, key: str) -> None:
    path = f"{CONVERSATION}/messages".format(**ada.ids)
    response = await refused(
        ada, ada.client, "POST", path, json={"message": "hi"}, headers={"idempotency-key": key}
    )
    assert code(response) == (422, "invalid_request")


async def test_a_key_twice_with_another_body(ada: Ada) -> None:
    path = f"{CONVERSATION}/messages".format(**ada.ids)
    headers = {"idempotency-key": "once"}
    first = await ada.client.post(path, json={"message": "hi"}, headers=headers)
    assert first.status_code == 200
    for body in ({"message": "other"}, {"message": "hi", "model": "demo:echo"}):
        response = await refused(ada, ada.client, "POST", path, json=body, headers=headers)
        assert code(response) == (409, "conflict")
