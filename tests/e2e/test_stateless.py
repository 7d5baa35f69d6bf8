"""Stateless chat: the caller keeps the conversation, and any server with the secret goes on."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from tests.e2e.conftest import Faked
from tests.e2e.support import asks, client_of, row_counts, serving, text_of
from tests.fakes.model_server import (
    answer,
    chunk,
    delta,
    event,
    json_reply,
    model_server,
    sse,
    wait,
)
from tests.patience import eventually, until
from tests.sse_reader import read_events

PATHS = ["/api/v1/chat", "/api/chat"]


async def chat(client: httpx2.AsyncClient, path: str = PATHS[0], **body: Any) -> list[Any]:
    response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    *events, end = read_events(response.content)
    assert end == "[DONE]"
    return [msgspec.json.decode(event) for event in events]


def context_of(events: list[Any]) -> Any:
    (context,) = [event["content"] for event in events if event["type"] == "context_update"]
    return context


@pytest.mark.parametrize("path", PATHS)
async def test_a_conversation_that_is_kept_nowhere(
    faked: Faked, faked_client: httpx2.AsyncClient, path: str
) -> None:
    before = row_counts(faked.parley)
    faked.will_reply(
        sse(delta({"reasoning_content": "hm"}), *answer("Hello ", "Ada.")), sse(*answer("Ada."))
    )
    first = await chat(faked_client, path, message="I am Ada.", system_prompt="Be kind.")
    assert text_of(first) == "Hello Ada."
    assert {event["type"] for event in first} == {"text", "context_update", "done"}
    assert [event["type"] for event in first][-2:] == ["context_update", "done"]
    seqs = [event["seq"] for event in first]
    assert seqs == sorted(set(seqs))
    context = context_of(first)
    assert [message["content"] for message in context["messages"]] == ["I am Ada.", "Hello Ada."]

    second = await chat(faked_client, path, message="Who am I?", context=context)
    assert text_of(second) == "Ada."
    asked = faked.server.requests[1].json["messages"]
    assert [message["content"] for message in asked] == [
        "Be kind.",
        "I am Ada.",
        "Hello Ada.",
        "Who am I?",
    ]
    assert row_counts(faked.parley) == before
    assert "I am Ada" not in faked.parley.log_text()


@pytest.mark.parametrize("way", ["status", "event"])
async def test_a_model_server_that_repeats_it_does_not_bring_it_into_the_log(
    faked: Faked, faked_client: httpx2.AsyncClient, way: str
) -> None:
    error = {"error": {"message": "Bad message: ECHOED words", "type": "invalid_request_error"}}
    faked.will_reply(json_reply(error, 400) if way == "status" else sse(event(error)))
    events = await chat(faked_client, PATHS[0], message="ECHOED words")
    (failed,) = [each for each in events if each["type"] == "error"]
    assert "ECHOED words" in failed["content"], "whoever asked is told"
    assert "Provider call failed" in faked.parley.log_text()
    assert "ECHOED" not in faked.parley.log_text()


async def test_all_events(faked: Faked, faked_client: httpx2.AsyncClient) -> None:
    faked.will_reply(sse(delta({"reasoning_content": "hm"}), *answer("Hi")))
    kinds = [e["type"] for e in await chat(faked_client, message="hi", events="all")]
    assert kinds[:2] == ["turn_start", "attempt"]
    assert {"reasoning", "text", "usage"} <= set(kinds)
    assert kinds[-2:] == ["context_update", "done"]


async def test_two_servers_alternate(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(model_server(sse(*answer("ok"))))
        clients = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            settings = asks(server) | {"PARLEY_SECRET": "s" * 32}
            parley = await stack.enter_async_context(serving(tmp_path / name, settings))
            clients.append(await stack.enter_async_context(client_of(parley)))
        context = None
        for number in range(4):
            body: dict[str, Any] = {"message": f"no. {number}"}
            events = await chat(
                clients[number % 2], **body, **({"context": context} if context else {})
            )
            context = context_of(events)
        said = [m["content"] for m in server.requests[-1].json["messages"] if m["role"] == "user"]
        assert said == ["no. 0", "no. 1", "no. 2", "no. 3"]


async def test_each_wrong_context_has_its_error(tmp_path: Path) -> None:
    async with model_server(sse(*answer("ok"))) as server:
        settings = asks(server) | {"PARLEY_SECRET": "o" * 32}
        async with serving(tmp_path, settings) as parley, client_of(parley) as client:
            old = context_of(await chat(client, message="hi"))
            changed = old | {"messages": [{"role": "user", "content": "Obey."}]}
            await _refused(client, changed, 422, "context_changed")
            await _refused(client, old | {"key_id": "?"}, 422, "context_key_unknown")
            await _refused(client, {"version": 1}, 422, "invalid_request")
            huge = [{"role": "user", "content": "x" * 600_000}]
            await _refused(client, old | {"messages": huge}, 413, "context_too_large")
            await client.get("/api/v1/conversations")  # now she is a guest
            await _refused(client, old, 403, "context_foreign")
        settings |= {
            "PARLEY_SECRET": "n" * 32,
            "PARLEY_SECRET_PREVIOUS": "o" * 32,
            "SEALED_CONTEXT_SECONDS": "1",
        }
        async with serving(tmp_path, settings) as parley, client_of(parley) as client:
            new = context_of(await chat(client, message="hi", context=old))
            assert len(new["messages"]) == 4
            await _until_expired(client, new)
            await _refused(client, new, 422, "context_expired")


async def _until_expired(client: httpx2.AsyncClient, context: Any) -> None:
    body = {"message": "hi", "context": context}

    async def is_expired() -> bool:
        return not (await client.post(PATHS[0], json=body)).is_success

    await eventually(is_expired)


async def _refused(client: httpx2.AsyncClient, context: Any, status: int, code: str) -> None:
    response = await client.post(PATHS[0], json={"message": "hi", "context": context})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


async def test_leaving_stops_it(faked: Faked) -> None:
    faked.will_reply(sse(chunk("half"), wait(asyncio.Event())))
    async with (
        client_of(faked.parley) as client,
        client.stream("POST", PATHS[0], json={"message": "hi"}) as response,
    ):
        await anext(response.aiter_bytes())
    await until(faked.server.left.is_set)
