"""A browser with a session that can send files: its socket and its HTTP client."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4
from zlib import compress, crc32

import httpx2

from tests.e2e.page_socket import PageSocket, page_socket
from tests.e2e.support import client_of
from tests.server import ParleyProcess


class Visit:
    """One browser: its socket, its session, and its HTTP client."""

    def __init__(self, socket: PageSocket, client: httpx2.AsyncClient, session_id: str) -> None:
        self.socket = socket
        self.client = client
        self.session_id = session_id

    async def upload(
        self,
        content: bytes,
        name: str = "notes.txt",
        mime: str = "text/plain",
        session_id: str | None = None,
    ) -> httpx2.Response:
        return await self.client.post(
            "/project/file",
            params={"session_id": session_id or self.session_id},
            files={"file": (name, content, mime)},
        )

    async def send(self, text: str, *file_ids: object) -> str:
        """Send a message with files, as the page does."""
        step_id = str(uuid4())
        step = {"id": step_id, "type": "user_message", "output": text, "name": "me"}
        references = [{"id": file_id} for file_id in file_ids]
        await self.socket.emit("client_message", {"message": step, "fileReferences": references})
        return step_id

    async def attached(
        self, content: bytes, name: str = "notes.txt", mime: str = "text/plain"
    ) -> dict[str, str]:
        """Upload and send; gives the element that the page is told of."""
        seen = len(self.socket.all("element"))
        response = await self.upload(content, name, mime)
        assert response.status_code == 200, response.text
        await self.send("Look.", response.json()["id"])
        element: dict[str, str] = await self.socket.next("element", seen + 1)
        return element


@asynccontextmanager
async def visit(parley: ParleyProcess, cookie: str) -> AsyncIterator[Visit]:
    session_id = str(uuid4())
    auth = {"sessionId": session_id, "clientType": "webapp"}
    async with client_of(parley) as client, page_socket(parley, cookie, auth) as socket:
        client.headers["cookie"] = cookie
        yield Visit(socket, client, session_id)


def chart() -> bytes:
    """A picture that can be seen: bars, as a PNG without any library."""
    width, height = 240, 120
    rows = [
        b"\0"
        + b"".join(b"\x30\x60\xc0" if y > 120 - x // 2 else b"\xee\xee\xee" for x in range(width))
        for y in range(height)
    ]

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    drawn = part(b"IHDR", header) + part(b"IDAT", compress(b"".join(rows))) + part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + drawn
