"""``WS /ws`` with a real client: messages, conversations, stop, follow, and the older dialects."""

import asyncio
import json
from pathlib import Path
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.e2e.conftest import Faked
from tests.e2e.page_socket import new_guest
from tests.e2e.resumable import new_conversation
from tests.e2e.support import DEMO, answers, client_of, serving, text_of
from tests.e2e.ws_client import events_until, next_event, say, socket_of
from tests.fakes.model_server import answer, chunk, sse, wait
from tests.patience import until


async def test_a_bare_text_is_a_message(faked: Faked) -> None:
    faked.will_reply(sse(*answer("Hello ", "Ada.")))
    async with socket_of(faked.parley) as socket:
        await socket.send("hi")
        events = await events_until(socket)
    assert text_of(events) == "Hello Ada."
    assert [event["type"] for event in events][:2] == ["turn_start", "attempt"]
    assert events[-1]["content"]["finish_reason"] == "stop"
    assert all("id" not in event for event in events)


async def test_messages_without_waiting_are_all_answered_in_order(faked: Faked) -> None:
    faked.will_reply(*(sse(*answer(f"answer {n}")) for n in range(5)))
    async with socket_of(faked.parley) as socket:
        for n in range(5):
            await say(socket, f"question {n}", id=f"m{n}")
        events = await events_until(socket, 5)
    assert [event["id"] for event in events if event["type"] == "done"] == [
        f"m{n}" for n in range(5)
    ]
    for n in range(5):
        assert text_of([e for e in events if e["id"] == f"m{n}"]) == f"answer {n}"
    seen = faked.server.requests[-1].json["messages"]
    assert [m["content"] for m in seen][-3:] == ["question 3", "answer 3", "question 4"]


async def test_conversations_side_by_side(faked: Faked) -> None:
    gate = asyncio.Event()
    faked.will_reply(sse(chunk("one "), wait(gate), *answer("end")), sse(*answer("two")))
    async with socket_of(faked.parley) as socket:
        await say(socket, "hi", id="a", conversation_id="first")
        while (await next_event(socket))["type"] != "text":
            pass
        await say(socket, "hi", id="a", conversation_id="second")
        events = await events_until(socket)
        assert text_of(events) == "two"
        gate.set()
        assert text_of(await events_until(socket)) == "end"


async def test_stop_ends_it_upstream(faked: Faked) -> None:
    faked.will_reply(sse(chunk("some"), wait(asyncio.Event())))
    async with socket_of(faked.parley) as socket:
        await say(socket, "hi", id="m")
        while (event := await next_event(socket))["type"] != "text":
            pass
        await socket.send(json.dumps({"type": "stop", "turn_id": event["turn_id"]}))
        events = await events_until(socket)
    assert events[-1]["content"]["finish_reason"] == "stopped"
    await until(faked.server.left.is_set)
    assert answers(faked.parley)[-1] == ("stopped", "stopped", "some")


async def test_another_socket_follows_from_where_it_likes(faked: Faked) -> None:
    gate = asyncio.Event()
    faked.will_reply(sse(chunk("first "), wait(gate), *answer("second")))
    cookie = {"Cookie": await new_guest(faked.parley)}
    async with socket_of(faked.parley, **cookie) as one, socket_of(faked.parley, **cookie) as two:
        await say(one, "hi")
        while (event := await next_event(one))["type"] != "text":
            pass
        follow = {"type": "follow", "turn_id": event["turn_id"], "after": event["seq"]}
        await two.send(json.dumps(follow))
        gate.set()
        assert text_of(await events_until(two)) == "second"
        await two.send(json.dumps({"type": "follow", "turn_id": event["turn_id"]}))
        assert text_of(await events_until(two)) == "first second"


async def test_the_same_id_is_the_same_turn(faked: Faked) -> None:
    faked.will_reply(sse(*answer("once")))
    async with socket_of(faked.parley) as socket:
        turns = []
        for _ in range(2):
            await say(socket, "hi", id="m")
            turns.append((await events_until(socket))[0]["turn_id"])
        await say(socket, "something else", id="m")
        conflict = await next_event(socket)
    assert turns[0] == turns[1]
    assert len(faked.server.requests) == 1
    assert (conflict["type"], conflict["code"], conflict["id"]) == ("error", "conflict", "m")


async def test_conversations_of_the_api_are_conversations_here(faked: Faked) -> None:
    faked.will_reply(sse(*answer("both")))
    async with client_of(faked.parley) as client:
        id = await new_conversation(client)
        cookie = {"Cookie": f"parley_guest={client.cookies['parley_guest']}"}
        async with socket_of(faked.parley, "/ws/chat", **cookie) as socket:
            await say(socket, "hi", conversation_id=id)
            events = await events_until(socket)
        assert events[0]["content"]["conversation_id"] == id
        read = (await client.get(f"/api/v1/conversations/{id}/messages")).json()["data"]
    assert [message["content"] for message in read] == ["hi", "both"]
    async with socket_of(faked.parley) as eve:
        errors = []
        for foreign in (id, str(uuid4())):
            await say(eve, "mine", conversation_id=foreign)
            errors.append(await next_event(eve))
        for type in ("stop", "follow"):
            await eve.send(json.dumps({"type": type, "turn_id": events[0]["turn_id"]}))
            errors.append(await next_event(eve))
    assert {error["code"] for error in errors} == {"not_found"}
    assert errors[0]["content"] == errors[1]["content"]


BAD: list[str | bytes] = [
    b"\x00\x01",
    '{"type":"dance"}',
    '{"type":7}',
    "{}",
    '{"type":"message"}',
    '{"type":"message","message":7}',
    '{"type":"message","message":"x","colour":"red"}',
    '{"type":"message","message":"x","id":"a b"}',
    '{"type":"message","message":"x","id":""}',
    '{"type":"message","message":"x","conversation_id":"a/b"}',
    '{"type":"message","message":""}',
    '{"type":"message","message":"\\ud800"}',
    '{"type":"follow","turn_id":"00000000-0000-4000-8000-000000000000","after":-1}',
    '{"id":7,"text":"x"}',
    '{"type":"message","message":"x"',
    " ",
]


async def test_what_is_not_understood_is_said_and_the_socket_stays_open(faked: Faked) -> None:
    faked.will_reply(sse(*answer("still here")))
    before = len(answers(faked.parley))
    async with socket_of(faked.parley) as socket:
        for bad in BAD:
            await socket.send(bad)
            error = await next_event(socket)
            assert (error["type"], error["code"]) == ("error", "invalid_request"), bad
            assert error["content"]
        await say(socket, "x" * (64 * 1024 + 1))
        assert (await next_event(socket))["code"] == "too_large"
        await say(socket, "x", model="no:such")
        assert (await next_event(socket))["code"] == "unknown_model"
        assert len(answers(faked.parley)) == before
        await socket.send('{"type":"ping"}')
        assert await next_event(socket) == {"type": "pong"}
        await socket.send("{ that is just text")
        assert text_of(await events_until(socket)) == "still here"


async def test_a_frame_over_the_limit_of_a_body_ends_the_socket(faked: Faked) -> None:
    async with socket_of(faked.parley) as socket:
        await socket.send("x" * (1024 * 1024 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_older_clients_get_their_own_frames(faked: Faked) -> None:
    faked.will_reply(sse(*answer("Hello ", "Ada.")))
    async with socket_of(faked.parley) as socket:
        await socket.send('{"id":"q1","text":"hi"}')
        frames = [await next_event(socket)]
        while "".join(frame["text"] for frame in frames) != "Hello Ada.":
            frames.append(await next_event(socket))
        await socket.send('{"id":"q2","text":""}')
        refused = await next_event(socket)
    assert frames[0] == {"id": "q1", "text": ""}
    assert {frame["id"] for frame in frames} == {"q1"}
    assert refused["id"] == "q2"
    assert "empty" in refused["text"]


async def test_plain_clients_get_answers_whole(faked: Faked) -> None:
    faked.will_reply(sse(*answer("Hello ", "Ada.")), sse(*answer('{"an": "answer"}')))
    async with socket_of(faked.parley, "/ws?format=text") as socket:
        await socket.send("hi")
        assert await socket.recv() == "Hello Ada."
        await socket.send('{"type":"ping"}')
        assert await socket.recv() == '{"an": "answer"}'
        assert faked.server.requests[-1].json["messages"][-1]["content"] == '{"type":"ping"}'


async def test_a_turn_outlives_its_socket(faked: Faked) -> None:
    gate = asyncio.Event()
    faked.will_reply(sse(chunk("first "), wait(gate), *answer("second")))
    cookie = {"Cookie": await new_guest(faked.parley)}
    async with socket_of(faked.parley, **cookie) as socket:
        await say(socket, "hi")
        while (event := await next_event(socket))["type"] != "text":
            pass
    gate.set()
    await until(lambda: answers(faked.parley)[-1] == ("completed", "stop", "first second"))
    async with client_of(faked.parley) as client:
        path = f"/api/v1/turns/{event['turn_id']}"
        assert (await client.get(path, headers=cookie)).json()["state"] == "completed"


async def test_another_site_may_not_open_one(faked: Faked) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with socket_of(faked.parley, Origin="https://evil.example"):
            pass
    assert refused.value.response.status_code == 403


async def test_there_are_so_many_and_for_guests_only_where_they_are_let_in(tmp_path: Path) -> None:
    async with serving(tmp_path, DEMO | {"LIMIT_SOCKETS_PER_USER": "1"}) as parley:
        cookie = {"Cookie": await new_guest(parley)}
        async with socket_of(parley, **cookie):
            with pytest.raises(InvalidStatus):
                await socket_of(parley, **cookie).__aenter__()
            async with socket_of(parley) as other:
                await other.send('{"type":"ping"}')
                assert await next_event(other) == {"type": "pong"}
    async with serving(tmp_path, DEMO | {"ALLOW_GUESTS": "false"}) as parley:
        with pytest.raises(InvalidStatus) as refused:
            async with socket_of(parley):
                pass
    assert refused.value.response.status_code == 403
