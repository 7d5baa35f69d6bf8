"""What the model saw for an answer, read back by its owner."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from tests.e2e.conftest import Faked
from tests.e2e.support import asks, client_of, select, serving
from tests.fakes.model_server import answer, chunk, hang, model_server, sse
from tests.patience import until


async def become_guest(client: httpx2.AsyncClient) -> None:
    await client.get("/", headers={"accept": "text/html"})


async def say(client: httpx2.AsyncClient, message: str) -> str:
    body = {"session_id": "receipts", "message": message}
    response = await client.post("/chat", json=body)
    assert response.status_code == 200, response.text
    return response.headers["x-turn-id"]


NOTHING: dict[str, object] = {
    "max_tokens": None,
    "temperature": None,
    "top_p": None,
    "stop": [],
    "seed": None,
}


def digest_of(asked: Mapping[str, Any]) -> str:
    """Compute the digest of what the server got as docs/reference.md says, with no code of ours."""
    sampling = {name: asked.get(name, default) for name, default in NOTHING.items()}
    document = {"messages": asked["messages"], "model": asked["model"], "sampling": sampling}
    compact = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(compact.encode()).hexdigest()


async def test_receipt_is_what_the_server_got(
    faked: Faked, faked_client: httpx2.AsyncClient
) -> None:
    faked.will_reply(*[sse(*answer("Grüße ", "日本 <&> \"'\\")) for _ in range(3)])
    await become_guest(faked_client)
    said = [await say(faked_client, text) for text in ("one", "```two```", "three \u2028")]
    asked: Any = faked.server.requests[-1].json
    receipt = (await faked_client.get(f"/api/v1/turns/{said[-1]}/context")).json()
    seen = [{"role": m["role"], "content": m["content"]} for m in receipt["messages"]]
    assert seen == asked["messages"]
    assert len(seen) == 6
    assert receipt["verified"] is True
    assert receipt["digest"] == digest_of(asked)
    assert receipt["input_tokens"] == sum(m["tokens"] for m in receipt["messages"])
    assert receipt["messages"][-1]["turn_id"] == receipt["turn_id"] == said[-1]


async def test_receipt_reads_well_as_markdown(
    faked: Faked, faked_client: httpx2.AsyncClient
) -> None:
    faked.will_reply(sse(*answer("Good day")))
    await become_guest(faked_client)
    turn_id = await say(faked_client, "<b>Hello</b>")
    path = f"/api/v1/turns/{turn_id}/context"
    shown = await faked_client.get(path, params={"format": "markdown"})
    assert shown.headers["content-type"].startswith("text/plain")
    assert "```text\n<b>Hello</b>\n```" in shown.text
    assert "estimate" in shown.text


async def test_receipt_is_its_owners_alone(faked: Faked, faked_client: httpx2.AsyncClient) -> None:
    faked.will_reply(sse(*answer("Good day")))
    await become_guest(faked_client)
    turn_id = await say(faked_client, "Hello")
    async with client_of(faked.parley) as other:
        nobody = await other.get(f"/api/v1/turns/{turn_id}/context")
        await become_guest(other)
        stranger = await other.get(f"/api/v1/turns/{turn_id}/context")
        missing = await other.get(f"/api/v1/turns/{uuid4()}/context")
        no_id = await other.get("/api/v1/turns/no-id/context")
    assert nobody.status_code == 401
    assert [response.status_code for response in (stranger, missing, no_id)] == [404] * 3
    messages = {r.json()["error"]["message"] for r in (stranger, missing, no_id)}
    assert messages == {"There is no such turn."}


async def test_session_id_reads_its_own_receipt(
    faked: Faked, faked_client: httpx2.AsyncClient
) -> None:
    faked.will_reply(sse(*answer("Good day")))
    turn_id = await say(faked_client, "Hello")
    path = f"/api/v1/turns/{turn_id}/context"
    wanted = {"receipts": 200, "other": 404, "no id!": 401}
    for session_id, status in wanted.items():
        got = await faked_client.get(path, headers={"x-session-id": session_id})
        assert got.status_code == status


async def test_defaults_of_the_configuration_are_in_it(tmp_path: Path) -> None:
    defaults = {"TEMPERATURE": "0.5", "MAX_TOKENS": "77"}
    async with (
        model_server(sse(*answer("Good day"))) as server,
        serving(tmp_path, asks(server) | defaults) as parley,
        client_of(parley) as client,
    ):
        turn_id = await say(client, "Hello")
        as_caller = {"x-session-id": "receipts"}
        receipt = (await client.get(f"/api/v1/turns/{turn_id}/context", headers=as_caller)).json()
        asked: Any = server.requests[-1].json
    assert receipt["sampling"] == {**NOTHING, "temperature": 0.5, "max_tokens": 77}
    assert (receipt["digest"], receipt["verified"]) == (digest_of(asked), True)


async def test_receipt_survives_a_crash(tmp_path: Path) -> None:
    async with (
        model_server(sse(chunk("Once upon"), hang)) as server,
        serving(tmp_path, asks(server)) as parley,
    ):
        async with client_of(parley) as client:
            body = {"session_id": "receipts", "message": "Hello"}
            async with client.stream("POST", "/chat", json=body) as response:
                turn_id = response.headers["x-turn-id"]
                kept = "SELECT 1 FROM turns WHERE receipt IS NOT NULL"
                await until(lambda: select(parley, kept))
                await asyncio.to_thread(parley.kill)
        await asyncio.to_thread(parley.start)
        async with client_of(parley) as client:
            path, as_caller = f"/api/v1/turns/{turn_id}/context", {"x-session-id": "receipts"}
            receipt = (await client.get(path, headers=as_caller)).json()
    assert receipt["verified"] is True
    assert receipt["messages"][-1]["content"] == "Hello"
