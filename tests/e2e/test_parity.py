"""One scripted turn through every door: the same turn comes out, and the same rows are left.

The turn thinks, says something, calls a tool, says more, and does not see all of its conversation.
A stop through whichever door ends it for all who read, upstream and in the rows.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import pytest

from tests.e2e.conftest import Faked
from tests.e2e.doors import QUESTION, SAID, SCRIPT, STATEFUL, TEXT, THOUGHT, WANTED, Talk, folded
from tests.e2e.page_socket import new_guest, page_socket
from tests.e2e.resumable import new_conversation, received, say
from tests.e2e.support import PATIENT, asks, client_of, row_counts, select, serving
from tests.e2e.ws_client import events_until, next_event, socket_of
from tests.e2e.ws_client import say as say_on
from tests.fakes.model_server import (
    answer,
    chunk,
    model_server,
    sse,
    wait,
)
from tests.patience import PATIENCE_S, until
from tests.server import ParleyProcess

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
RUNNING = "SELECT id FROM turns WHERE state = 'running'"


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Faked]:
    """A Parley whose models see one earlier turn, and have a clock."""
    directory = tmp_path_factory.mktemp("parity")
    (directory / "clock.py").write_text(CLOCK)
    (directory / "parley.toml").write_text(MODELS)
    async with model_server() as server:
        settings = asks(server) | PATIENT | {"MAX_HISTORY_TURNS": "1", "DEFAULT_MODEL": "able"}
        async with serving(directory, settings) as parley:
            yield Faked(parley, server)


@pytest.fixture
async def talk(house: Faked) -> AsyncIterator[Talk]:
    cookie = await new_guest(house.parley)
    async with client_of(house.parley) as client:
        client.headers["cookie"] = cookie
        yield Talk(house.parley, client, cookie)


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
    dropped = [each["rule"] for each in json.loads(receipt)["dropped"]]
    return (json.loads(tools), dropped, *rest)


async def test_every_door_leads_to_the_same_turn_and_rows(house: Faked) -> None:
    rows = {}
    for door in STATEFUL:
        name, cookie = door.__name__, await new_guest(house.parley)
        house.will_reply(sse(*answer("one")), sse(*answer("two")), *SCRIPT)
        async with client_of(house.parley) as client:
            client.headers["cookie"] = cookie
            seen = await door(Talk(house.parley, client, cookie), SAID)
        assert seen == {what: WANTED[what] for what in seen}, name
        await until(lambda: not select(house.parley, RUNNING))
        rows[name] = last_row(house.parley)
    first = rows.pop("conversations")
    assert first[1:4] == (["MAX_HISTORY_TURNS"], "completed", "stop")
    assert first[-4:] == (QUESTION, TEXT, THOUGHT, 0)
    for name, row in rows.items():
        assert row == first, name


@pytest.mark.parametrize("path", ["/api/chat", "/api/v1/chat"])
async def test_without_a_history_it_is_the_same_but_for_the_rows(
    house: Faked, talk: Talk, path: str
) -> None:
    before = row_counts(house.parley)
    for wanted in ("all", None):
        house.will_reply(*SCRIPT)
        body = {"message": QUESTION, "events": wanted}
        events = [msgspec.json.decode(event) for event in await talk.posted(path, body)]
        if wanted:
            assert folded(events) == WANTED
        kinds = {"text", "tool_start", "tool_end", "context_update", "done"}
        assert wanted or {event["type"] for event in events} == kinds
        (update,) = [e["content"] for e in events if e["type"] == "context_update"]
        assert [said["content"] for said in update["messages"]] == [QUESTION, TEXT]
    assert row_counts(house.parley) == before


# --- stop ------------------------------------------------------------------------------------------

HELD = "some"
ENDED = """SELECT turns.state, turns.finish_reason, steps.output FROM turns
    JOIN steps ON steps.id = turns.answer_step_id
    WHERE turns.id = ? AND turns.state <> 'running'"""


def hold(house: Faked) -> None:
    """Have the model say something, and then nothing more."""
    house.will_reply(sse(chunk(HELD), wait(asyncio.Event())))


async def held_id(house: Faked, talk: Talk) -> str:
    """The turn that is held, once there is what the model has said."""
    turn_id = await running_id(house)
    async with talk.client.stream("GET", f"/api/v1/turns/{turn_id}/events") as response:
        async for each in received(response):
            if each.event["type"] == "text":
                return turn_id
    raise AssertionError("it ended")


async def running_id(house: Faked) -> str:
    ((turn_id,),) = await until(lambda: select(house.parley, RUNNING))
    await until(house.server.asked.is_set)
    return str(turn_id)


async def stopped(house: Faked, turn_id: str) -> None:
    """The provider's stream is closed, and the rows say why."""
    await until(house.server.left.is_set)
    row = (await until(lambda: select(house.parley, ENDED, turn_id)))[0]
    assert row == ("stopped", "stopped", HELD)


async def stop_by_api(talk: Talk, turn_id: str) -> None:
    assert (await talk.client.post(f"/api/v1/turns/{turn_id}/stop")).status_code == 202


async def stop_by_socket(talk: Talk, turn_id: str) -> None:
    async with socket_of(talk.parley, Cookie=talk.cookie) as socket:
        await socket.send(json.dumps({"type": "stop", "turn_id": turn_id}))
        await socket.send('{"type": "ping"}')
        assert await next_event(socket) == {"type": "pong"}


async def stop_by_page(talk: Talk, turn_id: str) -> None:
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
        await until(lambda: not select(talk.parley, RUNNING))


STOPS = [stop_by_api, stop_by_socket, stop_by_page]


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.__name__)
async def test_a_stop_through_one_door_ends_it_at_all(
    house: Faked, talk: Talk, stop: Callable[[Talk, str], Awaitable[None]]
) -> None:
    hold(house)
    id = await new_conversation(talk.client)
    telling = asyncio.create_task(say(talk.client, id, "hi"))
    turn_id = await running_id(house)
    async with asyncio.timeout(30), socket_of(talk.parley, Cookie=talk.cookie) as socket:
        await socket.send(json.dumps({"type": "follow", "turn_id": turn_id}))
        while (await next_event(socket))["type"] != "text":
            pass
        following = asyncio.create_task(talk.stream("GET", f"/api/v1/turns/{turn_id}/events"))
        await stop(talk, turn_id)
        for events in (await telling, await following, await events_until(socket)):
            assert [e["content"]["finish_reason"] for e in events if e["type"] == "done"] == [
                "stopped"
            ]
    await stopped(house, turn_id)


async def ends_as_text(talk: Talk) -> None:
    assert "".join(await talk.posted("/chat", {"session_id": "s", "message": "hi"})) == HELD


async def ends_as_events(talk: Talk) -> None:
    body = {"session_id": "s", "message": "hi", "format": "events"}
    events = [msgspec.json.decode(event) for event in await talk.posted("/chat", body)]
    assert events[-1]["content"]["finish_reason"] == "stopped"


async def ends_on_a_socket(talk: Talk) -> None:
    async with socket_of(talk.parley, Cookie=talk.cookie) as socket:
        await say_on(socket, "hi")
        events = await events_until(socket)
    assert events[-1]["content"]["finish_reason"] == "stopped"


async def ends_on_a_plain_socket(talk: Talk) -> None:
    async with socket_of(talk.parley, "/ws?format=text", Cookie=talk.cookie) as socket:
        await socket.send("hi")
        assert await socket.recv() == HELD
        # It goes on.
        await socket.send("again")
        assert await socket.recv() == "fine"


async def ends_as_chunks(talk: Talk) -> None:
    asked = {"model": "able", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    headers = {"x-conversation-id": await new_conversation(talk.client)}
    sent = await talk.posted("/v1/chat/completions", asked, **headers)
    chunks = [msgspec.json.decode(each)["choices"][0] for each in sent]
    assert "".join(each["delta"].get("content") or "" for each in chunks) == HELD
    assert chunks[-1]["finish_reason"] == "stop", "OpenAI has no other word"


async def ends_as_one(talk: Talk) -> None:
    asked = {"model": "able", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"x-conversation-id": await new_conversation(talk.client)}
    done = (await talk.client.post("/v1/chat/completions", json=asked, headers=headers)).json()
    assert done["choices"][0]["message"]["content"] == HELD


async def ends_in_the_page(talk: Talk) -> None:
    async with page_socket(talk.parley, talk.cookie) as socket:
        await socket.say("hi")
        await socket.next("task_end")


ENDS = [
    ends_as_text,
    ends_as_events,
    ends_on_a_socket,
    ends_on_a_plain_socket,
    ends_as_chunks,
    ends_as_one,
    ends_in_the_page,
]


@pytest.mark.parametrize("door", ENDS, ids=lambda door: door.__name__)
async def test_what_was_begun_at_any_door_ends_there_when_it_is_stopped(
    house: Faked, talk: Talk, door: Callable[[Talk], Coroutine[Any, Any, None]]
) -> None:
    hold(house)
    reading = asyncio.create_task(door(talk))
    turn_id = await held_id(house, talk)
    house.server.replies[:] = [sse(*answer("fine"))]
    await stop_by_api(talk, turn_id)
    async with asyncio.timeout(PATIENCE_S):
        await reading
    await stopped(house, turn_id)


async def test_an_older_socket_stops_its_turn_itself(house: Faked, talk: Talk) -> None:
    hold(house)
    async with socket_of(talk.parley, Cookie=talk.cookie) as socket:
        await socket.send(json.dumps({"id": "1", "text": "hi"}))
        assert await next_event(socket) == {"id": "1", "text": ""}
        assert await next_event(socket) == {"id": "1", "text": HELD}
        turn_id = await running_id(house)
        await socket.send(json.dumps({"type": "stop", "turn_id": turn_id}))
        await stopped(house, turn_id)
        # Nothing more came of it, and the socket is good for the next one.
        house.will_reply(sse(*answer("fine")))
        await socket.send(json.dumps({"id": "2", "text": "again"}))
        assert await next_event(socket) == {"id": "2", "text": ""}
        assert await next_event(socket) == {"id": "2", "text": "fine"}


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
async def test_where_nothing_is_kept_leaving_stops_it(house: Faked, talk: Talk, path: str) -> None:
    hold(house)
    before = row_counts(house.parley)
    body: dict[str, Any] = {"model": "able", "stream": True, "message": "hi"}
    body["messages"] = [{"role": "user", "content": "hi"}]
    async with talk.client.stream("POST", path, json=body) as response:
        async for line in response.aiter_lines():
            if HELD in line:
                break
    await until(house.server.left.is_set)
    assert row_counts(house.parley) == before
