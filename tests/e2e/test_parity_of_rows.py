"""All doors beside each other, the page and the older sockets too: the same turn, the same rows.

test_parity.py looks through each of the newer doors closer, and stops a turn through them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec
import pytest

from tests.e2e.page_socket import new_guest, page_socket
from tests.e2e.resumable import received
from tests.e2e.support import PATIENT, client_of, select, serving, until
from tests.e2e.ws_client import events_until, next_event, socket_of
from tests.e2e.ws_client import say as say_on
from tests.fakes.model_server import (
    DONE,
    ModelServer,
    Reply,
    answer,
    chunk,
    delta,
    finish,
    model_server,
    sse,
    usage,
    wait,
)
from tests.fakes.web import page_of, web
from tests.server import ParleyProcess
from tests.sse_reader import read_events

CALL = {
    "index": 0,
    "id": "call_7",
    "type": "function",
    "function": {"name": "web_search", "arguments": '{"query": "cats"}'},
}
FOUND = {"results": [{"title": "Purr", "url": "https://cats.example/purr", "content": "They do."}]}
TEXT = "Let me look.\n\nThey purr: yes."


def scripted() -> list[Reply]:
    """Two turns that are forgotten or not, and the one that is looked at."""
    return [
        sse(*answer("one")),
        sse(*answer("two")),
        sse(
            delta({"reasoning_content": "Cats, hm."}),
            chunk("Let me look."),
            delta({"tool_calls": [CALL]}),
            finish("tool_calls"),
            usage(11, 5),
            DONE,
        ),
        sse(chunk("They purr"), chunk(": yes."), finish(), usage(20, 7), DONE),
    ]


@dataclass(frozen=True)
class House:
    parley: ParleyProcess
    server: ModelServer


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    pages = {"/search": page_of(json.dumps(FOUND), "application/json")}
    async with web(pages) as site, model_server() as server:
        settings = {
            "OPENAI_BASE_URL": server.base_url,
            "OPENAI_MODEL": "gpt-4o-mini",
            "MAX_HISTORY_TURNS": "1",
            "SEARXNG_URL": site.url("").rstrip("/"),
            "TOOL_NETWORKS": "127.0.0.1/32",
            "TOOL_PORTS": str(site.port),
        }
        directory = tmp_path_factory.mktemp("parity")
        async with serving(directory, settings | PATIENT) as parley:
            yield House(parley, server)


@dataclass(frozen=True)
class Talk:
    """A caller of one door, who keeps one conversation."""

    parley: ParleyProcess
    client: httpx2.AsyncClient
    cookie: str

    async def conversation(self) -> str:
        made = await self.client.post("/api/v1/conversations", json={})
        return str(made.json()["conversation_id"])


Events = list[dict[str, Any]]
Door = Callable[[Talk, list[str]], Awaitable[Events | str]]
RUNNING = "SELECT id FROM turns WHERE state = 'running'"
# What is said through each door; only the last is looked at.
SAID = ["1", "2", "What about cats?"]


async def chat_events(talk: Talk, said: list[str]) -> Events:
    response = httpx2.Response(500)
    for text in said:
        asked = {"session_id": "parity", "message": text, "format": "events"}
        response = await talk.client.post("/chat", json=asked)
    return [msgspec.json.decode(event) for event in list(read_events(response.content))[:-1]]


async def chat_text(talk: Talk, said: list[str]) -> str:
    response = httpx2.Response(500)
    for text in said:
        response = await talk.client.post("/chat", json={"session_id": "parity", "message": text})
    return "".join(list(read_events(response.content))[:-1])


async def conversations(talk: Talk, said: list[str]) -> Events:
    events: Events = []
    id = await talk.conversation()
    for text in said:
        path = f"/api/v1/conversations/{id}/messages"
        async with talk.client.stream("POST", path, json={"message": text}) as response:
            events = [each.event async for each in received(response)]
    return events


async def turns_api(talk: Talk, said: list[str]) -> Events:
    """What is over, read again from the rows."""
    turn_id = (await conversations(talk, said))[0]["turn_id"]
    async with talk.client.stream("GET", f"/api/v1/turns/{turn_id}/events") as response:
        return [each.event async for each in received(response)]


async def websocket(talk: Talk, said: list[str]) -> Events:
    events: Events = []
    async with socket_of(talk.parley, Cookie=talk.cookie) as socket:
        for text in said:
            await say_on(socket, text)
            events = await events_until(socket)
    return events


async def old_websocket(talk: Talk, said: list[str]) -> str:
    got = ""
    async with socket_of(talk.parley, Cookie=talk.cookie) as socket:
        for number, (text, ends) in enumerate(zip(said, ("one", "two", TEXT), strict=True)):
            await socket.send(json.dumps({"id": str(number), "text": text}))
            got = ""
            while got != ends:
                got += (await next_event(socket))["text"]
    return got


async def plain_websocket(talk: Talk, said: list[str]) -> str:
    got: str | bytes = ""
    async with socket_of(talk.parley, "/ws?format=text", Cookie=talk.cookie) as socket:
        for text in said:
            await socket.send(text)
            got = await socket.recv()
    return str(got)


async def openai_stream(talk: Talk, said: list[str]) -> str:
    chunks: list[Any] = []
    headers = {"X-Conversation-Id": await talk.conversation()}
    for text in said:
        asked = {
            "model": "openai:gpt-4o-mini",
            "stream": True,
            "messages": [{"role": "user", "content": text}],
        }
        response = await talk.client.post("/v1/chat/completions", json=asked, headers=headers)
        chunks = [msgspec.json.decode(e) for e in list(read_events(response.content))[:-1]]
    deltas = [each["choices"][0]["delta"] for each in chunks if each["choices"]]
    assert "".join(d.get("reasoning_content", "") for d in deltas) == "Cats, hm."
    return "".join(d.get("content") or "" for d in deltas)


async def openai_whole(talk: Talk, said: list[str]) -> str:
    response = httpx2.Response(500)
    headers = {"X-Conversation-Id": await talk.conversation()}
    for text in said:
        asked = {"model": "openai:gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
        response = await talk.client.post("/v1/chat/completions", json=asked, headers=headers)
    done = response.json()
    assert done["usage"]["total_tokens"] == 43
    return str(done["choices"][0]["message"]["content"])


async def page(talk: Talk, said: list[str]) -> str:
    async with page_socket(talk.parley, talk.cookie) as socket:
        for number, text in enumerate(said, 1):
            await socket.say(text)
            await socket.next("task_end", number)
        finals = [
            step["output"]
            for step in socket.all("update_message")
            if step["type"] == "assistant_message"
        ]
    return str(finals[-1]).replace("\\:", ":")


STATEFUL: dict[str, Door] = {
    "chat as events": chat_events,
    "chat as text": chat_text,
    "conversations": conversations,
    "turns": turns_api,
    "websocket": websocket,
    "older websocket": old_websocket,
    "plain websocket": plain_websocket,
    "openai, streamed": openai_stream,
    "openai, whole": openai_whole,
    "page": page,
}


@pytest.fixture
async def talk(house: House) -> AsyncIterator[Talk]:
    cookie = await new_guest(house.parley)
    async with client_of(house.parley) as client:
        client.headers["cookie"] = cookie
        yield Talk(house.parley, client, cookie)


def reply(house: House, *replies: Reply) -> None:
    house.server.replies[:] = replies
    house.server.left = asyncio.Event()


def folded(events: Events) -> dict[str, Any]:
    """What every reader of typed events agrees on."""
    of = {kind: [e["content"] for e in events if e["type"] == kind] for kind in KINDS}
    return {
        "text": "".join(of["text"]),
        "reasoning": "".join(of["reasoning"]),
        "tools": [(t["id"], t["name"], t["arguments"]) for t in of["tool_start"]],
        "results": [(t["id"], t["error"], bool(t["sources"])) for t in of["tool_end"]],
        "usage": of["usage"],
        "ends": [d["finish_reason"] for d in of["done"]],
        "errors": of["error"],
    }


KINDS = ("text", "reasoning", "tool_start", "tool_end", "usage", "done", "error")
WANTED = {
    "text": TEXT,
    "reasoning": "Cats, hm.",
    "tools": [("call_7", "web_search", '{"query": "cats"}')],
    "results": [("call_7", None, True)],
    "usage": [{"input_tokens": 31, "output_tokens": 12, "estimated": False}],
    "ends": ["stop"],
    "errors": [],
}


def last_row(parley: ParleyProcess) -> tuple[Any, ...]:
    """All of the newest turn's rows but ids and times."""
    ((tools, receipt, *rest),) = select(
        parley,
        "SELECT turns.tools, turns.receipt, turns.state, turns.finish_reason, turns.usage,"
        " turns.error_code, turns.model, turns.fence, turns.on_branch, turns.stop_requested,"
        " asked.output, said.output, said.reasoning, said.is_error FROM turns"
        " JOIN steps asked ON asked.id = turns.user_step_id"
        " JOIN steps said ON said.id = turns.answer_step_id"
        " ORDER BY turns.created_at DESC LIMIT 1",
    )
    dropped = len(json.loads(receipt)["dropped"])
    return (json.loads(tools), dropped, *rest)


async def test_every_door_leads_to_the_same_turn(house: House) -> None:
    rows = {}
    for name, door in STATEFUL.items():
        cookie = await new_guest(house.parley)
        async with client_of(house.parley) as client:
            client.headers["cookie"] = cookie
            reply(house, *scripted())
            got = await door(Talk(house.parley, client, cookie), SAID)
        if isinstance(got, str):
            assert got == TEXT, name
        else:
            assert folded(got) == WANTED, name
            if name != "turns":  # from the rows, where the receipt has it
                pruned = [e["content"]["rule"] for e in got if e["type"] == "context_pruned"]
                assert set(pruned) == {"MAX_HISTORY_TURNS"}, name
        # The older socket's frames do not say that an answer is over.
        await until(lambda: not select(house.parley, RUNNING))
        rows[name] = last_row(house.parley)
    first = rows.pop("conversations")
    assert first[1:4] == (1, "completed", "stop")
    for name, row in rows.items():
        assert row == first, name


async def test_without_a_history_it_is_the_same_but_for_the_rows(house: House, talk: Talk) -> None:
    reply(house, *scripted()[2:])
    before = select(house.parley, "SELECT count(*) FROM turns")
    asked = {"message": "What about cats?", "events": "all"}
    response = await talk.client.post("/api/v1/chat", json=asked)
    events = [msgspec.json.decode(event) for event in list(read_events(response.content))[:-1]]
    assert folded(events) == WANTED
    assert select(house.parley, "SELECT count(*) FROM turns") == before


def state_of(parley: ParleyProcess, turn_id: str) -> tuple[Any, ...]:
    statement = "SELECT state, finish_reason FROM turns WHERE replace(id, '-', '') = ?"
    (row,) = select(parley, statement, turn_id.replace("-", ""))
    return row


async def _stop_by_page(talk: Talk, turn_id: str) -> None:
    state = (await talk.client.get(f"/api/v1/turns/{turn_id}")).json()
    auth = {
        "sessionId": "11111111-1111-4111-8111-111111111111",
        "clientType": "webapp",
        "threadId": state["conversation_id"],
    }
    async with page_socket(talk.parley, talk.cookie, auth) as socket:
        await socket.emit("connection_successful")
        await socket.next("resume_thread")
        await socket.emit("stop")
        await until(lambda: state_of(talk.parley, turn_id) == ("stopped", "stopped"))


async def test_stop_in_the_page_ends_it_for_all(house: House, talk: Talk) -> None:
    reply(house, sse(chunk("some"), wait(asyncio.Event())))
    id = await talk.conversation()
    path = f"/api/v1/conversations/{id}/messages"
    async with (
        asyncio.timeout(30),
        socket_of(talk.parley, Cookie=talk.cookie) as socket,
        talk.client.stream("POST", path, json={"message": "hi"}) as response,
    ):
        turn_id = response.headers["x-turn-id"]
        await socket.send(json.dumps({"type": "follow", "turn_id": turn_id}))
        while (await next_event(socket))["type"] != "text":
            pass
        await _stop_by_page(talk, turn_id)
        over_sse = [each.event async for each in received(response)]
        over_socket = await events_until(socket)
    assert folded(over_sse)["ends"] == folded(over_socket)["ends"] == ["stopped"]
    await asyncio.wait_for(house.server.left.wait(), 5)
    assert state_of(house.parley, turn_id) == ("stopped", "stopped")
