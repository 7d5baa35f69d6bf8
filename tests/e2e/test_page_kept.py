"""What the page's routes and socket keep, and for whom: ratings, favourites, sharing, what was chosen; and what they stop."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.e2e.conftest import Faked
from tests.e2e.page_socket import new_guest, page_socket
from tests.e2e.support import DEMO, answers, client_of, select
from tests.fakes.model_server import answer, chunk, sse, wait
from tests.patience import until
from tests.server import ParleyProcess


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyProcess]:
    environment = {**DEMO, "ALLOW_SHARING": "true"}
    with ParleyProcess(tmp_path_factory.mktemp("sharing"), environment) as parley:
        yield parley


@asynccontextmanager
async def guest_of(parley: ParleyProcess) -> AsyncIterator[httpx2.AsyncClient]:
    cookie = await new_guest(parley)
    async with client_of(parley) as client:
        client.headers["cookie"] = cookie
        yield client


async def new_thread(parley: ParleyProcess, client: httpx2.AsyncClient) -> dict[str, Any]:
    """Say something on the page; gives the steps that it shows, by type."""
    async with page_socket(parley, client.headers["cookie"]) as socket:
        step_id = await socket.say("my secret question")
        await socket.next("task_end")
        steps = {step["type"]: step for step in socket.all("new_message")}
        assert steps["assistant_message"]["parentId"] == steps["run"]["id"]
        return {**steps, "user_message": {"id": step_id}}


def rating(step_id: str, value: int = 1) -> dict[str, Any]:
    return {"feedback": {"forId": step_id, "value": value}, "sessionId": str(uuid4())}


async def test_rating_of_a_run_is_the_answers(demo: ParleyProcess) -> None:
    async with guest_of(demo) as ada:
        steps = await new_thread(demo, ada)
        sent = await ada.put("/feedback", json=rating(steps["run"]["id"]))
        assert (sent.status_code, sent.json()["success"]) == (200, True)
        kept = select(demo, "SELECT id, step_id, value FROM feedbacks")
        answer_id = steps["assistant_message"]["id"].replace("-", "")
        feedback_id = sent.json()["feedbackId"]
        assert kept == [(feedback_id.replace("-", ""), answer_id, 1)]
        again = await ada.request("DELETE", "/feedback", json={"feedbackId": feedback_id})
        assert again.json() == {"success": True}
        assert select(demo, "SELECT 1 FROM feedbacks") == []


async def test_bad_ratings_are_refused_as_such(demo: ParleyProcess) -> None:
    async with guest_of(demo) as ada, guest_of(demo) as grace:
        run_id = (await new_thread(demo, ada))["run"]["id"]
        for client, body, status in (
            (grace, rating(run_id), 404),
            (ada, rating(str(uuid4())), 404),
            (ada, rating("not an id"), 404),
            (ada, rating(run_id, 2), 422),
            (ada, {"feedback": {}}, 422),
        ):
            got = await client.put("/feedback", json=body)
            assert got.status_code == status, got.text
        async with client_of(demo) as nobody:
            assert (await nobody.put("/feedback", json=rating(run_id))).status_code == 401
        assert select(demo, "SELECT 1 FROM feedbacks") == []


async def test_favourites_of_others_are_refused(demo: ParleyProcess) -> None:
    async with guest_of(demo) as ada, guest_of(demo) as grace:
        step_id = (await new_thread(demo, ada))["user_message"]["id"]
        wanted = {"message": {"id": step_id, "metadata": {"favorite": True}}}
        async with page_socket(demo, grace.headers["cookie"]) as socket:
            for payload in (wanted, {"message": {"id": "no id"}}, {"message": 1}, None):
                await socket.emit("message_favorite", payload)
            await socket.next_error(4)
            assert not any(socket.all("set_favorites"))
        async with page_socket(demo, ada.headers["cookie"]) as socket:
            await socket.emit("message_favorite", wanted)
            (kept,) = await socket.next("set_favorites")
            assert (kept["id"], kept["output"]) == (step_id, "my secret question")


async def test_sharing_is_off_unless_allowed(demo: ParleyProcess) -> None:
    async with guest_of(demo) as ada:
        thread_id = (await new_thread(demo, ada))["run"]["threadId"]
        asked = {"threadId": thread_id, "isShared": True}
        assert (await ada.put("/project/thread/share", json=asked)).status_code == 404
        assert (await ada.get(f"/project/share/{thread_id}")).status_code == 404
        settings = await ada.get("/project/settings")
        assert settings.json()["threadSharing"] is False
        assert select(demo, "SELECT 1 FROM threads WHERE shared_at IS NOT NULL") == []


async def test_shared_thread_shows_no_more_than_text(sharing: ParleyProcess) -> None:
    async with guest_of(sharing) as ada, guest_of(sharing) as grace:
        thread_id = (await new_thread(sharing, ada))["run"]["threadId"]
        path, asked = f"/project/share/{thread_id}", {"threadId": thread_id, "isShared": True}
        refused = await grace.put("/project/thread/share", json=asked)
        assert (refused.status_code, (await grace.get(path)).status_code) == (404, 404)
        assert (await ada.put("/project/thread/share", json=asked)).status_code == 200
        seen = await grace.get(path)
        assert [step["type"] for step in seen.json()["steps"]] == [
            "user_message",
            "assistant_message",
        ]
        ((owner_id, identifier),) = select(
            sharing,
            "SELECT users.id, identifier FROM users JOIN threads ON owner_id = users.id"
            " WHERE threads.id = ?",
            thread_id.replace("-", ""),
        )
        assert owner_id not in seen.text.replace("-", "")
        assert identifier not in seen.text
        async with client_of(sharing) as nobody:
            assert (await nobody.get(path)).status_code == 401
        await ada.put("/project/thread/share", json={**asked, "isShared": False})
        assert (await grace.get(path)).status_code == 404


async def test_connection_lost_early_loses_no_buttons(demo: ParleyProcess) -> None:
    """The page offers Stop and thumbs once it was told of the thread, which may have been lost."""
    async with guest_of(demo) as ada:
        auth = {"sessionId": str(uuid4()), "clientType": "webapp"}
        async with page_socket(demo, ada.headers["cookie"], auth) as socket:
            await socket.say("Hello?")
            first = await socket.next("first_interaction")
        async with page_socket(demo, ada.headers["cookie"], auth) as socket:
            await socket.emit("connection_successful")
            assert await socket.next("first_interaction") == first
            await socket.next("resume_thread")


async def test_choices_of_one_page_are_those_of_all(demo: ParleyProcess) -> None:
    """Also of one that had the thread open before, and whose session ends later."""
    chosen = {"system_prompt": "Answer in rhymes.", "temperature": "0.3", "tools": True}
    cookie = await new_guest(demo)
    async with page_socket(demo, cookie) as ada:
        await ada.say("Hello?")
        thread_id = (await ada.next("first_interaction"))["thread_id"]
        await ada.next("task_end")
        opened = {"sessionId": str(uuid4()), "clientType": "webapp", "threadId": thread_id}
        async with page_socket(demo, cookie, opened) as other:
            await other.emit("connection_successful")
            await other.next("ready")
            await ada.emit("chat_settings_change", chosen)
            await ada.next("toast")
            await other.say("And now?")
            await other.next("task_end", 2)
    turns = f"FROM turns WHERE thread_id = '{thread_id.replace('-', '')}' ORDER BY arrival"
    prompts = [prompt for (prompt,) in select(demo, f"SELECT system_prompt {turns}")]
    assert prompts == [None, chosen["system_prompt"]]
    third = {"sessionId": str(uuid4()), "clientType": "webapp", "threadId": thread_id}
    async with page_socket(demo, cookie, third) as later:
        await later.emit("connection_successful")
        shown = {widget["id"]: widget["initial"] for widget in await later.next("chat_settings")}
    assert shown == chosen


async def test_settings_said_while_a_question_is_taken_stay(demo: ParleyProcess) -> None:
    async with page_socket(demo, await new_guest(demo)) as socket:
        first = await socket.say("first")
        await socket.next("task_end")
        kept = "SELECT json_extract(metadata, '$.chat_settings.system_prompt') FROM threads"
        edit = {"message": {"id": first, "output": "other"}, "id": str(uuid4())}
        for count, said in enumerate(("edited", "asked"), 1):
            if said == "edited":
                await socket.emit("edit_message", edit)
            else:
                await socket.say("second")
            settings = {"system_prompt": f"while {said}"}
            await socket.emit("chat_settings_change", settings, {"id": str(uuid4())})
            await socket.next("task_end", count + 1)
            await socket.next("taken", 2 * count + 1)
            assert (f"while {said}",) in select(demo, kept)


async def test_settings_that_come_late_overwrite_nothing_newer(demo: ParleyProcess) -> None:
    """Those that are sent again were changed before: from what, they say."""
    cookie = await new_guest(demo)
    first, other = {"system_prompt": "Rhyme."}, {"system_prompt": "Sing."}
    async with page_socket(demo, cookie) as socket:
        late = {"id": str(uuid4()), "again": True}
        await socket.emit("chat_settings_change", first, late | {"before": {}})
        await socket.next("taken")
        await socket.emit("chat_settings_change", first, late | {"before": {}})
        await socket.next("taken", 2)
        assert socket.errors() == []
        await socket.emit("chat_settings_change", other, late | {"before": {}})
        assert "changed elsewhere" in await socket.next_error()
        assert (await socket.next("chat_settings", 3))[0]["initial"] == "Rhyme."


async def test_what_was_picked_and_not_used_stays_through_a_lost_connection(
    demo: ParleyProcess,
) -> None:
    cookie = await new_guest(demo)
    auth = {"sessionId": str(uuid4()), "clientType": "webapp"}
    for offers in (1, 0):
        async with page_socket(demo, cookie, auth) as socket:
            await socket.emit("connection_successful")
            await socket.next("ready")
            assert len(socket.all("set_modes")) == offers


async def test_a_stop_that_comes_late_stops_what_it_names(faked: Faked) -> None:
    gate, cookie = asyncio.Event(), await new_guest(faked.parley)
    faked.will_reply(sse(*answer("One.")), sse(chunk("Two"), wait(gate), *answer(" of two.")))
    async with page_socket(faked.parley, cookie) as socket:
        await socket.say("Say one.")
        first = await socket.next("runs")
        await socket.next("task_end")
        await socket.say("Say two.")
        second = await socket.next("runs", 2)
        await socket.emit("stop", first)
        await socket.emit("fetch_favorites")  # done after it
        await socket.next("set_favorites")
        gate.set()
        await socket.next("task_end", 2)
    ends = dict(select(faked.parley, "SELECT id, state FROM turns"))
    assert ends[second["turn_id"].replace("-", "")] == "completed"


async def test_pages_hear_of_others_already_in_a_threads_first_answer(faked: Faked) -> None:
    first, second, cookie = asyncio.Event(), asyncio.Event(), await new_guest(faked.parley)
    faked.will_reply(
        sse(chunk("Once"), wait(first), *answer(" upon.")), sse(wait(second), *answer("Again."))
    )
    async with (
        page_socket(faked.parley, cookie) as page,
        client_of(faked.parley) as client,
    ):
        await page.say("Tell me a story.")
        thread_id = (await page.next("first_interaction"))["thread_id"]
        opened = {"sessionId": str(uuid4()), "clientType": "webapp", "threadId": thread_id}
        async with page_socket(faked.parley, cookie, opened) as other:
            await other.emit("connection_successful")
            await other.next("new_message")
            named = {"title": "A story"}
            address, client.headers["cookie"] = f"/api/v1/conversations/{thread_id}", cookie
            assert (await client.patch(address, json=named)).status_code == 200
            for each in (page, other):
                await each.next("first_interaction", 2)
            asked = {"session_id": thread_id, "message": "And then?"}
            sending = asyncio.create_task(client.post("/chat", json=asked))
            await until(lambda: select(faked.parley, "SELECT 1 FROM turns WHERE state = 'queued'"))
            first.set()
            for each in (page, other):
                await each.next("task_start", 2)
            second.set()
            assert "Again." in (await sending).text
            for each, before in ((page, []), (other, ["task_end"])):
                await each.next("task_end", 2 + len(before))
                signs = [name for name, _ in each.received if name.startswith("task_")]
                assert signs == [*before, "task_start", "task_end", "task_start", "task_end"]


async def test_hostile_choices_and_presses_are_refused(faked: Faked) -> None:
    faked.will_reply(sse(*answer("Fine.")))
    cookie = await new_guest(faked.parley)
    chosen = {"model": ["no", "id"], "settings": {"temperature": "nan"}}
    auth = {"sessionId": str(uuid4()), "clientType": "webapp", "chosen": chosen}
    async with page_socket(faked.parley, cookie, auth) as socket:
        hostile = (
            ("client_message", {"message": _said(modes={"model": "x" * 9000})}, "named by its id"),
            ("client_message", {"message": _said(modes={"model": "nobody"})}, "There is no model"),
            ("chat_settings_change", "no settings", "These are no settings"),
            ("chat_settings_change", {"temperature": "nan"}, "A temperature is"),
            ("chat_settings_change", {"system_prompt": "x" * 40_000}, "at most"),
            ("edit_message", {"message": _said()}, "no such turn"),
            ("edit_message", None, "not a message"),
        )
        for count, (event, payload, told) in enumerate(hostile, 1):
            await socket.emit(event, payload)
            assert told in await socket.next_error(count)
        await socket.say("Still there?", modes={"model": ["no", "id"]})
        assert "named by its id" in await socket.next_error(len(hostile) + 1)
        await socket.say("Still there?", modes=None)
        await until(lambda: answers(faked.parley)[-1][2] == "Fine.")


def _said(**fields: object) -> dict[str, object]:
    step_id = "8e8c9b5e-7d52-4a37-9d3e-0d6d7f0f2f11"
    return {"id": step_id, "type": "user_message", "output": "hi", "name": "me", **fields}
