"""A turn belongs to its thread: it survives who asked, and what is there of it the process."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx2

from tests.e2e.conftest import Faked
from tests.e2e.page_socket import new_guest, page_socket
from tests.e2e.resumable import new_conversation
from tests.e2e.support import (
    answers,
    asks,
    chat,
    chat_events,
    client_of,
    row_counts,
    serving,
    text_of,
)
from tests.fakes.model_server import answer, chunk, hang, model_server, sse, wait
from tests.patience import until
from tests.server import ParleyProcess
from tests.services import postgres_at_rest
from tests.sse_reader import read_events

BODY = {"session_id": "leaving", "message": "Tell me a story."}


async def test_leaving_does_not_stop_the_turn(
    faked: Faked, faked_client: httpx2.AsyncClient
) -> None:
    gate = asyncio.Event()
    faked.will_reply(sse(chunk("Once upon"), wait(gate), *answer(" a time.")))
    async with faked_client.stream("POST", "/chat", json=BODY) as response:
        assert b"Once upon" in await anext(response.aiter_bytes())
    gate.set()
    await until(lambda: answers(faked.parley)[-1][0] == "completed")
    assert answers(faked.parley)[-1] == ("completed", "stop", "Once upon a time.")
    assert not faked.server.left.is_set()


async def test_who_left_gets_the_answer_by_its_key(
    faked: Faked, faked_client: httpx2.AsyncClient
) -> None:
    gate = asyncio.Event()
    faked.will_reply(sse(chunk("Once upon"), wait(gate), *answer(" a time.")))
    body, key = BODY | {"session_id": "returning"}, {"idempotency-key": "my-key"}
    async with faked_client.stream("POST", "/chat", json=body, headers=key) as response:
        assert b"Once upon" in await anext(response.aiter_bytes())
    again = asyncio.ensure_future(faked_client.post("/chat", json=body, headers=key))
    gate.set()
    *pieces, _ = read_events((await again).content)
    assert "".join(pieces) == "Once upon a time."
    assert len(faked.server.requests) == 1


async def test_messages_of_a_session_are_answered_in_order(
    faked: Faked, faked_client: httpx2.AsyncClient
) -> None:
    gate = asyncio.Event()
    faked.will_reply(sse(wait(gate), *answer("first")), sse(*answer("second")))
    one = asyncio.ensure_future(chat(faked_client, "1", session_id="queue"))
    await until(faked.server.asked.is_set)
    before = row_counts(faked.parley)["turns"]
    other = asyncio.ensure_future(chat(faked_client, "2", session_id="queue"))
    await until(lambda: row_counts(faked.parley)["turns"] == before + 1)
    assert len(faked.server.requests) == 1
    gate.set()
    assert (await one, await other) == ("first", "second")
    assert "first" in faked.server.requests[1].body.decode()


async def test_sigterm_lets_an_answer_finish(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with model_server(sse(chunk("Once upon"), wait(gate), *answer(" a time."))) as server:
        async with serving(tmp_path, asks(server)) as parley, client_of(parley) as client:
            async with client.stream("POST", "/chat", json=BODY) as response:
                pieces = response.aiter_bytes()
                assert b"Once upon" in await anext(pieces)
                parley.process.terminate()
                await until(lambda: "Shutting down" in parley.log_text())
                gate.set()
                assert b"[DONE]" in b"".join([piece async for piece in pieces])
            await until(lambda: parley.process.poll() is not None)
        assert answers(parley) == [("completed", "stop", "Once upon a time.")]


async def test_sigterm_interrupts_what_takes_too_long(tmp_path: Path) -> None:
    async with model_server(sse(chunk("Once upon"), hang)) as server:
        async with serving(tmp_path, asks(server)) as parley, client_of(parley) as client:
            events, text = BODY | {"format": "events"}, BODY | {"session_id": "of-text"}
            async with (
                client.stream("POST", "/chat", json=events) as of_events,
                client.stream("POST", "/chat", json=text) as of_text,
            ):
                pieces, texts = of_events.aiter_bytes(), of_text.aiter_bytes()
                assert b"turn_start" in await anext(pieces)
                read = await anext(texts)
                await until(lambda: [output for *_, output in answers(parley)] == ["Once upon"] * 2)
                parley.process.terminate()
                rest, more = await asyncio.gather(_rest(pieces), _rest(texts))
            await until(lambda: parley.process.poll() is not None)
        assert b'"code":"shutting_down"' in rest, "its reader sees why"
        assert b'"finish_reason":"interrupted"' in rest, "and the end"
        *said, end = read_events(read + more)
        assert "".join(said).startswith("Once upon\n\nThe server stopped"), "it is not all"
        assert end == "[DONE]"
        assert answers(parley) == [("interrupted", "interrupted", "Once upon")] * 2
        await until(server.left.is_set)


async def _rest(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def test_a_crash_leaves_the_checkpoint(tmp_path: Path) -> None:
    """For who asks again, and for the page that is opened again."""
    async with (
        model_server(sse(chunk("Once upon"), hang)) as server,
        serving(tmp_path, asks(server)) as parley,
        client_of(parley) as client,
    ):
        cookie = await new_guest(parley)
        async with (
            client.stream("POST", "/chat", json=BODY) as response,
            page_socket(parley, cookie) as socket,
        ):
            assert b"Once upon" in await anext(response.aiter_bytes())
            await socket.say("Tell me a story.")
            thread_id = (await socket.next("first_interaction"))["thread_id"]
            await until(lambda: [output for *_, output in answers(parley)] == ["Once upon"] * 2)
            await asyncio.to_thread(parley.kill)
        assert answers(parley) == [("running", None, "Once upon")] * 2
        await asyncio.to_thread(parley.start)
        assert answers(parley) == [("interrupted", "interrupted", "Once upon")] * 2
        server.replies[:] = [sse(*answer("Still here."))]
        assert await chat(client, "Are you there?", session_id="leaving") == "Still here."
        auth = {"sessionId": str(uuid4()), "threadId": thread_id, "clientType": "webapp"}
        async with page_socket(parley, cookie, auth) as socket:
            await socket.emit("connection_successful")
            steps = (await socket.next("resume_thread"))["steps"]
    question, _run, answered, error = steps
    assert question["output"] == "Tell me a story."
    assert (answered["output"], answered["isError"]) == ("Once upon", False)
    assert "The server stopped" in error["output"]
    assert error["isError"]


async def test_a_second_process_leaves_the_turns_of_the_first(tmp_path: Path) -> None:
    gate, other_home = asyncio.Event(), tmp_path / "other"
    other_home.mkdir()
    async with (
        model_server(sse(chunk("Once upon"), wait(gate), *answer(" a time."))) as server,
        serving(tmp_path, asks(server)) as parley,
        client_of(parley) as client,
    ):
        async with client.stream("POST", "/chat", json=BODY) as response:
            pieces = response.aiter_bytes()
            assert b"Once upon" in await anext(pieces)
            url = f"sqlite:///{tmp_path}/.parley/parley.db"
            async with serving(other_home, asks(server) | {"DATABASE_URL": url}):
                assert answers(parley)[0][0] == "running"
            assert answers(parley)[0][0] == "running"
            gate.set()
            assert b"[DONE]" in b"".join([piece async for piece in pieces])
        assert answers(parley) == [("completed", "stop", "Once upon a time.")]


async def test_stop_stops_without_the_database(tmp_path: Path) -> None:
    async with (
        model_server(sse(chunk("Once upon"), hang)) as server,
        serving(tmp_path, asks(server)) as parley,
        client_of(parley) as client,
        page_socket(parley, await new_guest(parley)) as socket,
    ):
        await socket.say("Tell me a story.")
        await socket.next("new_message")
        with locked(parley):
            writing = asyncio.ensure_future(new_conversation(client))
            await socket.emit("stop")
            await until(server.left.is_set)
            assert not writing.done(), "SQLite waits 5 s for the lock"
        await writing
        await until(lambda: answers(parley) == [("stopped", "stopped", "Once upon")])


@contextmanager
def locked(parley: ParleyProcess) -> Iterator[None]:
    """Let nobody else write into the database."""
    path = parley.directory / ".parley" / "parley.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


async def test_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    async with model_server(sse(*answer("Hello ", "Ada."))) as server:
        environment = asks(server) | {"DATABASE_URL": postgres_url}
        async with serving(tmp_path, environment) as parley, client_of(parley) as client:
            events = await chat_events(client, "My name is Ada.")
            assert text_of(events) == "Hello Ada."
            await asyncio.to_thread(parley.stop)
            await asyncio.to_thread(parley.start)
            assert (await client.get("/readyz")).json() == {"status": "ready"}
            await chat(client, "What is my name?")
        assert "Hello Ada." in server.requests[-1].body.decode()
        assert not (tmp_path / ".parley" / "parley.db").exists()


async def test_database_that_goes_and_comes_back(tmp_path: Path) -> None:
    """In mid-turn: the answer goes on, and `done` comes when it is saved, not before."""
    gate = asyncio.Event()
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(postgres_at_rest())
        running = stack.enter_context(ExitStack())
        running.enter_context(postgres.running())
        replies = sse(chunk("Once upon"), wait(gate), *answer(" a time."))
        server = await stack.enter_async_context(model_server(replies))
        environment = asks(server) | {"DATABASE_URL": postgres.url("postgres")}
        parley = await stack.enter_async_context(serving(tmp_path, environment))
        client = await stack.enter_async_context(client_of(parley))
        async with client.stream("POST", "/chat", json=BODY) as response:
            pieces = response.aiter_bytes()
            read = await anext(pieces)
            await asyncio.to_thread(running.close)
            assert (await client.get("/readyz")).status_code == 503
            refused = await client.post("/chat", json=BODY | {"session_id": "other"})
            assert refused.json()["error"]["code"] == "storage_unavailable"
            gate.set()
            while b" time." not in read:
                read += await anext(pieces)
            assert b"[DONE]" not in read
            running.enter_context(postgres.running())
            read += b"".join([piece async for piece in pieces])
        assert "".join(read_events(read)) == "Once upon a time.[DONE]"
        server.replies[:] = [sse(*answer("Then"))]
        assert await chat(client, "And then?", session_id="leaving") == "Then"
        assert "Once upon a time." in server.requests[-1].body.decode()
