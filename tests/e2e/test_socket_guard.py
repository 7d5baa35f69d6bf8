"""The page's socket believes nothing: every id, every payload, every origin is checked.

Defensive tests: they show that the guard refuses, not what an unguarded server would do.
"""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from tests.e2e.conftest import Faked
from tests.e2e.page_socket import PageSocket, new_guest, page_socket
from tests.e2e.support import chat, client_of, row_counts, select
from tests.fakes.model_server import answer, sse
from tests.patience import until
from tests.server import ParleyProcess

_LOST = "This conversation is not here: it was deleted, or it is somebody else's."

NO_UUIDS = {
    "a path": "../../x",
    "upper case": str(uuid4()).upper(),
    "braces": f"{{{uuid4()}}}",
    "a URN": f"urn:uuid:{uuid4()}",
    "no dashes": uuid4().hex,
    "a line end": f"{uuid4()}\n",
    "10 kB": "a" * 10_000,
    "a number": 7,
    "a list": [str(uuid4())],
    "an object": {"id": str(uuid4())},
}
BAD_PAYLOADS: dict[str, object] = {
    "nothing": None,
    "text": "hi",
    "a number": 7,
    "a list": [],
    "no message": {},
    "a message that is text": {"message": "hi"},
    "no id": {"message": {"output": "hi"}},
    "an id that is no UUID": {"message": {"id": "../../x", "output": "hi"}},
    "an upper-case id": {"message": {"id": str(uuid4()).upper(), "output": "hi"}},
    "no text": {"message": {"id": str(uuid4())}},
    "text that is a number": {"message": {"id": str(uuid4()), "output": 7}},
    "empty text": {"message": {"id": str(uuid4()), "output": ""}},
    "blank text": {"message": {"id": str(uuid4()), "output": " \n "}},
    "NUL": {"message": {"id": str(uuid4()), "output": "a\0b"}},
    "too much text": {"message": {"id": str(uuid4()), "output": "x" * 100_000}},
}


@pytest.fixture
def parley(faked: Faked) -> ParleyProcess:
    faked.will_reply(sse(*answer("Hello ", "there.")))
    return faked.parley


@pytest.fixture
async def cookie(parley: ParleyProcess) -> str:
    return await new_guest(parley)


@pytest.fixture(autouse=True)
async def still_serves(parley: ParleyProcess) -> AsyncIterator[None]:
    """Whatever a test did: afterwards the process answers, and no task of it died unseen."""
    yield
    async with client_of(parley) as client:
        assert await chat(client, "still there?", session_id=uuid4().hex) == "Hello there."
    for sign in ("Traceback", "never retrieved", "never awaited"):
        assert sign not in parley.log_text()


async def test_a_browser_is_answered(parley: ParleyProcess, cookie: str) -> None:
    async with page_socket(parley, cookie) as socket:
        await socket.emit("connection_successful")
        await socket.say("hi")
        thread_id = (await socket.next("first_interaction"))["thread_id"]
        await socket.next("task_end", 2)
        step = await socket.next("update_message")
        assert (step["output"], step["type"]) == ("Hello there.", "assistant_message")
        assert step["threadId"] == thread_id
        assert socket.errors() == []


@pytest.mark.parametrize("cookie", ["", "parley_guest=x", "access_token=x"])
async def test_without_a_guests_cookie_it_is_refused(parley: ParleyProcess, cookie: str) -> None:
    with pytest.raises(ConnectionError):
        async with page_socket(parley, cookie):
            pass


@pytest.mark.parametrize("what", [*NO_UUIDS, "nothing", "empty"])
async def test_a_session_id_is_a_uuid(parley: ParleyProcess, cookie: str, what: str) -> None:
    auth: dict[str, object] = {"sessionId": NO_UUIDS.get(what, ""), "clientType": "webapp"}
    if what == "nothing":
        del auth["sessionId"]
    with pytest.raises(ConnectionError):
        async with page_socket(parley, cookie, auth):
            pass


@pytest.mark.parametrize("what", NO_UUIDS)
async def test_what_is_no_uuid_is_nobodys_thread(
    parley: ParleyProcess, cookie: str, what: str
) -> None:
    """It is what a mistyped address ends in: a page that was refused could not do anything."""
    auth = {"sessionId": str(uuid4()), "threadId": NO_UUIDS[what], "clientType": "webapp"}
    async with page_socket(parley, cookie, auth) as socket:
        await socket.emit("connection_successful")
        assert await socket.next("resume_thread_error") == _LOST
        await _talk(socket, "a new chat")
        assert str(UUID(socket.all("update_message")[0]["threadId"])) != str(NO_UUIDS[what]).lower()


@pytest.mark.parametrize("auth", ["text", ["list"], 7, {}], ids=str)
async def test_what_says_who_connects_is_an_object(
    parley: ParleyProcess, cookie: str, auth: object
) -> None:
    with pytest.raises(ConnectionError):
        async with page_socket(parley, cookie, auth):
            pass


async def test_a_session_in_use_is_its_guests(parley: ParleyProcess, cookie: str) -> None:
    auth = {"sessionId": str(uuid4()), "clientType": "webapp"}
    async with page_socket(parley, cookie, auth):
        with pytest.raises(ConnectionError):
            async with page_socket(parley, await new_guest(parley), auth):
                pass


async def test_a_session_comes_back_to_its_guest(parley: ParleyProcess, cookie: str) -> None:
    auth = {"sessionId": str(uuid4()), "clientType": "webapp"}
    async with page_socket(parley, cookie, auth) as socket:
        await _talk(socket, "hi")
        thread_id = socket.all("first_interaction")[0]["thread_id"]
    async with page_socket(parley, cookie, auth) as socket:
        await _talk(socket, "again")
        assert socket.all("update_message")[0]["threadId"] == thread_id


async def test_anothers_thread_is_not_found(parley: ParleyProcess, cookie: str) -> None:
    thread_id = await _thread_of(parley, cookie)
    before = select(parley, "SELECT count(*) FROM steps WHERE thread_id = ?", _hex(thread_id))
    auth = {"sessionId": str(uuid4()), "threadId": thread_id, "clientType": "webapp"}
    async with page_socket(parley, await new_guest(parley), auth) as socket:
        await socket.emit("connection_successful")
        assert await socket.next("resume_thread_error") == _LOST
        await _talk(socket, "let me in")
        assert socket.all("resume_thread") == []
        assert socket.all("update_message")[0]["threadId"] != thread_id
    after = select(parley, "SELECT count(*) FROM steps WHERE thread_id = ?", _hex(thread_id))
    assert after == before


async def test_a_thread_that_is_not_there_looks_the_same(
    parley: ParleyProcess, cookie: str
) -> None:
    auth = {"sessionId": str(uuid4()), "threadId": str(uuid4()), "clientType": "webapp"}
    async with page_socket(parley, cookie, auth) as socket:
        await socket.emit("connection_successful")
        assert await socket.next("resume_thread_error") == _LOST


async def test_a_lost_thread_is_told_to_every_socket_of_its_session(
    parley: ParleyProcess, cookie: str
) -> None:
    """A socket that is replaced at once takes what it was told along."""
    auth = {"sessionId": str(uuid4()), "threadId": str(uuid4()), "clientType": "webapp"}
    for _ in range(2):
        async with page_socket(parley, cookie, auth) as socket:
            await socket.emit("connection_successful")
            assert await socket.next("resume_thread_error") == _LOST


async def test_ones_own_thread_is_shown(parley: ParleyProcess, cookie: str) -> None:
    thread_id = await _thread_of(parley, cookie)
    auth = {"sessionId": str(uuid4()), "threadId": thread_id, "clientType": "webapp"}
    async with page_socket(parley, cookie, auth) as socket:
        await socket.emit("connection_successful")
        thread = await socket.next("resume_thread")
        # Not one by one under messages that are drawn anew for each: that takes seconds.
        names = [name for name, _ in socket.received]
        assert "action" in names[: names.index("resume_thread")]
    assert [(step["type"], step["output"]) for step in thread["steps"]] == [
        ("user_message", "hi"),
        ("run", ""),
        ("assistant_message", "Hello there."),
    ]


@pytest.mark.parametrize("what", BAD_PAYLOADS)
async def test_what_is_no_message_is_refused(parley: ParleyProcess, cookie: str, what: str) -> None:
    before = row_counts(parley)
    async with page_socket(parley, cookie) as socket:
        await socket.emit("client_message", BAD_PAYLOADS[what])
        assert "Request id: `" in await socket.next_error()
        await socket.emit("client_message")
        await socket.next_error(2)
        await socket.emit("client_message", {}, "more", 7)
        await socket.next_error(3)
        assert row_counts(parley) == before
        await _talk(socket, "hi")


async def test_another_users_step_cannot_be_overwritten(parley: ParleyProcess, cookie: str) -> None:
    await _thread_of(parley, cookie)
    steps = select(parley, "SELECT id, output, owner_id, thread_id FROM steps ORDER BY created_at")
    async with page_socket(parley, await new_guest(parley)) as socket:
        for count, (step_id, *_) in enumerate(steps, 1):
            dashed = str(UUID(step_id))
            await socket.say("mine now", id=dashed)
            assert "taken" in await socket.next_error(count)
    again = select(parley, "SELECT id, output, owner_id, thread_id FROM steps ORDER BY created_at")
    assert again == steps


async def test_a_client_says_nothing_about_its_step(parley: ParleyProcess, cookie: str) -> None:
    """Its type, author, parent, times and metadata are ours to say."""
    claims = {
        "type": "assistant_message",
        "name": "admin",
        "parentId": str(uuid4()),
        "threadId": str(uuid4()),
        "createdAt": "1999-01-01T00:00:00Z",
        "metadata": {"role": "admin"},
        "isError": True,
    }
    async with page_socket(parley, cookie) as socket:
        step_id = await socket.say("hi", **claims)
        await socket.next("update_message")
    ((kind, name, parent, metadata, is_error, created_at),) = select(
        parley,
        "SELECT type, name, parent_id, metadata, is_error, created_at FROM steps WHERE id = ?",
        _hex(step_id),
    )
    assert (kind, parent, metadata, is_error) == ("user_message", None, "{}", 0)
    assert name != "admin"
    assert not created_at.startswith("1999")


async def test_the_same_message_is_one_turn(parley: ParleyProcess, cookie: str) -> None:
    async with page_socket(parley, cookie) as socket:
        step_id = await socket.say("once")
        await socket.next("update_message")
        before = row_counts(parley)
        await socket.say("once", id=step_id)
        await socket.next("update_message", 2)
        await socket.say("other", id=step_id)
        assert await socket.next_error()
    assert row_counts(parley) == before


async def test_a_megabyte_closes_the_socket(parley: ParleyProcess, cookie: str) -> None:
    before = row_counts(parley)
    async with page_socket(parley, cookie) as socket:
        await socket.say("x" * 1_100_000)
        await socket.until_closed()
    assert row_counts(parley) == before


async def test_only_own_questions_are_edited(parley: ParleyProcess, cookie: str) -> None:
    async with page_socket(parley, cookie) as socket:
        await socket.say("hi")
        answer = await socket.next("update_message")
        before = select(parley, "SELECT id, output FROM steps")
        for count, step_id in enumerate((answer["id"], str(uuid4()), "no id"), 1):
            await socket.emit("edit_message", {"message": {"id": step_id, "output": "other"}})
            await socket.next_error(count)
        await socket.emit("edit_message")
        await socket.next_error(4)
        ((question_id,),) = select(
            parley, "SELECT user_step_id FROM turns WHERE answer_step_id = ?", _hex(answer["id"])
        )
    async with page_socket(parley, await new_guest(parley)) as socket:
        edited = {"message": {"id": str(UUID(question_id)), "output": "other"}}
        await socket.emit("edit_message", edited)
        await socket.next_error()
    assert select(parley, "SELECT id, output FROM steps") == before


@pytest.mark.parametrize(
    "event",
    [
        "audio_start",
        "audio_chunk",
        "audio_end",
        "chat_settings_change",
        "message_favorite",
        "fetch_favorites",
        "window_message",
        "no_such_event",
        "clear_session",
        "__init__",
    ],
)
async def test_other_events_change_nothing(parley: ParleyProcess, cookie: str, event: str) -> None:
    before = row_counts(parley)
    async with page_socket(parley, cookie) as socket:
        await socket.emit(event)
        await socket.emit(event, {"message": {"id": str(uuid4())}}, 7)
        await _talk(socket, "hi")
    assert row_counts(parley)["turns"] == before["turns"] + 1


async def test_stop_without_a_turn_does_nothing(parley: ParleyProcess, cookie: str) -> None:
    async with page_socket(parley, cookie) as socket:
        await socket.emit("stop")
        await socket.emit("stop", {"odd": 1})
        await _talk(socket, "hi")


@pytest.mark.parametrize("event", ["connect", "disconnect"])
async def test_what_the_library_reserves_is_not_a_clients_to_send(
    parley: ParleyProcess, cookie: str, event: str
) -> None:
    """python-socketio runs the handlers of both for an event packet of that name."""
    environ = {"asgi.scope": {"type": "websocket", "headers": [[b"cookie", cookie.encode()]]}}
    auth = {"sessionId": str(uuid4()), "clientType": "webapp"}
    async with page_socket(parley, cookie) as socket:
        await socket.emit(event)
        await socket.emit(event, environ, auth, 7)
        await _talk(socket, "hi")
        await socket.emit(event)
        await _talk(socket, "still here")
        assert len(socket.all("first_interaction")) == 1


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1"])
async def test_another_sites_socket_is_refused(
    parley: ParleyProcess, cookie: str, origin: str
) -> None:
    with pytest.raises(ConnectionError):
        async with page_socket(parley, cookie, headers={"origin": origin}):
            pass


async def test_our_own_pages_socket_is_accepted(parley: ParleyProcess, cookie: str) -> None:
    async with page_socket(parley, cookie, headers={"origin": parley.url}) as socket:
        await _talk(socket, "hi")


async def test_polling_is_off(parley: ParleyProcess, cookie: str) -> None:
    async with client_of(parley) as client:
        response = await client.get(
            "/ws/socket.io/?EIO=4&transport=polling", headers={"cookie": cookie}
        )
    assert (response.status_code, response.json()) == (400, "Invalid transport")


async def test_asking_twice_shows_once(parley: ParleyProcess, cookie: str) -> None:
    """Many `connection_successful` of one socket are one reader of the running turn."""
    async with page_socket(parley, cookie) as socket:
        await socket.say("hi")
        for _ in range(20):
            await socket.emit("connection_successful")
        await socket.next("update_message")
        await _settled(socket)
        assert [step["type"] for step in socket.all("new_message")] == ["run", "assistant_message"]


async def _talk(socket: PageSocket, text: str) -> None:
    shown = len(socket.all("update_message"))
    await socket.say(text)
    await socket.next("update_message", shown + 1)


async def _settled(socket: PageSocket) -> None:
    """Whatever was under way has arrived: an answer to a later request came."""
    errors = len(socket.errors())
    await socket.emit("edit_message")
    await socket.next_error(errors + 1)
    socket.received = [
        (event, data)
        for event, data in socket.received
        if not (event == "new_message" and data["isError"])
    ]


async def _thread_of(parley: ParleyProcess, cookie: str) -> str:
    async with page_socket(parley, cookie) as socket:
        await _talk(socket, "hi")
        thread_id: str = socket.all("first_interaction")[0]["thread_id"]
    await until(lambda: select(parley, "SELECT 1 FROM threads WHERE id = ?", _hex(thread_id)))
    return thread_id


def _hex(uuid: str) -> str:
    """SQLite keeps UUIDs as 32 characters."""
    return uuid.replace("-", "")
