"""Three replicas on one PostgreSQL and one Redis: whatever dies, each message has one answer.

Readers connect to any of them. After each fault the last check is the same: one final answer in the
row, the whole of it for the reader, ids that rise, and nothing shown that is not stored in the end.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.e2e.page_socket import new_guest, page_socket
from tests.e2e.replicas import Reading, Replicas, replicas
from tests.e2e.storyteller import story
from tests.e2e.support import PATIENT
from tests.e2e.ws_client import events_until, say, socket_of
from tests.patience import PATIENCE_S, eventually, until

pytestmark = [pytest.mark.needs_postgres, pytest.mark.needs_redis]

# What one user may have in all replicas together.
RUNNING, QUEUED = 3, 4


@pytest.fixture(scope="module")
async def trio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Replicas]:
    """Three replicas for the module; every test leaves them running."""
    limits: dict[str, Any] = {
        "LIMIT_RUNNING_TURNS": str(RUNNING),
        "LIMIT_QUEUED_TURNS": str(QUEUED),
    }
    async with replicas(tmp_path_factory.mktemp("trio"), **limits | PATIENT) as it:
        yield it


def a_reading(length: int = 40, session_id: str | None = None) -> Reading:
    return Reading(session_id or uuid4().hex, f"{uuid4().hex[:8]} {length}")


async def begun(trio: Replicas, reading: Reading, on: int = 0) -> asyncio.Task[Reading]:
    """Ask on one replica, and read on the next one; the story stands still when it is begun."""
    trio.teller.goes_on.clear()
    beginning = story(reading.message).split(" ")[0]
    await trio.read(reading, on, until=beginning)
    other = asyncio.ensure_future(trio.read(reading, on + 1))
    await until(lambda: reading.text.startswith(beginning))
    return other


async def ended(trio: Replicas, reading: Reading, reader: asyncio.Task[Reading]) -> None:
    trio.teller.goes_on.set()
    async with asyncio.timeout(2 * PATIENCE_S):
        await reader
    await trio.check(reading)
    assert reading.text == story(reading.message)
    assert reading.finish_reason == "stop"


async def test_a_turn_is_followed_on_another_replica(trio: Replicas) -> None:
    reading = a_reading()
    reader = await begun(trio, reading)
    assert await trio.owner_of(str(reading.turn_id)) == 0
    await ended(trio, reading, reader)
    assert trio.teller.calls[reading.message] == 1


async def test_an_owner_that_is_killed_is_inherited(trio: Replicas) -> None:
    reading = a_reading()
    reader = await begun(trio, reading)
    await asyncio.to_thread(trio.parleys[0].kill)
    try:
        await ended(trio, reading, reader)
        assert [a["keep"] for a in reading.attempts] == [True, False], "it began again, visibly"
        assert reading.attempts[-1]["reason"] == "another server carries on"
        assert trio.teller.calls[reading.message] == 2
    finally:
        await trio.restart(0)


async def test_a_reader_goes_on_elsewhere_where_it_was(trio: Replicas) -> None:
    reading = a_reading()
    reading.resumes = True
    trio.teller.goes_on.clear()
    await trio.read(reading, 0, until=story(reading.message).split(" ")[0])
    reader = asyncio.ensure_future(trio.read(reading, 1))
    await asyncio.to_thread(trio.parleys[0].kill)
    try:
        await ended(trio, reading, reader)
    finally:
        await trio.restart(0)


async def test_a_frozen_owner_writes_nothing_when_it_wakes_up(trio: Replicas) -> None:
    reading = a_reading()
    reader = await begun(trio, reading)
    trio.signal(0, signal.SIGSTOP)
    try:
        trio.teller.goes_on.set()  # it has much to say when it wakes up
        async with asyncio.timeout(PATIENCE_S):
            await reader
        row = await trio.check(reading)
        assert (row["fence"], reading.text) == (2, story(reading.message))
    finally:
        trio.signal(0, signal.SIGCONT)
    await until(lambda: "another server's now" in trio.parleys[0].log_text())
    assert (await trio.check(reading))["output"] == row["output"]
    again = Reading(reading.session_id, reading.message, key=reading.key)
    await trio.read(again, 0)
    assert again.text == story(reading.message)
    assert again.turn_id == reading.turn_id


async def test_an_owner_that_ends_hands_over(trio: Replicas) -> None:
    reading = a_reading()
    reader = await begun(trio, reading)
    queued = a_reading(5, reading.session_id)
    waits = asyncio.ensure_future(trio.read(queued, 0))
    await until(lambda: queued.turn_id)
    trio.signal(0, signal.SIGTERM)
    try:
        await until(lambda: trio.parleys[0].process.poll() is not None)
        await ended(trio, reading, reader)
        await waits
        await trio.check(queued)
        assert queued.text == story(queued.message)
        said = [m["content"] for m in trio.teller.heard[queued.message]]
        assert story(reading.message) in said, "it saw the answer before it"
    finally:
        await trio.restart(0)


async def test_redis_that_begins_anew_costs_nothing(trio: Replicas) -> None:
    reading = a_reading()
    reader = await begun(trio, reading)
    await trio.restart_redis()
    await ended(trio, reading, reader)
    assert trio.teller.calls[reading.message] == 1
    following = a_reading(5, reading.session_id)
    await trio.read(following, 2)
    await trio.check(following)


async def test_postgres_that_begins_anew_costs_nothing(trio: Replicas) -> None:
    reading = a_reading()
    reader = await begun(trio, reading)
    await trio.restart_postgres()
    await ended(trio, reading, reader)
    row = await trio.check(reading)
    assert (row["fence"], trio.teller.calls[reading.message]) == (1, 1), "nobody was dead"


async def test_an_owner_cut_off_from_redis_goes_on(trio: Replicas) -> None:
    reading = a_reading(80)
    reader = await begun(trio, reading)
    await trio.lines[0].cut()
    try:
        trio.teller.goes_on.set()
        async with asyncio.timeout(PATIENCE_S):
            await reader
        await trio.check(reading)
        assert reading.text == story(reading.message)
        assert trio.teller.calls[reading.message] == 1
    finally:
        await trio.lines[0].mend()
    following = a_reading(5, reading.session_id)
    await trio.read(following, 1)
    await trio.check(following)


async def test_what_an_owner_without_redis_has_shown_outlives_it(trio: Replicas) -> None:
    """Its log ends where it was cut off; its checkpoints go on."""
    reading = a_reading(1000)
    reader = asyncio.ensure_future(trio.read(reading, 0))
    await until(lambda: reading.shown)
    await trio.lines[0].cut()
    length = len(reading.text)
    await until(lambda: len(reading.text) > length + 200)
    trio.teller.goes_on.clear()
    await trio.saved(reading)
    trio.signal(0, signal.SIGSTOP)
    try:
        await trio.stop(reading, 1)
        assert (await trio.check(reading))["finish_reason"] == "stopped"
    finally:
        trio.signal(0, signal.SIGCONT)
        await trio.lines[0].mend()
        trio.teller.goes_on.set()
    async with asyncio.timeout(PATIENCE_S):
        await reader
    assert (await trio.check(reading))["output"] == reading.text


async def test_messages_from_several_replicas_are_answered_in_order(trio: Replicas) -> None:
    first = a_reading(10)
    reader = await begun(trio, first)
    others = [a_reading(3, first.session_id) for _ in range(4)]
    waits = []
    for on, reading in enumerate(others):
        waits.append(asyncio.ensure_future(trio.read(reading, on)))
        await until(lambda reading=reading: reading.turn_id)  # type: ignore[misc]  # mypy: a lambda with a default
    await ended(trio, first, reader)
    await asyncio.gather(*waits)
    before = story(first.message)
    for reading in others:
        await trio.check(reading)
        said = [message["content"] for message in trio.teller.heard[reading.message]]
        assert before in said
        before = story(reading.message)
        assert trio.teller.calls[reading.message] == 1


async def test_several_surfaces_wait_in_one_queue(trio: Replicas) -> None:
    cookie = await new_guest(trio.parleys[0])
    headers = {"cookie": cookie}
    messages = [f"{uuid4().hex[:8]} 3" for _ in range(4)]
    made = await trio.clients[0].post("/api/v1/conversations", json={}, headers=headers)
    thread_id = made.json()["conversation_id"]

    async def arrived(count: int) -> None:
        async def are_there() -> bool:
            statement = "SELECT 1 FROM turns WHERE thread_id = $1"
            return len(await trio.rows(statement, thread_id)) >= count

        await eventually(are_there)

    auth = {"sessionId": str(uuid4()), "threadId": thread_id, "clientType": "webapp"}
    async with (
        socket_of(trio.parleys[1], cookie=cookie) as socket,
        page_socket(trio.parleys[2], cookie, auth) as browser,
        asyncio.TaskGroup() as tasks,
    ):
        await browser.emit("connection_successful")
        await browser.next("resume_thread")
        trio.teller.goes_on.clear()
        path = f"/api/v1/conversations/{thread_id}/messages"
        body = {"message": messages[0]}
        tasks.create_task(trio.clients[0].post(path, json=body, headers=headers))
        await arrived(1)
        await say(socket, messages[1], conversation_id=thread_id)
        await arrived(2)
        asked = {"model": "openai:fake", "messages": [{"role": "user", "content": messages[2]}]}
        openai = headers | {"x-conversation-id": thread_id}
        post = trio.clients[1].post("/v1/chat/completions", json=asked, headers=openai)
        completed = tasks.create_task(post)
        await arrived(3)
        await browser.say(messages[3])
        await arrived(4)
        trio.teller.goes_on.set()
        await events_until(socket)
    answer = completed.result().json()["choices"][0]["message"]["content"]
    assert answer == story(messages[2])
    await until(lambda: messages[3] in trio.teller.calls)
    for before, message in pairwise(messages):
        assert story(before) in [said["content"] for said in trio.teller.heard[message]]
        assert trio.teller.calls[message] == 1


async def test_limits_are_those_of_all_replicas_together(trio: Replicas) -> None:
    headers = {"cookie": await new_guest(trio.parleys[0])}

    async def asked(on: int, conversation_id: str) -> httpx2.Response:
        url = f"/api/v1/conversations/{conversation_id}/messages"
        body = {"message": f"{uuid4().hex[:8]} 3"}
        return await trio.clients[on % 3].post(url, json=body, headers=headers)

    async def refused(conversation_ids: list[str], most: int, word: str) -> None:
        """Ask in all of these at once, of which so many are answered."""
        asks = [asyncio.ensure_future(asked(n, id)) for n, id in enumerate(conversation_ids)]
        await until(lambda: sum(ask.done() for ask in asks) == len(asks) - most)
        for response in [ask.result() for ask in asks if ask.done()]:
            assert response.status_code == 429
            assert "retry-after" in response.headers
            error = response.json()["error"]
            assert (error["code"], word in error["message"]) == ("rate_limited", True), error
        accepted.extend(ask for ask in asks if not ask.done())

    accepted: list[asyncio.Future[httpx2.Response]] = []
    made = [
        (await trio.clients[0].post("/api/v1/conversations", json={}, headers=headers)).json()
        for _ in range(9)
    ]
    ids = [each["conversation_id"] for each in made]
    trio.teller.goes_on.clear()
    try:
        await refused(ids, RUNNING, "answers")
        rows = await trio.rows(
            "SELECT thread_id FROM turns WHERE state = 'running' AND thread_id = ANY($1::uuid[])",
            ids,
        )
        await refused([str(rows[0]["thread_id"])] * 9, QUEUED, "wait")
    finally:
        trio.teller.goes_on.set()
    for response in await asyncio.gather(*accepted):
        assert response.status_code == 200
        assert '"finish_reason":"stop"' in response.text


async def test_a_queued_turn_is_stopped_elsewhere_before_it_starts(trio: Replicas) -> None:
    first = a_reading(10)
    reader = await begun(trio, first)
    queued = a_reading(10, first.session_id)
    waits = asyncio.ensure_future(trio.read(queued, 0))
    await until(lambda: queued.turn_id)
    await trio.stop(queued, 2)
    async with asyncio.timeout(PATIENCE_S):
        await waits
    assert queued.finish_reason == "stopped"
    await ended(trio, first, reader)
    assert queued.message not in trio.teller.calls


async def test_a_stop_by_api_on_any_replica_keeps_what_is_there(trio: Replicas) -> None:
    reading = a_reading(1000)
    reader = asyncio.ensure_future(trio.read(reading, 0))
    await until(lambda: len(reading.text) > len(reading.message))
    await trio.stop(reading, 1)
    await until(lambda: reading.message in trio.teller.left_at)
    async with asyncio.timeout(PATIENCE_S):
        await reader
    assert reading.finish_reason == "stopped"
    assert (await trio.check(reading))["output"] == reading.text


async def test_a_stop_on_any_replica_closes_the_connection(trio: Replicas) -> None:
    cookie = await new_guest(trio.parleys[0])
    message = f"{uuid4().hex[:8]} 1000"
    async with page_socket(trio.parleys[0], cookie) as socket:
        await socket.say(message)
        thread_id = (await socket.next("first_interaction"))["thread_id"]
        await until(lambda: message in trio.teller.calls)
        auth = {"sessionId": str(uuid4()), "threadId": thread_id, "clientType": "webapp"}
        async with page_socket(trio.parleys[1], cookie, auth) as elsewhere:
            await elsewhere.emit("connection_successful")
            await elsewhere.next("resume_thread")
            await elsewhere.emit("stop")
            await until(lambda: message in trio.teller.left_at)
    row = await trio.answer_to(message)
    assert row["state"] == "stopped"
    assert story(message).startswith(row["output"])
