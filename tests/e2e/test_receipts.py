"""What the model saw for an answer, read back by its owner."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx2

from tests.e2e.conftest import Faked
from tests.e2e.support import client_of
from tests.fakes.model_server import answer, sse


async def become_guest(client: httpx2.AsyncClient) -> None:
    await client.get("/", headers={"accept": "text/html"})


async def say(client: httpx2.AsyncClient, message: str) -> str:
    body = {"session_id": "receipts", "message": message}
    response = await client.post("/chat", json=body)
    assert response.status_code == 200, response.text
    return response.headers["x-turn-id"]


def digest_of(model: str, messages: list[Mapping[str, str]]) -> str:
    """Compute the digest as docs/reference.md says, without any code of ours."""
    nothing: dict[str, object] = {
        "max_tokens": None,
        "temperature": None,
        "top_p": None,
        "stop": [],
        "seed": None,
    }
    document = {"messages": messages, "model": model, "sampling": nothing}
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
    assert receipt["digest"] == digest_of(asked["model"], asked["messages"])
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
