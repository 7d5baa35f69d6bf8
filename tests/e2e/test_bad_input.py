"""Bad input: the status and code that are promised, a request id, and nothing written."""

import asyncio
import http.client
import json
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from tests.e2e.support import JSON, row_counts
from tests.patience import PATIENCE_S, until
from tests.server import ParleyProcess

MIB = 1024 * 1024


def body(**fields: object) -> bytes:
    return json.dumps({"session_id": "a", "message": "hi", **fields}).encode()


@dataclass(frozen=True)
class Bad:
    name: str
    status: int
    code: str
    content: bytes = field(default=b"", repr=False)
    headers: dict[str, str] = field(default_factory=lambda: JSON)
    method: str = "POST"


BAD = [
    Bad("empty message", 422, "invalid_request", body(message="")),
    Bad("blank message", 422, "invalid_request", body(message=" \n\t")),
    Bad("NUL in message", 422, "invalid_request", body(message="a\0b")),
    Bad("lone surrogate", 422, "invalid_request", b'{"session_id":"a","message":"\\ud800"}'),
    Bad("message over the limit", 413, "too_large", body(message="x" * (64 * 1024 + 1))),
    Bad("multi-byte message over the limit", 413, "too_large", body(message="ü" * (33 * 1024))),
    Bad("empty session id", 422, "invalid_request", body(session_id="")),
    Bad("session id with a slash", 422, "invalid_request", body(session_id="../../x")),
    Bad("session id with a line end", 422, "invalid_request", body(session_id="a\n")),
    Bad("session id with an umlaut", 422, "invalid_request", body(session_id="ä")),
    Bad("session id too long", 422, "invalid_request", body(session_id="x" * 129)),
    Bad("session id a number", 422, "invalid_request", body(session_id=1)),
    Bad("session id missing", 422, "invalid_request", b'{"message":"hi"}'),
    Bad("message missing", 422, "invalid_request", b'{"session_id":"a"}'),
    Bad("message null", 422, "invalid_request", body(message=None)),
    Bad("message a list", 422, "invalid_request", body(message=["hi"])),
    Bad("unknown model", 404, "unknown_model", body(model="openai:gpt-9")),
    Bad("model a number", 422, "invalid_request", body(model=7)),
    Bad("empty model", 404, "unknown_model", body(model="")),
    Bad("unknown format", 422, "invalid_request", body(format="xml")),
    Bad("malformed JSON", 422, "invalid_request", b'{"session_id": "a",'),
    Bad("JSON, but a list", 422, "invalid_request", b"[]"),
    Bad("JSON, but null", 422, "invalid_request", b"null"),
    Bad("no body", 422, "invalid_request"),
    Bad("bad UTF-8", 422, "invalid_request", b'{"session_id":"a","message":"\xff\xfe"}'),
    Bad(
        "nested deeply",
        422,
        "invalid_request",
        body(x=0)[:-2] + b"[" * 90_000 + b"]" * 90_000 + b"}",
    ),
    Bad("no content type", 422, "invalid_request", body(), {}),
    Bad(
        "a form",
        422,
        "invalid_request",
        b"message=hi",
        {"content-type": "application/x-www-form-urlencoded"},
    ),
    Bad("plain text", 422, "invalid_request", body(), {"content-type": "text/plain"}),
    Bad("body too large", 413, "too_large", body(x="x" * MIB)),
    Bad("a key with a space", 422, "invalid_request", body(), JSON | {"idempotency-key": "a b"}),
    Bad("an empty key", 422, "invalid_request", body(), JSON | {"idempotency-key": ""}),
    Bad("a key too long", 422, "invalid_request", body(), JSON | {"idempotency-key": "x" * 129}),
    *(
        Bad(f"{method}", 405, "invalid_request", method=method)
        for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
async def test_is_refused_and_nothing_written(
    bad: Bad, demo: ParleyProcess, client: httpx2.AsyncClient
) -> None:
    before = row_counts(demo)
    response = await client.request(bad.method, "/chat", content=bad.content, headers=bad.headers)
    _refused(response.status_code, response.json(), bad.status, bad.code)
    assert response.json()["error"]["request_id"] == response.headers["x-request-id"]
    assert row_counts(demo) == before


async def test_a_body_of_unknown_length_is_cut_off(
    demo: ParleyProcess, client: httpx2.AsyncClient
) -> None:
    before = row_counts(demo)

    async def endless() -> Any:
        for _ in range(40):
            yield b"x" * (MIB // 20)

    response = await client.post("/chat", content=endless(), headers=JSON)
    _refused(response.status_code, response.json(), 413, "too_large")
    assert row_counts(demo) == before


async def test_an_announced_body_is_refused_unsent(demo: ParleyProcess) -> None:
    """Nobody has to send a gigabyte to hear that it is too much."""

    def ask() -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", demo.port, timeout=PATIENCE_S)
        connection.putrequest("POST", "/chat")
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", str(1024 * MIB))
        connection.endheaders()
        response = connection.getresponse()
        answer = response.status, json.load(response)
        connection.close()
        return answer

    status, refusal = await asyncio.to_thread(ask)
    _refused(status, refusal, 413, "too_large")


async def test_a_client_that_leaves_while_it_sends_is_no_failure(demo: ParleyProcess) -> None:
    before = row_counts(demo)
    _, writer = await asyncio.open_connection("127.0.0.1", demo.port)
    writer.write(
        b"POST /chat HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: 1000\r\nx-request-id: left-early\r\n\r\n{"
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await until(lambda: "[left-early]" in demo.log_text())
    lines = demo.log_text().splitlines()
    assert not [line for line in lines if "[left-early]" in line and "ERROR" in line]
    assert row_counts(demo) == before


async def test_a_browser_that_leaves_a_file_is_no_failure(
    demo: ParleyProcess, client: httpx2.AsyncClient
) -> None:
    """Chainlit's mount had a traceback for each."""
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", demo.port)
        writer.write(b"GET /public/page.js HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    whole = await client.get("/public/page.js")
    await client.get("/assets/none", headers={"x-request-id": "came-after"})
    assert whole.status_code == 200
    await until(lambda: "[came-after]" in demo.log_text())
    assert "No response returned" not in demo.log_text()


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz", "/metrics"])
async def test_probes_are_for_reading(client: httpx2.AsyncClient, path: str) -> None:
    response = await client.post(path)
    _refused(response.status_code, response.json(), 405, "invalid_request")
    assert response.headers["allow"] == "GET"


@pytest.mark.parametrize("path", ["/project/threads", "/project/thread", "/set-session-cookie"])
async def test_a_body_for_the_page_is_limited_too(client: httpx2.AsyncClient, path: str) -> None:
    response = await client.post(path, content=b"x" * (MIB + 1), headers=JSON)
    _refused(response.status_code, response.json(), 413, "too_large")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/project/threads"),
        ("GET", "/project/thread/5f2a91c0-0000-4000-8000-000000000000"),
        ("PUT", "/project/thread"),
        ("DELETE", "/project/thread"),
        ("GET", "/user"),
    ],
)
async def test_without_a_cookie_the_pages_data_is_closed(
    client: httpx2.AsyncClient, method: str, path: str
) -> None:
    sent = {"threadId": "x", "name": "y", "pagination": {"first": 5}, "filter": {}}
    response = await client.request(method, path, json=sent)
    assert response.status_code == 401


async def test_a_bad_cursor_is_our_refusal(client: httpx2.AsyncClient) -> None:
    """What the data layer raises inside Chainlit's routes has our form too."""
    await client.get("/", headers={"accept": "text/html"})
    sent = {"pagination": {"first": 5, "cursor": "nonsense"}, "filter": {}}
    response = await client.post("/project/threads", json=sent)
    _refused(response.status_code, response.json(), 422, "invalid_request")


async def test_afterwards_it_still_serves(client: httpx2.AsyncClient) -> None:
    response = await client.post("/chat", json={"session_id": "a", "message": "hi"})
    assert response.status_code == 200


def _refused(status: int, refusal: Any, expected_status: int, code: str) -> None:
    assert (status, refusal["error"]["code"]) == (expected_status, code), refusal
    # The page shows what is beside it.
    assert refusal.keys() - {"detail"} == {"error"}
    assert refusal.get("detail", refusal["error"]["message"]) == refusal["error"]["message"]
    assert set(refusal["error"]) == {"code", "message", "request_id"}
    assert refusal["error"]["message"].endswith(".")
    assert refusal["error"]["request_id"]
