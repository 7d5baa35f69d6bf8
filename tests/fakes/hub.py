"""A Hugging Face Hub on loopback, for whatever huggingface_hub asks to fetch a file.

    async with fake_hub(Repo("org/model", {"a.gguf": data})) as hub:
        ...  # HF_ENDPOINT=hub.url
        assert hub.sent_bytes == len(data)

As the real one: a repository's description; HEAD and GET of a file answer with a redirect to a
content server at another address, with the commit, the checksum and the size in headers; that server
knows Range and must not be sent a token.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

COMMIT = "a" * 39 + "1"
PIECE_BYTES = 64 * 1024


@dataclass
class Repo:
    """A repository, and what is wrong with it: `refused` is the status and code of a gated one."""

    name: str
    files: Mapping[str, bytes]
    licence: str = "apache-2.0"
    refused: tuple[int, str] | None = None
    token: str | None = None  # who sends it is not refused


@dataclass
class FakeHub:
    """`cut_after`: bytes after which the next download breaks off, each one where it `stays_cut`.

    `refused_then` is what the repository refuses with from then on. `garbled`: a byte is wrong.
    """

    repo: Repo
    url: str = ""
    content_url: str = ""
    cut_after: int | None = None
    stays_cut: bool = False
    refused_then: tuple[int, str] | None = None
    garbled: bool = False
    knows_range: bool = True
    # What a proxy gives in place of a file.
    page: str | None = None
    # So many bytes more are sent than the file has.
    surplus: int = 0
    # What it was asked for.
    asked: list[str] = field(default_factory=list)
    # A download stops after its first piece until this is set.
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ranges: list[str | None] = field(default_factory=list)
    sent_bytes: int = 0
    tokens: list[str | None] = field(default_factory=list)
    content_tokens: list[str | None] = field(default_factory=list)

    def assert_resumed(self, cut: int) -> None:
        """The second download went on from what the first had brought.

        That may be less than was sent: what a broken connection has still to deliver can be lost.
        """
        first, second = self.ranges
        start = int((second or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        assert first is None
        assert 0 <= start <= cut

    async def describe(self, request: web.Request) -> web.StreamResponse:
        self.tokens.append(request.headers.get("Authorization"))
        if request.match_info["repo"] != self.repo.name:
            return _refusal(401, "RepoNotFound")  # what it says to the unknown, of what is missing
        return web.json_response(
            {
                "id": self.repo.name,
                "modelId": self.repo.name,
                "sha": COMMIT,
                "private": False,
                "gated": "manual" if self.repo.refused else False,
                "tags": ["gguf", f"license:{self.repo.licence}"],
                "siblings": [{"rfilename": name} for name in ("README.md", *self.repo.files)],
                "cardData": {"license": self.repo.licence},
            }
        )

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("Authorization")
        self.tokens.append(token)
        data = self.repo.files.get(request.match_info["file"])
        if request.match_info["repo"] != self.repo.name:
            return _refusal(404, "RepoNotFound")
        if self.repo.refused and token != f"Bearer {self.repo.token}":
            return _refusal(*self.repo.refused)
        if data is None:
            return _refusal(404, "EntryNotFound")
        digest = hashlib.sha256(data).hexdigest()
        headers = {
            "Location": f"{self.content_url}/{digest}",
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(len(data)),
            "X-Linked-Etag": f'"{digest}"',
            "ETag": f'"{digest[:32]}"',
            "Accept-Ranges": "bytes",
        }
        return web.Response(status=302, headers=headers, text="Found. Redirecting")

    async def content(self, request: web.Request) -> web.StreamResponse:
        self.content_tokens.append(request.headers.get("Authorization"))
        self.ranges.append(request.headers.get("Range"))
        if self.page is not None:
            return web.Response(text=self.page, content_type="text/html")
        digest = request.match_info["digest"]
        files = self.repo.files.values()
        data = next(d for d in files if hashlib.sha256(d).hexdigest() == digest)
        if self.garbled:
            data = bytes([data[0] ^ 1]) + data[1:]
        data += bytes(self.surplus)
        start, headers = 0, {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if asked and self.knows_range:
            start = int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        headers["Content-Length"] = str(len(data) - start)
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        await self._send(request, response, data[start:])
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse, data: bytes) -> None:
        cut = self.cut_after
        if not self.stays_cut:
            self.cut_after = None
        for start in range(0, len(data), PIECE_BYTES):
            piece = data[start : start + PIECE_BYTES]
            if cut is not None and start + len(piece) > cut:
                piece = piece[: cut - start]
            await response.write(piece)
            self.sent_bytes += len(piece)
            self.begun.set()
            if cut is not None and start + len(piece) >= cut:
                self.repo.refused = self.refused_then
                assert request.transport is not None
                request.transport.close()
                return
            await self.gate.wait()


def _refusal(status: int, code: str) -> web.Response:
    headers = {"X-Error-Code": code, "X-Error-Message": f"{code}: not for you"}
    return web.Response(status=status, headers=headers, text="")


@asynccontextmanager
async def fake_hub(repo: Repo) -> AsyncIterator[FakeHub]:
    """Serve `repo`; downloads run through unless the test clears `gate`."""
    hub = FakeHub(repo)
    hub.gate.set()
    files, content = web.Application(middlewares=[_recording(hub)]), web.Application()
    files.router.add_get("/api/models/{repo:[^/]+/[^/]+}", hub.describe)
    files.router.add_get("/{repo:[^/]+/[^/]+}/resolve/{commit}/{file:.+}", hub.resolve)
    content.router.add_get("/{digest}", hub.content)
    runners = [web.AppRunner(app, shutdown_timeout=0.1) for app in (files, content)]
    try:
        urls = [await _listen(runner) for runner in runners]
        hub.url, hub.content_url = urls
        yield hub
    finally:
        hub.gate.set()
        for runner in runners:
            await runner.cleanup()


def _recording(hub: FakeHub) -> Middleware:
    @web.middleware
    async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
        hub.asked.append(request.path)
        return await handler(request)

    return record


async def _listen(runner: web.AppRunner) -> str:
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port, *_ = runner.addresses[0]
    return f"http://{host}:{port}"
