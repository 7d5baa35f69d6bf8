"""One scripted turn through every door: the same text, thought, usage and end, the same rows."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from tests.e2e.conftest import Faked
from tests.e2e.resumable import new_conversation, received, say
from tests.e2e.support import asks, client_of, select, serving, text_of, until
from tests.fakes.model_server import (
    DONE,
    answer,
    chunk,
    delta,
    finish,
    model_server,
    sse,
    usage,
    wait,
)
from tests.sse_reader import read_events

TEXT, THOUGHT, QUESTION = "A turn\nis [DONE] whole.", "Let me see.", "What is a turn?"
SCRIPT = sse(delta({"reasoning_content": THOUGHT}), *answer("A turn\nis ", "[DO", "NE] whole."))
EARLIER = "x" * 400
CLOCK = """from parley.tools import tool


@tool("Looks at the clock of {city}")
async def clock(city: str) -> str:
    \"\"\"Tell the time.\"\"\"
    return f"noon in {city}"
"""
MODELS = """plugins = ["clock.py"]

[models.able]
provider = "openai"
model = "fake"
tools = true
use_tools = ["clock"]
"""
CALL = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "clock", "arguments": '{"city": "Ulm"}'},
}
CALLED = sse(delta({"tool_calls": [CALL]}), finish("tool_calls"), usage(), DONE)


@pytest.fixture(scope="module")
async def pruned(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Faked]:
    """A Parley whose models see one earlier turn: the scripted one prunes its context."""
    directory: Path = tmp_path_factory.mktemp("pruned")
    (directory / "clock.py").write_text(CLOCK)
    (directory / "parley.toml").write_text(MODELS)
    async with (
        model_server() as server,
        serving(directory, asks(server) | {"MAX_HISTORY_TURNS": "1"}) as parley,
    ):
        yield Faked(parley, server)


@pytest.fixture
async def client(pruned: Faked) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(pruned.parley) as client:
        await client.get("/api/v1/conversations")
        yield client


Door = Callable[[httpx2.AsyncClient, str], Coroutine[Any, Any, str]]


async def by_text(client: httpx2.AsyncClient, id: str) -> str:
    body = {"session_id": id, "message": QUESTION}
    *pieces, _ = read_events((await client.post("/chat", json=body)).content)
    return "".join(pieces)


async def by_events(client: httpx2.AsyncClient, id: str) -> str:
    body = {"session_id": id, "message": QUESTION, "format": "events"}
    *events, _ = read_events((await client.post("/chat", json=body)).content)
    return _folded([json.loads(event) for event in events])


async def by_conversation(client: httpx2.AsyncClient, id: str) -> str:
    return _folded(await say(client, id, QUESTION))


async def by_openai(client: httpx2.AsyncClient, id: str) -> str:
    response = await client.post("/v1/chat/completions", json=_asked(), headers=_of(id))
    (choice,) = response.json()["choices"]
    assert choice["message"]["reasoning_content"] == THOUGHT
    assert response.json()["usage"]["total_tokens"] == 10
    return str(choice["message"]["content"])


async def by_openai_stream(client: httpx2.AsyncClient, id: str) -> str:
    asked = _asked() | {"stream": True}
    response = await client.post("/v1/chat/completions", json=asked, headers=_of(id))
    *chunks, _ = read_events(response.content)
    deltas = [json.loads(each)["choices"][0]["delta"] for each in chunks]
    assert "".join(each.get("reasoning_content", "") for each in deltas) == THOUGHT
    return "".join(each.get("content") or "" for each in deltas)


async def by_socket(client: httpx2.AsyncClient, id: str) -> str:
    frame = {"type": "message", "message": QUESTION, "conversation_id": id}
    events: list[dict[str, Any]] = []
    async with connect(_socket_url(client), additional_headers=_cookie(client)) as socket:
        await socket.send(json.dumps(frame))
        while not events or events[-1]["type"] != "done":
            events.append(json.loads(await socket.recv()))
    return _folded(events)


DOORS: list[Door] = [
    by_text,
    by_events,
    by_conversation,
    by_openai,
    by_openai_stream,
    by_socket,
]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
async def test_every_door_gives_the_same_turn_and_rows(
    pruned: Faked, client: httpx2.AsyncClient, door: Door
) -> None:
    pruned.will_reply(sse(*answer("one")), sse(*answer("two")), CALLED, SCRIPT)
    id = await new_conversation(client)
    for number in range(2):
        await say(client, id, f"{number} {EARLIER}")
    assert await door(client, id) == TEXT
    (*_, row) = select(
        pruned.parley,
        "SELECT turns.id, state, finish_reason, usage, error_code, user.output, answer.output,"
        " answer.reasoning FROM turns JOIN steps user ON user.id = user_step_id"
        " JOIN steps answer ON answer.id = answer_step_id WHERE turns.thread_id = ?"
        " ORDER BY turns.arrival",
        id.replace("-", ""),
    )
    turn_id, state, reason, cost, error, *texts = row
    assert (state, reason, error) == ("completed", "stop", None)
    assert json.loads(cost)["input_tokens"] == 6
    assert texts == [QUESTION, TEXT, THOUGHT]
    # Whatever the door was, the turn is read again from any other.
    async with client.stream("GET", f"/api/v1/turns/{turn_id}/events") as response:
        assert _folded([each.event async for each in received(response)]) == TEXT
    seen = (await client.get(f"/api/v1/turns/{turn_id}/context")).json()
    assert [dropped["rule"] for dropped in seen["dropped"]] == ["MAX_HISTORY_TURNS"]
    (*_, said) = (await client.get(f"/api/v1/conversations/{id}/messages")).json()["data"]
    assert (said["content"], said["usage"]["output_tokens"]) == (TEXT, 4)


async def stop_by_api(client: httpx2.AsyncClient, turn_id: str) -> None:
    assert (await client.post(f"/api/v1/turns/{turn_id}/stop")).status_code == 202


async def stop_by_socket(client: httpx2.AsyncClient, turn_id: str) -> None:
    async with connect(_socket_url(client), additional_headers=_cookie(client)) as socket:
        await socket.send(json.dumps({"type": "stop", "turn_id": turn_id}))
        await socket.send('{"type": "ping"}')
        assert json.loads(await socket.recv()) == {"type": "pong"}


@pytest.mark.parametrize("stop", [stop_by_api, stop_by_socket], ids=lambda stop: stop.__name__)
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
async def test_a_stop_through_one_ends_all(
    pruned: Faked,
    client: httpx2.AsyncClient,
    door: Door,
    stop: Callable[[httpx2.AsyncClient, str], Awaitable[None]],
) -> None:
    never = asyncio.Event()
    pruned.will_reply(sse(delta({"reasoning_content": THOUGHT}), chunk(TEXT), wait(never)))
    id = await new_conversation(client)
    reading = asyncio.create_task(door(client, id))
    find = "SELECT id FROM turns WHERE thread_id = ? AND state = 'running'"
    ((turn_id,),) = await until(lambda: select(pruned.parley, find, id.replace("-", "")))
    async with asyncio.timeout(10):
        await pruned.server.asked.wait()
        await stop(client, turn_id)
        await pruned.server.left.wait()
        await asyncio.gather(reading, return_exceptions=True)
    state = (await client.get(f"/api/v1/turns/{turn_id}")).json()
    assert (state["state"], state["finish_reason"]) == ("stopped", "stopped")


def _folded(events: list[dict[str, Any]]) -> str:
    thought = "".join(event["content"] for event in events if event["type"] == "reasoning")
    (cost,) = (event["content"] for event in events if event["type"] == "usage")
    assert (thought, cost["input_tokens"], cost["output_tokens"]) == (THOUGHT, 6, 4)
    (began,) = (event["content"] for event in events if event["type"] == "tool_start")
    (ended,) = (event["content"] for event in events if event["type"] == "tool_end")
    assert (began["id"], began["arguments"]) == ("call_1", '{"city": "Ulm"}')
    assert (ended["id"], ended["result"], ended["error"]) == ("call_1", "noon in Ulm", None)
    assert events[-1]["content"]["finish_reason"] == "stop"
    return text_of(events)


def _asked() -> dict[str, Any]:
    return {"model": "able", "messages": [{"role": "user", "content": QUESTION}]}


def _of(id: str) -> Mapping[str, str]:
    return {"x-conversation-id": id}


def _cookie(client: httpx2.AsyncClient) -> Mapping[str, str]:
    return {"cookie": f"parley_guest={client.cookies['parley_guest']}"}


def _socket_url(client: httpx2.AsyncClient) -> str:
    return str(client.base_url).rstrip("/").replace("http", "ws", 1) + "/ws"
