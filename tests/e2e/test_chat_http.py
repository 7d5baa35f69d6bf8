"""``POST /chat`` and the probes, over real sockets of a real process."""

import asyncio
from pathlib import Path
from uuid import uuid4

import httpx2
import msgspec
import pytest

from tests.e2e.conftest import Faked
from tests.e2e.support import DEMO, asks, chat, chat_events, client_of, row_counts, serving, text_of
from tests.fakes.model_server import answer, chunk, model_server, sse, wait
from tests.models.llama_server import llama_process
from tests.server import ParleyProcess
from tests.sse_reader import read_events, read_lines

OWN_PATHS = {
    "/api/chat",
    "/api/v1/admin/health",
    "/api/v1/admin/usage",
    "/api/v1/admin/users/{user_id}/conversations",
    "/api/v1/chat",
    "/api/v1/conversations",
    "/api/v1/conversations/{conversation_id}",
    "/api/v1/conversations/{conversation_id}/export",
    "/api/v1/conversations/{conversation_id}/messages",
    "/api/v1/conversations/import",
    "/api/v1/keys",
    "/api/v1/keys/{key_id}",
    "/api/v1/me",
    "/api/v1/models",
    "/api/v1/sign-ins",
    "/api/v1/sign-ins/{sign_in_id}",
    "/api/v1/turns/{turn_id}",
    "/api/v1/turns/{turn_id}/context",
    "/api/v1/turns/{turn_id}/events",
    "/api/v1/turns/{turn_id}/stop",
    "/v1/chat/completions",
    "/v1/models",
    "/v1/models/{model_id}",
    "/chat",
    "/files/{file_id}",
    "/health",
    "/livez",
    "/readyz",
    "/metrics",
}
CLOSED = [
    "/docs/oauth2-redirect",
    "/redoc",
    "/mcp",
    "/auth/jwt",
    "/project/element",
    "/mcp/x",
    "/docs/",
]


async def test_the_demo_answers_as_text(client: httpx2.AsyncClient) -> None:
    body = {"session_id": "demo", "message": "What is a turn?"}
    response = await client.post("/chat", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    *pieces, end = read_events(response.content)
    assert "no model is connected" in "".join(pieces)
    assert "> What is a turn?" in "".join(pieces)
    assert end == "[DONE]"
    # Without an SSE library: what stands behind each `data: `, until [DONE].
    assert "".join(read_lines(response.content)) == "".join(pieces).replace("\n", "")


async def test_the_demo_answers_as_events(client: httpx2.AsyncClient) -> None:
    events = await chat_events(client, "Grüße")
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["turn_start", "attempt"]
    assert kinds[-2:] == ["usage", "done"]
    assert kinds.count("done") == 1
    seqs = [event["seq"] for event in events]
    assert seqs == sorted(set(seqs))
    assert len({event["turn_id"] for event in events}) == 1
    assert events[-1]["content"]["finish_reason"] == "stop"
    text = ""
    for event in events:
        if event["type"] == "text":
            assert event["offset"] == len(text)
            text += event["content"]
    assert "> Grüße" in text


async def test_a_real_model_answers(tiny_model: Path, tmp_path: Path) -> None:
    with llama_process(tiny_model) as base_url:
        environment = {"OPENAI_BASE_URL": base_url}
        async with serving(tmp_path, environment) as parley, client_of(parley) as client:
            events = await chat_events(client, "What is a thread?")
            again = await chat(client, "And a turn?", session_id="b")
    assert text_of(events).strip().endswith(".")
    assert again.strip()
    assert events[0]["content"]["model"] == "openai:tiny"
    (usage,) = (event["content"] for event in events if event["type"] == "usage")
    assert usage["estimated"] is False
    assert usage["input_tokens"] > 0
    assert events[-1]["content"]["finish_reason"] == "stop"


async def test_text_is_not_held_back(faked: Faked, faked_client: httpx2.AsyncClient) -> None:
    gate = asyncio.Event()
    faked.will_reply(sse(chunk("first"), wait(gate), *answer(" second")))
    body = {"session_id": "streams", "message": "hi"}
    async with faked_client.stream("POST", "/chat", json=body) as response:
        pieces = response.aiter_bytes()
        assert await anext(pieces) == b"data: first\n\n"
        gate.set()
        assert b"".join([piece async for piece in pieces]) == b"data:  second\n\ndata: [DONE]\n\n"


async def test_a_session_id_remembers(faked: Faked, faked_client: httpx2.AsyncClient) -> None:
    faked.will_reply(sse(*answer("It is ", "Ada.")))
    await chat(faked_client, "My name is Ada.", session_id="remembers")
    await chat(faked_client, "What is my name?", session_id="remembers")
    asked = [request.json["messages"] for request in faked.server.requests]
    said = [(message["role"], message["content"]) for message in asked[1]]
    assert said[-3:] == [
        ("user", "My name is Ada."),
        ("assistant", "It is Ada."),
        ("user", "What is my name?"),
    ]


async def test_another_session_id_does_not(faked: Faked, faked_client: httpx2.AsyncClient) -> None:
    faked.will_reply(sse(*answer("hm")))
    await chat(faked_client, "My name is Ada.", session_id="one")
    await chat(faked_client, "What is my name?", session_id="other")
    assert "Ada" not in faked.server.requests[1].body.decode()


async def test_a_session_remembers_after_a_restart(tmp_path: Path) -> None:
    async with model_server(sse(*answer("Hello Ada."))) as server:
        async with serving(tmp_path, asks(server)) as parley, client_of(parley) as client:
            await chat(client, "My name is Ada.")
        async with serving(tmp_path, asks(server)) as parley, client_of(parley) as client:
            await chat(client, "What is my name?")
        assert "My name is Ada." in server.requests[-1].body.decode()


async def test_a_session_remembers_over_a_new_secret(tmp_path: Path) -> None:
    old, new = {"PARLEY_SECRET": "o" * 32}, {"PARLEY_SECRET": "n" * 32}
    rotated = new | {"PARLEY_SECRET_PREVIOUS": "o" * 32}
    async with model_server(sse(*answer("Hello Ada."))) as server:
        async with serving(tmp_path, asks(server) | old) as parley, client_of(parley) as client:
            await chat(client, "My name is Ada.")
        async with serving(tmp_path, asks(server) | rotated) as parley, client_of(parley) as client:
            await chat(client, "What is my name?")
            assert "My name is Ada." in server.requests[-1].body.decode()
            await chat(client, "Who is new here?", session_id="new")
            await chat(client, "And who said that?", session_id="new")
        assert "Who is new here?" in server.requests[-1].body.decode()


async def test_the_same_key_is_the_same_turn(
    faked: Faked, faked_client: httpx2.AsyncClient
) -> None:
    faked.will_reply(sse(*answer("It is ", "done.")))
    body = {"session_id": "keys", "message": "once", "format": "events"}
    key = {"idempotency-key": uuid4().hex}
    before = row_counts(faked.parley)
    first = await faked_client.post("/chat", json=body, headers=key)
    again = await faked_client.post("/chat", json=body, headers=key)
    assert first.headers["x-turn-id"] == again.headers["x-turn-id"]
    one, other = (
        text_of([msgspec.json.decode(event) for event in list(read_events(got.content))[:-1]])
        for got in (first, again)
    )
    assert one == other == "It is done."
    assert row_counts(faked.parley)["turns"] == before["turns"] + 1
    assert len(faked.server.requests) == 1


async def test_the_same_key_with_another_message_is_a_conflict(
    faked: Faked, faked_client: httpx2.AsyncClient
) -> None:
    faked.will_reply(sse(*answer("hm")))
    key = {"idempotency-key": uuid4().hex}
    body = {"session_id": "keys", "message": "once"}
    await faked_client.post("/chat", json=body, headers=key)
    other = await faked_client.post("/chat", json=body | {"message": "twice"}, headers=key)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")


@pytest.mark.parametrize("sent", ["abc-123-def", "A.b_c:9", "x" * 128])
async def test_a_request_id_is_kept(client: httpx2.AsyncClient, sent: str) -> None:
    response = await client.get("/api/nothing", headers={"x-request-id": sent})
    assert response.headers.get_list("x-request-id") == [sent]
    assert response.json()["error"]["request_id"] == sent


@pytest.mark.parametrize("sent", [None, "", "a b", "x" * 129, "a\tb", "<script>", "é"])
async def test_a_request_id_is_made(client: httpx2.AsyncClient, sent: str | None) -> None:
    headers = {} if sent is None else {b"x-request-id": sent.encode()}
    response = await client.get("/api/nothing", headers=headers)
    made = response.headers["x-request-id"]
    assert made == response.json()["error"]["request_id"] != sent
    assert len(made) == 32


async def test_a_request_id_is_in_the_log(faked: Faked, faked_client: httpx2.AsyncClient) -> None:
    faked.will_reply(sse(*answer("the-models-text")))
    body = {"session_id": "secret-session", "message": "my-secret-text"}
    await faked_client.post("/chat", json=body, headers={"x-request-id": "look-for-me"})
    log = faked.parley.log_text()
    lines = [line for line in log.splitlines() if "[look-for-me]" in line]
    assert any("parley.surfaces.sse - Chat request - session: " in line for line in lines)
    assert any("Turn ended" in line and "finish_reason: stop" in line for line in lines)
    for secret in ("my-secret-text", "the-models-text", "secret-session"):
        assert secret not in log


async def test_a_path_cannot_write_a_log_line(
    demo: ParleyProcess, client: httpx2.AsyncClient
) -> None:
    await client.get("/docs/%0aFORGED%20LINE")
    assert "FORGED LINE" in demo.log_text()
    assert not any(line.startswith("FORGED") for line in demo.log_text().splitlines())


async def test_probes(client: httpx2.AsyncClient) -> None:
    health = (await client.get("/health")).json()
    assert health.pop("version")
    assert health == {"status": "healthy", "environment": "development"}
    assert (await client.get("/livez")).json() == {"status": "alive"}
    assert (await client.get("/readyz")).json() == {"status": "ready"}


async def test_metrics_count_turns(faked: Faked, faked_client: httpx2.AsyncClient) -> None:
    faked.will_reply(sse(*answer("hm")))
    await chat(faked_client, "hi")
    metrics = await faked_client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    (line,) = (
        line
        for line in metrics.text.splitlines()
        if line.startswith('parley_turns_total{outcome="completed"}')
    )
    assert float(line.split()[-1]) >= 1


async def test_of_the_docs_there_are_so_many_files(client: httpx2.AsyncClient) -> None:
    for name in ("x", "playground.html", "..%2f..%2fapp.py", "%2e%2e%2fwebsocket.py"):
        assert (await client.get(f"/docs/assets/{name}")).status_code == 404, name


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1/x", "/v1/embeddings", "/v1", *CLOSED])
async def test_nothing_is_there(client: httpx2.AsyncClient, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        response = await client.request(method, path)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
        assert ("type" in response.json()["error"]) == path.startswith("/v1")


@pytest.mark.parametrize("path", ["/ws", "/ws/chat", "/ws?format=text"])
async def test_a_socket_is_no_page(client: httpx2.AsyncClient, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        response = await client.request(method, path, headers={"accept": "text/html"})
        assert (response.status_code, response.headers["upgrade"]) == (426, "websocket")
        assert response.json()["error"]["code"] == "invalid_request"
        assert "ws://" in response.json()["error"]["message"]


async def test_the_schema_lists_only_our_routes(client: httpx2.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    assert set(schema["paths"]) == OWN_PATHS
    operation = schema["paths"]["/chat"]["post"]
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    body = schema["components"]["schemas"][reference.rsplit("/", 1)[-1]]
    assert set(body["required"]) == {"session_id", "message"}
    assert "text/event-stream" in operation["responses"]["200"]["content"]


async def test_the_page_is_there(client: httpx2.AsyncClient) -> None:
    response = await client.get("/", headers={"accept": "text/html"})
    assert response.status_code == 200
    assert "<title>Parley" in response.text
    assert "parley_guest=" in response.headers["set-cookie"]


async def test_a_space_is_a_frame_in_another_site(tmp_path: Path) -> None:
    space = DEMO | {"SPACE_HOST": "me-chat.hf.space", "ALLOW_GUESTS": "true"}
    async with serving(tmp_path, space) as parley, client_of(parley) as client:
        response = await client.get("/", headers={"accept": "text/html"})
    assert "SameSite=none; Secure; Partitioned" in response.headers["set-cookie"]
    policy = response.headers["content-security-policy"]
    assert "frame-ancestors 'self' https://huggingface.co" in policy


async def test_another_site_may_not_write(demo: ParleyProcess, client: httpx2.AsyncClient) -> None:
    before = row_counts(demo)
    response = await client.post(
        "/chat",
        json={"session_id": "a", "message": "hi"},
        headers={"origin": "http://evil.example"},
    )
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
    assert row_counts(demo) == before


@pytest.mark.parametrize("path", ["/chat", "/project/threads", "/project/settings", "/"])
async def test_another_site_may_not_read(client: httpx2.AsyncClient, path: str) -> None:
    asked = await client.options(
        path,
        headers={"origin": "http://evil.example", "access-control-request-method": "POST"},
    )
    read = await client.get(path, headers={"origin": "http://evil.example"})
    for response in (asked, read):
        assert "access-control-allow-origin" not in response.headers


async def test_a_friendly_site_may(tmp_path: Path) -> None:
    friend = {"origin": "https://friend.example"}
    environment = DEMO | {"CORS_ALLOW_ORIGINS": "https://friend.example"}
    async with serving(tmp_path, environment) as parley, client_of(parley) as client:
        preflight = await client.options(
            "/chat",
            headers=friend
            | {
                "access-control-request-method": "POST",
                "access-control-request-headers": "content-type",
            },
        )
        said = await client.post("/chat", json={"session_id": "a", "message": "hi"}, headers=friend)
        foreign = await client.get("/health", headers={"origin": "https://evil.example"})
    assert preflight.headers["access-control-allow-origin"] == "https://friend.example"
    assert said.headers["access-control-allow-origin"] == "https://friend.example"
    assert "X-Request-ID" in said.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in foreign.headers
