"""Files from the page: sent before a message, kept with it, downloaded by nobody else."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from playwright.async_api import FilePayload, Page, expect

from tests.e2e.conftest import Faked
from tests.e2e.page_socket import new_guest
from tests.e2e.support import client_of, select, serving
from tests.e2e.test_page import (
    SIZES,
    answer_of,
    finished,
    open_page,
    question_of,
    say,
    settled,
    shot,
    thread_of,
)
from tests.e2e.visit import Visit, chart, visit
from tests.fakes.model_server import answer, sse
from tests.patience import until
from tests.server import ParleyProcess

MIB = 1024 * 1024
HTML = b"<!doctype html><script>alert(document.cookie)</script>"
NOTE = "read no other files yet."


@pytest.fixture
def parley(faked: Faked) -> ParleyProcess:
    faked.will_reply(sse(*answer("Hello ", "there.")))
    return faked.parley


@pytest.fixture
async def cookie(parley: ParleyProcess) -> str:
    return await new_guest(parley)


@pytest.fixture
async def mine(parley: ParleyProcess, cookie: str) -> AsyncIterator[Visit]:
    async with visit(parley, cookie) as visited:
        yield visited


@pytest.fixture
async def stranger(parley: ParleyProcess) -> AsyncIterator[Visit]:
    async with visit(parley, await new_guest(parley)) as visited:
        yield visited


def waiting_files(parley: ParleyProcess, visited: Visit) -> list[Path]:
    directory = parley.directory / ".parley" / "files"
    return [*directory.glob(f".waiting/{visited.session_id}/*"), *directory.glob(".parts/*")]


async def test_file_is_kept_with_its_message(parley: ParleyProcess, mine: Visit) -> None:
    content = os.urandom(3 * MIB)
    file_id = (await mine.upload(content)).json()["id"]
    step_id = await mine.send("Look at this.", file_id)
    element = await mine.socket.next("element")
    assert element["forId"] == step_id
    assert (element["name"], element["type"]) == ("notes.txt", "file")
    assert NOTE in (await mine.socket.next("toast"))["message"]
    await mine.socket.next("task_end")
    assert mine.socket.errors() == []
    response = await mine.client.get(element["url"])
    assert response.content == content
    assert response.headers["content-length"] == str(len(content))
    await until(lambda: not waiting_files(parley, mine))


async def test_files_stay_with_a_question_that_is_edited_or_run_again(
    parley: ParleyProcess, mine: Visit
) -> None:
    element = await mine.attached(chart(), "chart.png", "image/png")

    thread_id = element["threadId"]

    async def shown(turns: int) -> dict[str, str]:
        """Look at the thread once so many turns are over; gives its steps' ids by their types."""
        over = "SELECT id FROM turns WHERE thread_id = ? AND state = 'completed'"
        await until(lambda: len(select(parley, over, UUID(thread_id).hex)) == turns)
        thread = (await mine.client.get(f"/project/thread/{thread_id}")).json()
        ids = {step["type"]: step["id"] for step in thread["steps"]}
        (kept,) = [one for one in thread["elements"] if one["forId"] == ids["user_message"]]
        assert kept["name"] == "chart.png"
        assert (await mine.client.get(kept["url"])).content == chart()
        return ids

    first = await shown(1)
    edited = {"id": element["forId"], "output": "Look again.", "type": "user_message"}
    await mine.socket.emit("edit_message", {"message": edited})
    second = await shown(2)
    action = {"name": "again", "payload": {"answer": second["assistant_message"]}}
    body = {"sessionId": mine.session_id, "action": action}
    assert (await mine.client.post("/project/action", json=body)).status_code == 200
    third = await shown(3)
    assert len({ids["user_message"] for ids in (first, second, third)}) == 3


async def test_file_outlives_its_session_and_the_server(tmp_path: Path, faked: Faked) -> None:
    faked.will_reply(sse(*answer("Hello.")))
    settings = {"OPENAI_BASE_URL": faked.server.base_url, "OPENAI_MODEL": "fake"}
    async with serving(tmp_path, settings) as parley:
        cookie = await new_guest(parley)
        async with visit(parley, cookie) as visited:
            element = await visited.attached(b"kept")
            await visited.socket.next("task_end")
        await asyncio.to_thread(parley.stop)
        await asyncio.to_thread(parley.start)
        async with client_of(parley) as client:
            response = await client.get(element["url"], headers={"cookie": cookie})
            assert response.content == b"kept"
            thread = await client.get(
                f"/project/thread/{element['threadId']}", headers={"cookie": cookie}
            )
    (shown,) = thread.json()["elements"]
    assert (shown["url"], shown["chainlitKey"]) == (element["url"], None)


async def test_deleted_thread_takes_its_files_along(parley: ParleyProcess, mine: Visit) -> None:
    element = await mine.attached(b"soon gone %s" % os.urandom(9))
    await mine.socket.next("task_end")
    body = {"threadId": element["threadId"]}
    assert (await mine.client.request("DELETE", "/project/thread", json=body)).status_code == 200
    assert (await mine.client.get(element["url"])).status_code == 404
    rows = select(parley, "SELECT id FROM elements WHERE thread_id = ?", element["threadId"])
    assert rows == []


async def test_file_of_another_is_a_missing_one(mine: Visit, stranger: Visit) -> None:
    element = await mine.attached(b"mine")
    answers = set()
    for file_id in (element["id"], str(uuid4()), "x", "..%2f..%2fparley.db", "%00"):
        response = await stranger.client.get(f"/files/{file_id}")
        answers.add((response.status_code, response.json()["error"]["code"]))
    assert answers == {(404, "not_found")}
    response = await stranger.client.get(element["url"], headers={"cookie": ""})
    assert response.status_code == 401


async def test_session_of_another_is_a_missing_one(mine: Visit, stranger: Visit) -> None:
    file_id = (await mine.upload(b"mine")).json()["id"]
    for session_id in (mine.session_id, str(uuid4()), "../x"):
        response = await stranger.upload(b"x", session_id=session_id)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
        where = {"session_id": session_id}
        response = await stranger.client.get(f"/project/file/{file_id}", params=where)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    await stranger.send("Give me that.", file_id)
    assert "not here any more" in await stranger.socket.next_error()
    own = await mine.client.get(f"/project/file/{file_id}", params={"session_id": mine.session_id})
    assert own.content == b"mine"


async def test_elements_of_a_clients_making_stay_out(mine: Visit) -> None:
    element = {"type": "custom", "id": str(uuid4()), "name": "x", "display": "inline"}
    body = {"element": {**element, "path": "/etc/passwd"}, "sessionId": mine.session_id}
    for method in ("PUT", "DELETE"):
        response = await mine.client.request(method, "/project/element", json=body)
        assert response.status_code == 404


def peak_memory(parley: ParleyProcess) -> int:
    status = Path(f"/proc/{parley.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


async def form(size: int) -> AsyncIterator[bytes]:
    yield (
        b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n'
        b"content-type: text/plain\r\n\r\n"
    )
    for _ in range(size // MIB):
        yield b"x" * MIB
    yield b"\r\n--x--\r\n"


@pytest.mark.parametrize("announced", [True, False])
async def test_too_large_a_file_is_refused_and_memory_stays_small(
    parley: ParleyProcess, mine: Visit, *, announced: bool
) -> None:
    await mine.upload(b"warm")
    before = peak_memory(parley)
    headers = {"content-type": "multipart/form-data; boundary=x"}
    if announced:
        headers["content-length"] = str(sum([len(piece) async for piece in form(60 * MIB)]))
    response = await mine.client.post(
        "/project/file",
        params={"session_id": mine.session_id},
        content=form(60 * MIB),
        headers=headers,
    )
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "too_large"
    assert "LIMIT_UPLOAD_BYTES" in response.json()["detail"]
    await until(lambda: len(waiting_files(parley, mine)) == 1)
    assert peak_memory(parley) - before < 25 * MIB


async def test_large_file_passes_without_filling_memory(parley: ParleyProcess, mine: Visit) -> None:
    await mine.upload(b"warm")
    before = peak_memory(parley)
    element = await mine.attached(b"x" * (50 * MIB))
    response = await mine.client.get(element["url"])
    assert len(response.content) == 50 * MIB
    assert peak_memory(parley) - before < 25 * MIB


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"nonsense", "multipart/form-data; boundary=x"),
        (b"nonsense", "multipart/form-data"),
        (b"{}", "application/json"),
        (
            b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\ntext\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
    ],
)
async def test_what_is_no_file_is_refused(mine: Visit, body: bytes, kind: str) -> None:
    response = await mine.client.post(
        "/project/file",
        params={"session_id": mine.session_id},
        content=body,
        headers={"content-type": kind},
    )
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("mime", ["image/svg+xml", "application/x-msdownload", "x", "text/plain "])
async def test_only_types_of_the_list_are_taken(mine: Visit, mime: str) -> None:
    response = await mine.upload(b"x", mime=mime)
    assert response.status_code == (200 if mime.startswith("text/") else 422)


@pytest.mark.parametrize(
    ("mime", "kind"),
    [("text/html", "attachment"), ("text/plain", "attachment"), ("image/png", "inline")],
)
async def test_nothing_of_a_user_runs_in_the_browser(mine: Visit, mime: str, kind: str) -> None:
    content = HTML if mime == "text/html" else chart()
    waiting = (await mine.upload(content, mime=mime)).json()["id"]
    where = f"/project/file/{waiting}?session_id={mine.session_id}"
    element = await mine.attached(content, mime=mime)
    for url in (where, element["url"]):
        headers = (await mine.client.get(url)).headers
        assert headers["content-disposition"].startswith(f"{kind};")
        assert headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"].startswith("private")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.txt", "a.txt"),
        ("a\r\nset-cookie: x=y.txt", "a%0D%0Aset-cookie: x=y.txt"),
        ("b; filename=b.html", "b; filename=b.html"),
        ("Grüße 🎉 \u202etxt.exe", "Grüße 🎉 txt.exe"),
        (f"{'x' * 500}.txt", f"{'x' * 196}.txt"),
        ("..", "file"),
    ],
)
async def test_hostile_name_is_only_a_name(mine: Visit, name: str, shown: str) -> None:
    element = await mine.attached(b"x", name)
    assert element["name"] == shown
    response = await mine.client.get(element["url"])
    assert response.status_code == 200
    assert "set-cookie" not in response.headers
    plain = re.fullmatch(
        r"attachment; filename=\"([^\"\\\r\n]*)\"; filename\*=UTF-8''([\w.~%-]*)",
        response.headers["content-disposition"],
    )
    assert plain


async def test_parts_and_known_bytes_are_served_as_asked(mine: Visit) -> None:
    url = (await mine.attached(b"0123456789"))["url"]
    whole = await mine.client.get(url)
    etag = whole.headers["etag"]
    assert (await mine.client.get(url, headers={"if-none-match": etag})).status_code == 304
    for wanted, part in {"2-4": b"234", "7-": b"789", "-2": b"89", "5-99": b"56789"}.items():
        response = await mine.client.get(url, headers={"range": f"bytes={wanted}"})
        assert (response.status_code, response.content) == (206, part)
        assert re.fullmatch(r"bytes \d-9/10|bytes 2-4/10", response.headers["content-range"])
    beyond = await mine.client.get(url, headers={"range": "bytes=10-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */10")
    for unread in ("bytes=4-2", "bytes=0-1,3-4", "lines=1-2", "bytes=-"):
        again = await mine.client.get(url, headers={"range": unread})
        assert (again.status_code, again.content) == (200, b"0123456789")
    head = await mine.client.head(url)
    assert (head.content, head.headers["content-length"]) == (b"", "10")
    assert (await mine.client.post(url)).status_code == 405


async def test_files_without_words_are_refused_with_what_to_do(mine: Visit) -> None:
    file_id = (await mine.upload(b"x")).json()["id"]
    await mine.send(" ", file_id)
    assert "Write something with your files" in await mine.socket.next_error()
    assert mine.socket.all("element") == []


@pytest.mark.parametrize("references", ["x", [1], [{}], [{"id": 7}], [{"id": "x"}] * 11])
async def test_references_that_are_none_are_refused(mine: Visit, references: object) -> None:
    step = {"id": str(uuid4()), "output": "hi"}
    await mine.socket.emit("client_message", {"message": step, "fileReferences": references})
    assert await mine.socket.next_error()
    assert mine.socket.all("element") == []


async def test_storage_that_fails_does_not_stop_the_chat(tmp_path: Path, faked: Faked) -> None:
    faked.will_reply(sse(*answer("Hello.")))
    settings = {"OPENAI_BASE_URL": faked.server.base_url, "OPENAI_MODEL": "fake"}
    async with (
        serving(tmp_path, settings) as parley,
        visit(parley, await new_guest(parley)) as visited,
    ):
        file_id = (await visited.upload(b"x")).json()["id"]
        (tmp_path / ".parley" / "files" / ".parts").write_bytes(b"no directory")
        await visited.send("Look.", file_id)
        assert "STORAGE_DIRECTORY" in await visited.socket.next_error()
        step = await visited.socket.next("update_message")
        assert step["output"] == "Hello."


@pytest.mark.needs_browser
@pytest.mark.parametrize("size", SIZES)
async def test_attachments_are_seen_live_and_after_a_reload(
    page: Page, parley: ParleyProcess, size: str
) -> None:
    width, height = SIZES[size]
    await page.set_viewport_size({"width": width, "height": height})
    await open_page(page, parley)
    await say(page, "Hello.")  # its session is there from now on
    await expect(answer_of(page)).to_contain_text("Hello there.")
    await thread_of(page)
    await finished(page)
    files = {
        ("chart.png", "image/png"): chart(),
        ("Q3 report.pdf", "application/pdf"): b"%PDF-1.4 x",
        ("notes & <b>ideas.txt", "text/plain"): b"ideas",
    }
    await settled(page)  # what is chosen before is not sent
    for number, ((name, mime), content) in enumerate(files.items(), 1):
        chosen = FilePayload(name=name, mimeType=mime, buffer=content)
        async with page.expect_response(re.compile("/project/file")) as answered:
            await page.locator("#upload-button-input").set_input_files([chosen])
        assert (await answered.value).ok
        await expect(page.locator("#attachments > *")).to_have_count(number)
    await say(page, "What is in these?")
    for _ in ("live", "reloaded"):
        await expect(question_of(page)).to_contain_text("What is in these?")
        await expect(page.get_by_text("Q3 report.pdf")).to_be_visible()
        await expect(page.get_by_text("notes & <b>ideas.txt")).to_be_visible()
        await expect(page.locator("img[src^='/files/']")).to_be_visible()
        await finished(page)
        await shot(page, f"attachments-{size}")
        ((thread_id,),) = select(
            parley, "SELECT thread_id FROM elements ORDER BY created_at DESC LIMIT 1"
        )
        await open_page(page, parley, f"/thread/{UUID(thread_id)}")
    async with page.expect_download() as downloading:
        await page.get_by_text("notes & <b>ideas.txt").click()
    downloaded = await (await downloading.value).path()
    assert await asyncio.to_thread(downloaded.read_bytes) == b"ideas"
