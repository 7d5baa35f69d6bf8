"""The door: Chainlit's own server, with this data layer in two lines of its app."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.other_app import OtherApp, Person, running, say, signed_in
from tests.e2e.page_socket import page_socket
from tests.patience import eventually
from tests.services import Postgres

SESSIONS, TURNS = 10, 20
BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.needs_postgres)]


@pytest.fixture(scope="module", params=BOTH)
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OtherApp]:
    directory = tmp_path_factory.mktemp("app")
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{directory}/chat.db"
        else:
            server: Postgres = request.getfixturevalue("postgres")
            url = stack.enter_context(server.database())
        yield stack.enter_context(running(directory, url))


@pytest.fixture
async def ada(app: OtherApp) -> AsyncIterator[Person]:
    async with signed_in(app, "ada", "lovelace") as person:
        yield person


@pytest.fixture
async def grace(app: OtherApp) -> AsyncIterator[Person]:
    async with signed_in(app, "grace", "hopper") as person:
        yield person


async def new_thread(person: Person, *said: str) -> str:
    async with person.chat() as socket:
        for text in said:
            await say(socket, text)
        first = await socket.next("first_interaction")
    thread_id: str = first["thread_id"]
    await kept(person, thread_id, len(said))
    return thread_id


async def kept(person: Person, thread_id: str, count: int, *, files: int = 0) -> Any:
    """Wait until so many turns are there to be read, and the files that were sent with them.

    Chainlit does not wait for its writes; a file is kept beside the turn, not before its end.
    """

    async def opened() -> Any:
        if (await person.http.get(f"/project/thread/{thread_id}")).status_code == 404:
            return None
        thread = await person.opened(thread_id)
        ended = [run for run in steps_of(thread, "run") if run["end"]]
        answered = len(ended) == len(steps_of(thread, "assistant_message")) == count
        return thread if answered and len(thread["elements"]) == files else None

    return await eventually(opened)


def steps_of(thread: Any, kind: str) -> list[Any]:
    return [step for step in thread["steps"] if step["type"] == kind]


def answers(thread: Any) -> list[str]:
    return [step["output"].strip() for step in steps_of(thread, "assistant_message")]


async def test_thread_opens_as_it_was_left(ada: Person) -> None:
    thread_id = await new_thread(ada, "Hello there", "And again")
    async with ada.chat(thread_id) as socket:
        resumed = await socket.next("resume_thread")
        await say(socket, "Back again")
    assert answers(resumed) == [
        "You said: Hello there (2 words)",
        "You said: And again (2 words)",
    ]
    known = set()
    for step in resumed["steps"]:
        assert step["parentId"] is None or step["parentId"] in known, "the page drops it otherwise"
        known.add(step["id"])
    runs = [step["id"] for step in steps_of(resumed, "run")]
    tools = steps_of(resumed, "tool")
    assert [tool["parentId"] for tool in tools] == runs
    assert [tool["output"] for tool in tools] == ["2 words", "2 words"]
    thread = await kept(ada, thread_id, 3)
    assert thread["name"] == "Hello there"


async def test_history_is_listed_and_searched(ada: Person) -> None:
    first = await new_thread(ada, "About elephants")
    second = await new_thread(ada, "About penguins")
    assert [thread["id"] for thread in await ada.threads()][:2] == [second, first]
    assert [thread["id"] for thread in await ada.threads(search="elephants")] == [first]
    renamed = {"threadId": first, "name": "Large animals"}
    assert (await ada.http.put("/project/thread", json=renamed)).status_code == 200
    assert [thread["name"] for thread in await ada.threads(search="elephants")] == ["Large animals"]


async def test_deleted_thread_stays_deleted(ada: Person) -> None:
    """Chainlit writes the session's metadata when its socket goes: to a thread that is gone."""
    async with ada.chat() as socket:
        await say(socket, "Delete me")
        thread_id = (await socket.next("first_interaction"))["thread_id"]
        gone = await ada.http.request("DELETE", "/project/thread", json={"threadId": thread_id})
        assert gone.status_code == 200
        await say(socket, "Am I still here?")
    await new_thread(ada, "Afterwards")
    assert thread_id not in [thread["id"] for thread in await ada.threads()]
    assert (await ada.http.get(f"/project/thread/{thread_id}")).status_code == 404


async def test_feedback_is_one_for_a_run(ada: Person) -> None:
    thread_id = await new_thread(ada, "Rate me")
    (run,) = steps_of(await ada.opened(thread_id), "run")
    await rate(ada, run["id"], 1, "good")
    feedback_id = await rate(ada, run["id"], 0, "not so good")
    thread = await ada.opened(thread_id)
    (rated,) = steps_of(thread, "run")
    assert (rated["feedback"]["value"], rated["feedback"]["comment"]) == (0, "not so good")
    assert rated["feedback"]["id"] == feedback_id
    assert len({step["id"] for step in thread["steps"]}) == len(thread["steps"])
    assert thread_id in [found["id"] for found in await ada.threads(feedback=0)]
    taken_back = {"feedbackId": rated["feedback"]["id"]}
    await ada.http.request("DELETE", "/feedback", json=taken_back)
    (unrated,) = steps_of(await ada.opened(thread_id), "run")
    assert "feedback" not in unrated


async def rate(person: Person, run_id: str, value: int, comment: str) -> str:
    rating = {"forId": run_id, "value": value, "comment": comment}
    sent = await person.http.put("/feedback", json={"feedback": rating, "sessionId": "x"})
    assert sent.status_code == 200, sent.text
    feedback_id: str = sent.json()["feedbackId"]
    return feedback_id


async def test_favourites_come_and_go(ada: Person) -> None:
    async with ada.chat() as socket:
        step_id = await say(socket, "Keep this one")
        favourite = {"id": step_id, "metadata": {"favorite": True}}
        await socket.emit("message_favorite", {"message": favourite})
        (kept,) = await socket.next("set_favorites")
        assert (kept["id"], kept["output"]) == (step_id, "Keep this one")
        await socket.emit("message_favorite", {"message": {"id": step_id, "metadata": {}}})
        assert await socket.next("set_favorites", 2) == []


async def test_attachment_lives_on(ada: Person, grace: Person) -> None:
    session_id, content = str(uuid4()), b"%PDF-1.4 nothing much"
    async with ada.chat(session_id=session_id) as socket:
        files = {"file": ("notes.pdf", content, "application/pdf")}
        sent = await ada.http.post(f"/project/file?session_id={session_id}", files=files)
        assert sent.status_code == 200, sent.text
        await say(socket, "Read this", fileReferences=[sent.json()])
        thread_id = (await socket.next("first_interaction"))["thread_id"]
    await kept(ada, thread_id, 1, files=1)
    async with ada.chat(thread_id) as socket:
        (element,) = (await socket.next("resume_thread"))["elements"]
    assert (element["name"], element["mime"]) == ("notes.pdf", "application/pdf")
    downloaded = await ada.http.get(element["url"])
    assert (downloaded.status_code, downloaded.content) == (200, content)
    assert downloaded.headers["x-content-type-options"] == "nosniff"
    assert (await grace.http.get(element["url"])).status_code == 404
    nobody = await ada.http.get(element["url"], headers={"cookie": ""})
    assert nobody.status_code == 401
    await share(ada, thread_id, is_shared=True)
    (seen,) = (await grace.http.get(f"/project/share/{thread_id}")).json()["elements"]
    assert (await grace.http.get(seen["url"])).content == content
    await share(ada, thread_id, is_shared=False)
    assert (await grace.http.get(seen["url"])).status_code == 404


async def test_shared_thread_is_read_and_unshared(ada: Person, grace: Person) -> None:
    thread_id = await new_thread(ada, "Look at this")
    path = f"/project/share/{thread_id}"
    hidden = await grace.http.get(path)
    async with ada.chat(thread_id) as socket:
        await socket.next("resume_thread")
        await share(ada, thread_id, is_shared=True)
        seen = await grace.http.get(path)
        assert answers(seen.json()) == ["You said: Look at this (3 words)"]
        assert '"ada"' not in seen.text
        await share(ada, thread_id, is_shared=False)
        assert (await grace.http.get(path)).status_code == 404
    # The session that ended had begun before.
    await until_ended(ada)
    unshared = await grace.http.get(path)
    missing = await grace.http.get(f"/project/share/{uuid4()}")
    assert (hidden.status_code, hidden.text) == (unshared.status_code, unshared.text)
    assert (missing.status_code, missing.text) == (unshared.status_code, unshared.text)


async def share(person: Person, thread_id: str, *, is_shared: bool) -> None:
    asked = {"threadId": thread_id, "isShared": is_shared}
    got = await person.http.put("/project/thread/share", json=asked)
    assert got.status_code == 200, got.text


async def until_ended(person: Person) -> None:
    """Say something elsewhere: writes of the session that is gone are before it."""
    await new_thread(person, "Meanwhile")


async def test_users_never_reach_each_other(ada: Person, grace: Person) -> None:
    thread_id = await new_thread(ada, "A secret of mine")
    thread = await ada.opened(thread_id)
    (run,) = steps_of(thread, "run")
    (question,) = steps_of(thread, "user_message")
    named = {"threadId": thread_id}
    for method, path, sent in (
        ("GET", f"/project/thread/{thread_id}", None),
        ("PUT", "/project/thread", {**named, "name": "stolen"}),
        ("PUT", "/project/thread/share", {**named, "isShared": True}),
        ("DELETE", "/project/thread", named),
        ("GET", f"/project/share/{thread_id}", None),
        ("GET", f"/project/thread/{thread_id}/element/{uuid4()}", None),
        (
            "PUT",
            "/feedback",
            {"feedback": {"forId": run["id"], "value": 0}, "sessionId": "x"},
        ),
    ):
        got = await grace.http.request(method, path, json=sent)
        assert got.status_code >= 400, (method, path)
        assert "secret" not in got.text
    async with grace.chat(thread_id) as socket:
        await socket.next("resume_thread_error")
        await say(socket, "I write into it")
    async with grace.chat() as socket:
        await socket.say("Overwritten", id=question["id"], createdAt=question["createdAt"])
        await socket.next("task_end", 2)
    assert await grace.threads(search="secret") == []
    await until_ended(grace)
    now = await ada.opened(thread_id)
    assert (now["steps"], now["name"]) == (thread["steps"], thread["name"])


async def test_no_answer_is_stored_empty(ada: Person) -> None:
    """`send`, stream and `update` at once: the official layers lose a fifth to a third of them."""

    async def talk() -> str:
        async with ada.chat() as socket:
            for number in range(TURNS):
                await say(socket, f"turn {number}")
            thread_id: str = (await socket.next("first_interaction"))["thread_id"]
            return thread_id

    threads = await asyncio.gather(*[talk() for _ in range(SESSIONS)])
    for thread_id in threads:
        expected = [f"You said: turn {number} (2 words)" for number in range(TURNS)]
        assert answers(await kept(ada, thread_id, TURNS)) == expected


async def test_restart_loses_nothing(tmp_path: Path) -> None:
    with running(tmp_path, f"sqlite:///{tmp_path}/chat.db") as app:
        async with signed_in(app, "ada", "lovelace") as ada:
            async with ada.chat() as socket:
                await say(socket, "Keep this")
                thread_id = (await socket.next("first_interaction"))["thread_id"]
                await asyncio.to_thread(app.stop)
            await asyncio.to_thread(app.start)
            assert answers(await ada.opened(thread_id)) == ["You said: Keep this (2 words)"]
        assert "Traceback" not in app.log_text()


async def test_sharing_is_off_unless_switched_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/chat.db"
    with running(tmp_path, url, sharing=False) as app:
        async with signed_in(app, "ada", "lovelace") as ada:
            thread_id = await new_thread(ada, "Mine alone")
            asked = {"threadId": thread_id, "isShared": True}
            assert (await ada.http.put("/project/thread/share", json=asked)).status_code >= 400
            async with signed_in(app, "grace", "hopper") as grace:
                got = await grace.http.get(f"/project/share/{thread_id}")
                assert got.status_code == 404


async def test_database_may_come_later(tmp_path: Path) -> None:
    """Who connects before it is there has no user yet; what they say is kept all the same."""
    in_the_way = tmp_path / "data"
    in_the_way.write_text("not a directory")
    with running(tmp_path, f"sqlite:///{in_the_way}/chat.db") as app:
        async with signed_in(app, "ada", "lovelace") as ada:
            async with ada.chat() as socket:
                await socket.next("task_end")
                in_the_way.unlink()
                await say(socket, "Is it there now?")
                thread_id = (await socket.next("first_interaction"))["thread_id"]
            thread = await kept(ada, thread_id, 1)
    assert answers(thread) == ["You said: Is it there now? (4 words)"]


NOBODY = """\
import chainlit as cl
from data_layer import open_data_layer

@cl.data_layer
def data_layer():
    return open_data_layer("sqlite:///./chat.db")

@cl.on_message
async def answer(message):
    await cl.Message("hm").send()
"""


async def test_without_a_sign_in_nothing_is_kept(tmp_path: Path) -> None:
    source = tmp_path / "app.py"
    source.write_text(NOBODY)
    auth = {"sessionId": str(uuid4()), "clientType": "webapp"}
    with running(tmp_path, "", app=source) as app:
        async with page_socket(app, "", auth) as socket:
            await socket.emit("connection_successful")
            await say(socket, "Hello?")
            await say(socket, "Hello again?")
            assert [step["output"] for step in socket.all("new_message")].count("hm") == 2
        assert app.log_text().count("Nobody is signed in") == 1
        assert "Traceback" not in app.log_text()
    assert not (tmp_path / "chat.db").exists()
