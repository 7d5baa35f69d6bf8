"""Uploads: how many arrive at once, and how long one may say nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from chainlit.session import WebsocketSession, ws_sessions_id
from chainlit.user import PersistedUser
from starlette.types import Message, Scope

from parley.chat.owner import current_owner
from parley.chat.turns import Owner
from parley.surfaces.page import uploads
from parley.surfaces.page.uploads import UploadConfig, Uploads

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

    def __init__(self, session: WebsocketSession, *, go: bool = True) -> None:
        self.go, self.asked, self.status = asyncio.Event(), asyncio.Event(), 0
        if go:
            self.go.set()
        self._scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": "/project/file",
            "query_string": f"session_id={session.id}".encode(),
            "headers": [(b"content-type", b"multipart/form-data; boundary=x")],
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


async def test_who_gets_no_turn_is_told(
    session: WebsocketSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_SLOT_S", 0.01)
    app = Uploads(UploadConfig(tmp_path, at_once=1))
    first = Sender(session, go=False)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(first.send_to(app))
        await first.asked.wait()
        assert await Sender(session).send_to(app) == 429
        first.go.set()


async def test_silence_ends_an_upload(
    session: WebsocketSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_IDLE_S", 0.01)
    app = Uploads(UploadConfig(tmp_path, at_once=1))
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
