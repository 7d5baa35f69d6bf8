"""Bad input at every route of the API: status, code, a message, and nothing written."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.e2e.bad_input import CONFLICT, CONVERSATION_HEADER, DOORS, JSON, MIB, Door, cases
from tests.e2e.page_socket import page_socket
from tests.e2e.resumable import new_conversation, say
from tests.e2e.support import DEMO, client_of, select, serving
from tests.e2e.visit import Visit
from tests.server import ParleyProcess

HEADER = "X-Forwarded-User"
TABLES = (
    "threads",
    "turns",
    "steps",
    "elements",
    "feedbacks",
    "api_keys",
    "sign_ins",
    "tombstones",
)
# Every caller is behind the proxy, one address.
SETTINGS = DEMO | {
    "AUTH_HEADER_USER": HEADER,
    "AUTH_HEADER_TRUSTED_PROXIES": "127.0.0.1/32",
    "AUTH_ADMINS": "ada@example.org",
    "ADMIN_CAN_READ": "true",
    "LIMIT_UPLOAD_BYTES": str(2 * MIB),
    "LIMIT_REQUESTS_PER_MINUTE": "1000000",
    "LIMIT_TURNS_PER_MINUTE": "1000000",
}


@dataclass
class Ada:
    """Somebody who has one of everything, and what is hers by the names that paths have for it."""

    client: httpx2.AsyncClient
    parley: ParleyProcess
    ids: dict[str, str] = field(default_factory=dict)

    def path(self, door: Door, id: str | None = None) -> str:
        names = {name: self.ids[name] if id is None else id for name in self.ids}
        return door.path.format(**names)

    def rows(self) -> dict[str, Any]:
        """All that is kept; of users how many, since whoever calls is seen."""
        counts = {"users": select(self.parley, "SELECT count(*) FROM users")}
        return counts | {name: select(self.parley, f"SELECT * FROM {name}") for name in TABLES}


@pytest.fixture(scope="module")
async def parley(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ParleyProcess]:
    async with serving(tmp_path_factory.mktemp("bad"), SETTINGS) as parley:
        yield parley


@pytest.fixture(scope="module")
async def ada(parley: ParleyProcess) -> AsyncIterator[Ada]:
    async with client_of(parley) as client:
        client.headers[HEADER] = "ada@example.org"
        conversation_id = await new_conversation(client)
        events = await say(client, conversation_id, "hi")
        key = (await client.post("/api/v1/keys", json={"name": "hers"})).json()
        me = (await client.get("/api/v1/me")).json()
        ids = {
            "conversation_id": conversation_id,
            "turn_id": events[0]["turn_id"],
            "key_id": key["key_id"],
            "user_id": me["user_id"],
            "sign_in_id": str(uuid4()),  # people of a proxy have none
            "file_id": await a_file(parley, client),
            "model_id": "demo:echo",
        }
        yield Ada(client, parley, ids)


async def a_file(parley: ParleyProcess, client: httpx2.AsyncClient) -> str:
    session_id = str(uuid4())
    auth = {"sessionId": session_id, "clientType": "webapp"}
    headers = {HEADER: client.headers[HEADER]}
    async with page_socket(parley, "", auth, headers) as socket:
        element = await Visit(socket, client, session_id).attached(b"hers")
        await socket.next("task_end")
    return element["id"]


@pytest.fixture(scope="module")
async def eve(parley: ParleyProcess) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(parley) as client:
        client.headers[HEADER] = "eve@example.org"
        await client.get("/api/v1/conversations")
        yield client


async def refused(
    ada: Ada, client: httpx2.AsyncClient, method: str, path: str, **sent: Any
) -> tuple[int, str]:
    """Ask, and see that nothing was written."""
    before = ada.rows()
    refusal = await refusal_of(client, method, path, **sent)
    assert ada.rows() == before, "something was written"
    return refusal


async def refusal_of(
    client: httpx2.AsyncClient, method: str, path: str, **sent: Any
) -> tuple[int, str]:
    """Ask, and take a refusal that has the shape of its surface."""
    response = await client.request(method, path, **sent)
    assert response.status_code >= 400, path
    error = response.json()["error"]
    assert error["message"].endswith((".", ").", "…")), error
    assert error["request_id"] == response.headers["x-request-id"]
    assert ("type" in error) == path.startswith("/v1")
    if response.status_code == 405:
        assert response.headers["allow"]
    return response.status_code, error["code"]


async def test_every_route_of_the_document_has_its_row(ada: Ada) -> None:
    document = (await ada.client.get("/openapi.json")).json()
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    rows = {door.route: door for door in DOORS}
    new, gone = operations.keys() - rows.keys(), rows.keys() - operations.keys()
    assert not new, f"routes without a row in tests/e2e/bad_input.py: {sorted(new)}"
    assert not gone, f"take what is gone off tests/e2e/bad_input.py: {sorted(gone)}"
    for route, operation in operations.items():
        takes_body = "requestBody" in operation
        assert takes_body == (rows[route].body is not None), f"{route}: a body, or none?"


@pytest.mark.parametrize("door", DOORS, ids=lambda d: d.route)
async def test_is_refused_and_nothing_is_written(ada: Ada, door: Door) -> None:
    before, wrong = ada.rows(), {}
    for case in cases(door):
        path = ada.path(door, case.id).replace("..", "%2e%2e")
        headers = {name: value.format(**ada.ids) for name, value in case.headers.items()}
        sent = {"content": case.content, "headers": headers}
        where = f"{path}?{case.query}" if case.query else path
        got = await refusal_of(ada.client, case.method or door.method, where, **sent)
        if got != case.refusal:
            wrong[case.name] = got
    assert wrong == {}
    assert ada.rows() == before, "something was written"


@pytest.mark.parametrize(
    "door", [d for d in DOORS if d.has_id and d.foreign], ids=lambda d: d.route
)
async def test_anothers_id_is_like_none(ada: Ada, eve: httpx2.AsyncClient, door: Door) -> None:
    said = []
    for path in (ada.path(door), ada.path(door, str(uuid4()))):
        assert await refused(ada, eve, door.method, path, json=door.body) == door.foreign
        response = await eve.request(door.method, path, json=door.body)
        said.append(response.json()["error"]["message"])
    assert said[0] == said[1]


@pytest.mark.parametrize("door", [d for d in DOORS if d.keyed], ids=lambda d: d.route)
async def test_a_key_twice_with_another_body(ada: Ada, door: Door) -> None:
    path = ada.path(door)
    headers = {"idempotency-key": f"once-{DOORS.index(door)}"}
    if path.startswith("/v1"):
        headers[CONVERSATION_HEADER] = ada.ids["conversation_id"]
    first = await ada.client.post(path, json=door.body, headers=headers)
    assert first.status_code == 200
    other = [{"role": "user", "content": "other"}] if door.text == "messages" else "other"
    for change in ({door.text: other}, {"model": "demo:other"}):
        body = {**(door.body or {}), **change}
        got = await refused(ada, ada.client, "POST", path, json=body, headers=headers)
        assert got == (CONFLICT if door.text in change else (404, "unknown_model"))


@pytest.mark.parametrize(
    "door", [d for d in DOORS if d.body and not d.strict], ids=lambda d: d.route
)
async def test_fields_of_other_clients_are_ignored(ada: Ada, door: Door) -> None:
    body = {**(door.body or {}), "massage": "hi"}
    assert (await ada.client.post(ada.path(door), json=body)).status_code == 200


async def test_the_cursor_of_a_browser_must_be_one(ada: Ada) -> None:
    path = f"/api/v1/turns/{ada.ids['turn_id']}/events"
    for cursor in ("x", "-1", "1" * 30, "ü"):
        sent = {"headers": {"last-event-id": cursor.encode()}}
        got = await refused(ada, ada.client, "GET", path, **sent)
        assert got == (422, "invalid_request"), cursor


async def test_a_part_of_a_text_can_be_too_much_as_well(ada: Ada) -> None:
    turn = {"message": "x" * (64 * 1024 + 1), "model": "x:y", "created_at": "2026-01-01T00:00:00Z"}
    answer = {"state": "completed", "text": "", "reasoning": "", "finish_reason": None}
    none = dict.fromkeys(
        ("usage", "error", "time_to_first_chunk_ms", "duration_ms", "ended_at"), None
    )
    answer |= none | {"tools": [], "attempts": []}
    (door,) = [door for door in DOORS if door.route.endswith("/import")]
    body = {**(door.body or {}), "turns": [turn | {"extras": {}, "answer": answer}]}
    sent = {"content": json.dumps(body).encode(), "headers": JSON}
    assert await refused(ada, ada.client, "POST", door.path, **sent) == (413, "too_large")
