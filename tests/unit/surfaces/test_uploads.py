"""Uploads: how many arrive at once, and how long one may say nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from chainlit.session import WebsocketSession, ws_sessions_id
from chainlit.user import PersistedUser
from starlette.types import Message, Scope
from typing_extensions import override

from parley.chat.owner import current_owner
from parley.chat.turns import Owner
from parley.surfaces.page.arrivals import Patience
from parley.surfaces.page.uploads import UploadConfig, Uploads
from parley.surfaces.page.waiting import waiting_files

FORM = (
    b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n'
    b"content-type: text/plain\r\n\r\nhello\r\n--x--\r\n"
)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebsocketSession]:
    """A session of a guest who is calling now, as socket.py makes them."""
    monkeypatch.setattr("chainlit.config.FILES_DIRECTORY", tmp_path)
    owner = Owner(str(uuid4()), "guest:x")
    user = PersistedUser(id=owner.id, identifier=owner.identifier, createdAt="2026-01-01")
    session = WebsocketSession(
        str(uuid4()), "sid", lambda *_: None, lambda *_: None, {}, "webapp", user=user
    )
    token = current_owner.set(owner)
    yield session
    current_owner.reset(token)
    ws_sessions_id.pop(session.id)


class Sender:
    """Uploads a file to an ASGI app; nothing of it arrives before `go`."""

    def __init__(
        self, session: WebsocketSession, *, go: bool = True, kind: bytes = b"multipart/form-data"
    ) -> None:
        self.go, self.asked, self.status = asyncio.Event(), asyncio.Event(), 0
        if go:
            self.go.set()
        self._scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": "/project/file",
            "query_string": f"session_id={session.id}".encode(),
            "headers": [(b"content-type", kind + b"; boundary=x")],
        }

    async def send_to(self, app: Uploads) -> int:
        await app(self._scope, self._receive, self._send)
        return self.status

    async def _receive(self) -> Message:
        self.asked.set()
        await self.go.wait()
        return {"type": "http.request", "body": FORM}

    async def _send(self, message: Message) -> None:
        self.status = message.get("status", self.status)


async def test_only_so_many_arrive_at_once(session: WebsocketSession, tmp_path: Path) -> None:
    app = Uploads(UploadConfig(tmp_path, at_once=1))
    first, second = Sender(session, go=False), Sender(session)
    async with asyncio.TaskGroup() as tasks:
        one = tasks.create_task(first.send_to(app))
        await first.asked.wait()
        two = tasks.create_task(second.send_to(app))
        await asyncio.to_thread(lambda: None)
        assert not second.asked.is_set()
        first.go.set()
    assert (one.result(), two.result()) == (200, 200)
    assert len(session.files) == 2


async def test_who_gets_no_turn_is_told(session: WebsocketSession, tmp_path: Path) -> None:
    app = Uploads(UploadConfig(tmp_path, at_once=1, patience=Patience(slot_s=0.01)))
    first = Sender(session, go=False)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(first.send_to(app))
        await first.asked.wait()
        assert await Sender(session).send_to(app) == 429
        first.go.set()


async def test_silence_ends_an_upload(session: WebsocketSession, tmp_path: Path) -> None:
    app = Uploads(UploadConfig(tmp_path, at_once=1, patience=Patience(idle_s=0.05)))
    assert await Sender(session, go=False).send_to(app) == 422
    assert await Sender(session).send_to(app) == 200


async def test_oldest_file_makes_room(session: WebsocketSession, tmp_path: Path) -> None:
    app = Uploads(UploadConfig(tmp_path))
    for _ in range(25):
        assert await Sender(session).send_to(app) == 200
    kept = {path.name for path in await asyncio.to_thread(lambda: [*session.files_dir.iterdir()])}
    assert kept == set(session.files)
    assert len(kept) == 20


async def test_one_byte_too_many_is_too_large(session: WebsocketSession, tmp_path: Path) -> None:
    assert await Sender(session).send_to(Uploads(UploadConfig(tmp_path, limit_bytes=5))) == 200
    assert await Sender(session).send_to(Uploads(UploadConfig(tmp_path, limit_bytes=4))) == 413


async def test_full_disk_is_said(session: WebsocketSession, tmp_path: Path) -> None:
    (tmp_path / session.id).write_bytes(b"no directory")
    assert await Sender(session).send_to(Uploads(UploadConfig(tmp_path))) == 503


async def test_what_is_no_form_with_files_is_not_read(
    session: WebsocketSession, tmp_path: Path
) -> None:
    for kind in (b"application/x-www-form-urlencoded", b"multipart/mixed", b""):
        sender = Sender(session, kind=kind)
        assert await sender.send_to(Uploads(UploadConfig(tmp_path))) == 422
        assert not sender.asked.is_set()


class Trickling(Sender):
    """It is never silent for long: only what arrives in all counts."""

    @override
    async def _receive(self) -> Message:
        await asyncio.to_thread(lambda: None)
        return {"type": "http.request", "body": b"x", "more_body": True}


async def test_trickling_ends_an_upload(session: WebsocketSession, tmp_path: Path) -> None:
    app = Uploads(UploadConfig(tmp_path, patience=Patience(first_s=0.01)))
    assert await Trickling(session).send_to(app) == 422


async def test_one_owner_leaves_room_for_others(session: WebsocketSession, tmp_path: Path) -> None:
    app = Uploads(UploadConfig(tmp_path, at_once=3))
    slow = [Sender(session, go=False) for _ in range(20)]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(sender.send_to(app)) for sender in slow]
        await asyncio.gather(slow[0].asked.wait(), slow[1].asked.wait())
        assert sum(sender.asked.is_set() for sender in slow) == 2
        assert await Sender(session).send_to(app) == 429
        async with app._slots.one("another"):
            pass
        for sender in slow:
            sender.go.set()
    assert {task.result() for task in running} == {200}
    assert not app._slots._own


async def test_waiting_files_of_an_owner_are_bounded(
    session: WebsocketSession, tmp_path: Path
) -> None:
    app = Uploads(UploadConfig(tmp_path, waiting_bytes=2 * len(b"hello")))
    other = WebsocketSession(
        str(uuid4()), "other", lambda *_: None, lambda *_: None, {}, "webapp", user=session.user
    )
    assert await Sender(session).send_to(app) == 200
    assert await Sender(other).send_to(app) == 200
    for of in (session, other):
        assert await Sender(of).send_to(app) == 413
    await other.delete()  # type: ignore[no-untyped-call]  # Chainlit has no type here
    assert await Sender(session).send_to(app) == 200


async def test_last_room_of_the_disk_is_not_for_files(
    session: WebsocketSession, tmp_path: Path
) -> None:
    app = Uploads(UploadConfig(tmp_path / "not" / "made", least_free_bytes=1 << 62))
    sender = Sender(session)
    assert await sender.send_to(app) == 503
    assert not sender.asked.is_set()


async def test_nothing_waits_after_the_end(session: WebsocketSession, tmp_path: Path) -> None:
    swept = asyncio.Semaphore(0)

    async def sweep() -> None:
        swept.release()

    async with waiting_files(sweep, every_s=0):
        assert await Sender(session).send_to(Uploads(UploadConfig(tmp_path))) == 200
        assert await asyncio.to_thread(session.files_dir.is_dir)
        for _ in range(3):
            await swept.acquire()
    assert not await asyncio.to_thread(session.files_dir.exists)
