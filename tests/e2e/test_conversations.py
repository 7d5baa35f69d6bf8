"""The conversations and turns API, over real sockets of a real process."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.e2e.conftest import Faked
from tests.e2e.resumable import new_conversation, received, say
from tests.e2e.support import client_of, text_of
from tests.fakes.model_server import answer, chunk, sse, wait
from tests.patience import PATIENCE_S, until

API = "/api/v1"


@pytest.fixture
async def ada(faked: Faked) -> AsyncIterator[httpx2.AsyncClient]:
    """A guest of her own, by the cookie that her first request gave her."""
    async with client_of(faked.parley) as client:
        assert (await client.get(f"{API}/conversations")).json()["data"] == []
        assert "parley_guest" in client.cookies
        yield client


async def test_a_conversation_from_its_first_to_its_last_day(
    faked: Faked, ada: httpx2.AsyncClient
) -> None:
    faked.will_reply(sse(*answer("It is ", "a thread.")))
    made = (await ada.post(f"{API}/conversations", json={"metadata": {"a": 1, "b": 2}})).json()
    id = made["conversation_id"]
    assert made["title"] == ""
    assert made["model"] is None

    events = await say(ada, id, "What is a quokka?")
    assert text_of(events) == "It is a thread."
    assert [event["type"] for event in events].count("done") == 1

    read = (await ada.get(f"{API}/conversations/{id}")).json()
    assert (read["title"], read["model"]) == ("What is a quokka?", "openai:fake")
    assert read["updated_at"] > read["created_at"]
    question, said = (await ada.get(f"{API}/conversations/{id}/messages")).json()["data"]
    assert (question["role"], question["content"]) == ("user", "What is a quokka?")
    assert (said["role"], said["content"], said["finish_reason"]) == (
        "assistant",
        "It is a thread.",
        "stop",
    )
    assert said["usage"]["output_tokens"] > 0
    assert said["message_id"] == events[0]["content"]["message_id"]

    changes = {"title": "  Marsupials\n", "metadata": {"a": None, "c": 3}}
    changed = (await ada.patch(f"{API}/conversations/{id}", json=changes)).json()
    assert (changed["title"], changed["metadata"]) == ("Marsupials", {"b": 2, "c": 3})

    (found,) = (await ada.get(f"{API}/conversations", params={"q": "quok"})).json()["data"]
    assert found["conversation_id"] == id
    assert "quokka" in found["match"]["text"]

    assert (await ada.delete(f"{API}/conversations/{id}")).status_code == 204
    assert (await ada.get(f"{API}/conversations/{id}")).status_code == 404
    assert (await ada.delete(f"{API}/conversations/{id}")).status_code == 404
    path = f"{API}/conversations/{id}/messages"
    assert (await ada.post(path, json={"message": "hi"})).status_code == 404


async def test_pages_have_everything_once(faked: Faked, ada: httpx2.AsyncClient) -> None:
    ids = [await new_conversation(ada, title=f"no. {number}") for number in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        asked: dict[str, str | int] = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await ada.get(f"{API}/conversations", params=asked)).json()
        seen += [each["conversation_id"] for each in page["data"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert sorted(seen) == sorted(ids)
    assert seen[0] == ids[-1]


async def test_messages_in_pages_from_both_ends(faked: Faked, ada: httpx2.AsyncClient) -> None:
    faked.will_reply(sse(*answer("one")), sse(*answer("two")), sse(*answer("three")))
    id = await new_conversation(ada)
    for number in "123":
        await say(ada, id, number)
    path = f"{API}/conversations/{id}/messages"
    texts: dict[str, list[str]] = {"asc": [], "desc": []}
    for order, read in texts.items():
        cursor: str | None = ""
        while cursor is not None:
            asked: dict[str, str | int] = {
                "limit": 4,
                "order": order,
                **({"cursor": cursor} if cursor else {}),
            }
            page = (await ada.get(path, params=asked)).json()
            read += [each["content"] for each in page["data"]]
            cursor = page["next_cursor"]
    assert texts["asc"] == ["1", "one", "2", "two", "3", "three"]
    assert texts["desc"] == texts["asc"][::-1]


async def test_the_same_key_is_the_same_turn(faked: Faked, ada: httpx2.AsyncClient) -> None:
    faked.will_reply(sse(*answer("once")))
    id = await new_conversation(ada)
    first = await say(ada, id, "hi", **{"idempotency-key": "k"})
    again = await say(ada, id, "hi", **{"idempotency-key": "k"})
    assert first[0]["turn_id"] == again[0]["turn_id"]
    assert text_of(again) == "once"
    assert len(faked.server.requests) == 1
    refused = await ada.post(
        f"{API}/conversations/{id}/messages",
        json={"message": "other"},
        headers={"idempotency-key": "k"},
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")


async def test_another_sees_and_does_nothing(faked: Faked, ada: httpx2.AsyncClient) -> None:
    faked.will_reply(sse(*answer("private")))
    id = await new_conversation(ada)
    events = await say(ada, id, "hi")
    turn, unknown = events[0]["turn_id"], str(uuid4())
    async with client_of(faked.parley) as eve:
        await eve.get(f"{API}/conversations")
        for method, foreign in [
            ("GET", f"conversations/{id}"),
            ("PATCH", f"conversations/{id}"),
            ("DELETE", f"conversations/{id}"),
            ("GET", f"conversations/{id}/messages"),
            ("POST", f"conversations/{id}/messages"),
            ("GET", f"turns/{turn}"),
            ("GET", f"turns/{turn}/events"),
            ("GET", f"turns/{turn}/context"),
            ("POST", f"turns/{turn}/stop"),
        ]:
            missing = foreign.replace(id, unknown).replace(turn, unknown)
            body = {"message": "mine"} if method == "POST" else {"title": "mine"}
            sent: dict[str, Any] = {} if method in {"GET", "DELETE"} else {"json": body}
            answers = [
                await eve.request(method, f"{API}/{at}", **sent) for at in (foreign, missing)
            ]
            assert [each.status_code for each in answers] == [404, 404], foreign
            said = [each.json()["error"]["message"] for each in answers]
            assert said[0] == said[1]
    assert text_of(await _events(ada, turn)) == "private"


async def test_a_turn_is_followed_from_where_the_connection_broke(
    faked: Faked, ada: httpx2.AsyncClient
) -> None:
    gate = asyncio.Event()
    faked.will_reply(sse(chunk("one "), wait(gate), *answer("two")))
    id = await new_conversation(ada)
    path = f"{API}/conversations/{id}/messages"
    async with ada.stream("POST", path, json={"message": "hi"}) as response:
        assert response.headers["x-accel-buffering"] == "no"
        async for each in received(response):
            if each.event["type"] == "text":
                break
    turn = each.event["turn_id"]
    state = (await ada.get(f"{API}/turns/{turn}")).json()
    assert (state["state"], state["conversation_id"]) == ("running", id)
    gate.set()
    rest = await _events(ada, turn, **{"last-event-id": each.id})
    assert text_of(rest) == "two"
    assert rest[-1]["type"] == "done"
    state = (await ada.get(f"{API}/turns/{turn}")).json()
    assert (state["state"], state["finish_reason"]) == ("completed", "stop")
    assert state["attempts"][0]["outcome"] == "completed"


async def test_after_the_end_a_browser_is_told_to_stay_away(
    faked: Faked, ada: httpx2.AsyncClient
) -> None:
    faked.will_reply(sse(*answer("done")))
    (*_, done) = events = await say(ada, await new_conversation(ada), "hi")
    path = f"{API}/turns/{events[0]['turn_id']}/events"
    assert done["type"] == "done"
    whole = await _events(ada, events[0]["turn_id"])
    assert text_of(whole) == "done"
    last = {"last-event-id": str(max(whole[-1]["seq"], done["seq"]))}
    assert (await ada.get(path, headers=last)).status_code == 204


async def test_stop_keeps_what_there_is(faked: Faked, ada: httpx2.AsyncClient) -> None:
    faked.will_reply(sse(chunk("half"), wait(asyncio.Event())))
    id = await new_conversation(ada)
    path = f"{API}/conversations/{id}/messages"
    async with ada.stream("POST", path, json={"message": "hi"}) as response:
        events = []
        async for each in received(response):
            events.append(each.event)
            if each.event["type"] == "text":
                stopped = await ada.post(f"{API}/turns/{each.event['turn_id']}/stop")
                assert stopped.status_code == 202
    assert events[-1]["content"]["finish_reason"] == "stopped"
    await until(faked.server.left.is_set)
    again = await ada.post(f"{API}/turns/{events[0]['turn_id']}/stop")
    assert (again.status_code, again.json()["state"]) == (200, "stopped")
    (_, said) = (await ada.get(path)).json()["data"]
    assert (said["content"], said["finish_reason"]) == ("half", "stopped")


@pytest.mark.parametrize("cursor", ["x", "-1", "1e3", "٣", "9" * 19])
async def test_a_cursor_that_is_none(ada: httpx2.AsyncClient, faked: Faked, cursor: str) -> None:
    faked.will_reply(sse(*answer("hm")))
    events = await say(ada, await new_conversation(ada), "hi")
    path = f"{API}/turns/{events[0]['turn_id']}/events"
    response = await ada.get(path, headers={b"last-event-id": cursor.encode()})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("beyond", [1000, 2**32, 2**60])
async def test_a_cursor_from_the_future_gets_all_of_it(
    ada: httpx2.AsyncClient, faked: Faked, beyond: int
) -> None:
    """Whoever has it has something else: what is there replaces it."""
    gate = asyncio.Event()
    faked.will_reply(sse(chunk("one "), wait(gate), *answer("two")))
    id = await new_conversation(ada)
    path = f"{API}/conversations/{id}/messages"
    async with ada.stream("POST", path, json={"message": "hi"}) as response:
        async for each in received(response):
            if each.event["type"] == "text":
                break
    turn = each.event["turn_id"]
    cursor = {"last-event-id": str(int(each.id) + beyond)}
    reader = asyncio.ensure_future(_events(ada, turn, **cursor))
    await asyncio.sleep(0)
    gate.set()
    live = await reader
    over = await _events(ada, turn, **cursor)
    for events in (live, over):
        (*_, snapshot) = [e for e in events if e["type"] == "snapshot"]
        rest = [e for e in events[events.index(snapshot) :] if e["type"] == "text"]
        assert snapshot["content"]["text"] + text_of(rest) == "one two"
        assert [e["type"] for e in events].count("done") == 1


async def _events(client: httpx2.AsyncClient, turn_id: str, **headers: str) -> list[dict[str, Any]]:
    async with (
        asyncio.timeout(PATIENCE_S),
        client.stream("GET", f"{API}/turns/{turn_id}/events", headers=headers) as response,
    ):
        return [each.event async for each in received(response)]
