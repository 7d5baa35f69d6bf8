"""Sockets that read nothing, say much, or nonsense: they fill no memory, and cost nobody else anything."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.e2e.conftest import Faked
from tests.e2e.page_socket import PageSocket, new_guest, page_socket
from tests.e2e.support import row_counts, select
from tests.e2e.visit import visit
from tests.fakes.model_server import answer, chunk, sse, wait
from tests.patience import PATIENCE_S, until
from tests.server import ParleyProcess

MIB = 1024 * 1024
FAVORITES = 20
ROUNDS = 100
FRAMES: dict[str, str | bytes] = {
    "nothing": "",
    "no kind": "x",
    "an unknown kind": "9",
    "base64 that is none": "b64",
    "bytes": b"\xff",
    "a message of nothing": "4",
    "a message nested deeply": "4" + "[" * 100_000,
    "no packet": '42["stop"',
    "a packet nested deeply": '42["stop",' + "[" * 100_000,
    "an attachment announced": '451-["stop"]',
    "a server's packet": "44{}",
    "an event without a name": "42[]",
}
# Of one thread: one that runs, and LIMIT_QUEUED_TURNS.
ACCEPTED = 51


@pytest.fixture
def parley(faked: Faked) -> ParleyProcess:
    faked.will_reply(sse(*answer("Hello ", "there.")))
    return faked.parley


def memory(parley: ParleyProcess) -> int:
    status = Path(f"/proc/{parley.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


def memory_from_now_on(parley: ParleyProcess) -> int:
    """Forget the peak so far: what it was before a test says nothing of what the test does."""
    Path(f"/proc/{parley.process.pid}/clear_refs").write_text("5")
    return memory(parley)


@asynccontextmanager
async def deaf_socket(parley: ParleyProcess, cookie: str) -> AsyncIterator[ClientConnection]:
    """A socket that reads until it is connected, and nothing after that."""
    url = parley.url.replace("http", "ws") + "/ws/socket.io/?EIO=4&transport=websocket"
    headers = {"cookie": cookie}
    async with connect(
        url,
        additional_headers=headers,
        max_queue=1,
        open_timeout=PATIENCE_S,
        ping_interval=None,
        close_timeout=0.1,
    ) as socket:
        await socket.recv()
        await socket.send("40" + json.dumps({"sessionId": str(uuid4()), "clientType": "webapp"}))
        await socket.recv()
        yield socket


async def flood(socket: ClientConnection, event: str, times: int) -> None:
    """Say the same again and again, until the other side has enough of it."""
    try:
        async with asyncio.timeout(5):
            for number in range(times):
                await socket.send(f"42{number}" + json.dumps([event, {}]))
    except (TimeoutError, ConnectionClosed):
        pass


async def have_favorites(socket: PageSocket) -> None:
    for count in range(1, FAVORITES + 1):
        step_id = await socket.say("x" * 60_000)
        await socket.next("update_message", count)
        marked = {"id": step_id, "metadata": {"favorite": True}}
        await socket.emit("message_favorite", {"message": marked})
        await socket.next("set_favorites", count)


@pytest.mark.parametrize(
    "event", ["fetch_favorites", "message_favorite", "edit_message", "connection_successful"]
)
async def test_deaf_socket_fills_no_memory(parley: ParleyProcess, event: str) -> None:
    cookie = await new_guest(parley)
    async with page_socket(parley, cookie) as socket:
        await have_favorites(socket)
        before = memory_from_now_on(parley)
        async with deaf_socket(parley, cookie) as deaf:
            await flood(deaf, event, 1000)
            # Meanwhile the process gets to all of it, and serves others.
            for count in range(1, ROUNDS + 1):
                await socket.emit("fetch_favorites")
                await socket.next("set_favorites", FAVORITES + count)
    assert memory(parley) - before < 50 * MIB
    shown = socket.all("set_favorites")[-1]
    assert len(shown) == FAVORITES
    assert {len(step["output"]) for step in shown} == {4000}


async def test_a_thousand_messages_are_refused_but_for_a_few(faked: Faked) -> None:
    """Somebody else's answer is written meanwhile; all in one thread, so that they queue."""
    parley, theirs, ours = faked.parley, asyncio.Event(), asyncio.Event()
    faked.will_reply(
        sse(chunk("Once upon"), wait(theirs), *answer(" a time.")),
        sse(chunk("Hello "), wait(ours), *answer("there.")),
    )
    async with (
        page_socket(parley, await new_guest(parley)) as other,
        page_socket(parley, await new_guest(parley)) as socket,
    ):
        await other.say("Tell me a story.")
        await other.next("new_message", 2)
        rows, bytes_before = row_counts(parley), memory_from_now_on(parley)
        refused = 0
        for said in range(20, 1020, 20):
            await asyncio.gather(*(socket.say("Me!") for _ in range(20)))
            refused = max(0, said - ACCEPTED)
            if refused:
                assert "wait for an answer" in await socket.next_error(refused)
            if said == 500:
                theirs.set()
                await other.next("task_end")
        assert refused == 1000 - ACCEPTED
        assert len(socket.errors()) == refused
        assert other.all("update_message")[0]["output"] == "Once upon a time."
        assert row_counts(parley)["turns"] - rows["turns"] == ACCEPTED
        assert row_counts(parley)["steps"] - rows["steps"] <= 2 * ACCEPTED
        assert memory(parley) - bytes_before < 20 * MIB
        ours.set()
        await socket.next("task_end", ACCEPTED)


async def test_a_thousand_messages_at_once_close_the_socket(faked: Faked) -> None:
    parley, gate = faked.parley, asyncio.Event()
    faked.will_reply(sse(chunk("Hello "), wait(gate), *answer("there.")))
    async with (
        page_socket(parley, await new_guest(parley)) as other,
        page_socket(parley, await new_guest(parley)) as socket,
    ):
        await other.say("hi")
        await other.next("new_message", 2)
        before = row_counts(parley)["turns"]
        await asyncio.gather(*(socket.say("Me!") for _ in range(1000)), return_exceptions=True)
        await socket.until_closed()
        gate.set()
        await other.next("task_end")
        await other.say("and now?")
        await other.next("task_end", 2)
        assert other.errors() == []
        await until(lambda: not select(parley, "SELECT 1 FROM turns WHERE state <> 'completed'"))
        assert row_counts(parley)["turns"] - before - 1 <= ACCEPTED


@pytest.mark.parametrize("what", FRAMES)
async def test_a_frame_that_makes_no_sense_is_ignored_or_ends_the_socket(
    parley: ParleyProcess, what: str
) -> None:
    """In the log it is a line at the most, and no traceback."""
    logged = len(parley.log_text())
    async with deaf_socket(parley, await new_guest(parley)) as socket:
        with suppress(ConnectionClosed):
            await socket.send(FRAMES[what])
            await socket.send('42["edit_message"]')
            assert "Request id" in str(await asyncio.wait_for(socket.recv(), 10))
    async with page_socket(parley, await new_guest(parley)) as other:
        await other.say("hi")
        await other.next("task_end")
    assert "Traceback" not in parley.log_text()[logged:]


async def test_name_of_a_thread_is_cut(parley: ParleyProcess) -> None:
    async with visit(parley, await new_guest(parley)) as visited:
        await visited.send("hi")
        thread_id = (await visited.socket.next("first_interaction"))["thread_id"]
        body = {"threadId": thread_id, "name": "n" * 900_000}
        assert (await visited.client.put("/project/thread", json=body)).status_code == 200
    ((length,),) = select(
        parley, "SELECT length(name) FROM threads WHERE id = ?", thread_id.replace("-", "")
    )
    assert 0 < length <= 255


async def test_a_socket_that_another_replaced_is_not_listened_to(parley: ParleyProcess) -> None:
    """In the log there is no traceback for what it still says."""
    cookie = await new_guest(parley)
    auth = {"sessionId": str(uuid4()), "clientType": "webapp"}
    before, logged = row_counts(parley)["turns"], len(parley.log_text())
    async with page_socket(parley, cookie, auth) as old, page_socket(parley, cookie, auth) as new:
        for event in ("client_message", "stop", "connection_successful", "fetch_favorites"):
            await old.emit(event, {})
        await old.say("Too late.")
        await new.say("In time.")
        await new.next("task_end")
    assert row_counts(parley)["turns"] == before + 1
    assert old.received == []
    assert "Traceback" not in parley.log_text()[logged:]
