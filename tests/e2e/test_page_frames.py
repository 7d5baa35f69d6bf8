"""The page's scripts, and the frames that its socket gets: against a server that only sends."""

import http
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

FRAMES = 50
HTML = b'<!doctype html><link rel="icon" href="data:,"><script type="module" src="/public/page.js"></script>'
# Who draws after each task asks for it in a microtask, as React does. The first frame keeps the page busy until all
# the others wait; one handler fails.
READ = """
() => new Promise((done) => {
  const got = { frames: [], drawn: 0, errors: [] };
  let asked = false;
  addEventListener("error", (event) => { got.errors.push(event.message); event.preventDefault(); });
  const socket = new WebSocket(location.href.replace("http", "ws") + "socket");
  socket.onmessage = ({ data }) => {
    got.frames.push(data);
    if (!asked) queueMicrotask(() => { got.drawn += 1; asked = false; });
    asked = true;
    if (data === "0") for (const until = performance.now() + 500; performance.now() < until;);
    if (data === "7") throw new Error("seven");
  };
  socket.onclose = () => done(got);
})
"""


@pytest.fixture
async def sender() -> AsyncIterator[Server]:
    """A server that has the scripts, and a socket that sends at once all it has and goes."""

    def page(_: ServerConnection, request: Request) -> Response | None:
        if request.path == "/socket":
            return None
        is_script = request.path.endswith(".js")
        headers = Headers({"content-type": "text/javascript" if is_script else "text/html"})
        body = Path(request.path.lstrip("/")).read_bytes() if is_script else HTML
        return Response(http.HTTPStatus.OK, "OK", headers, body)

    async def send(socket: ServerConnection) -> None:
        for number in range(FRAMES):
            await socket.send(str(number))

    async with serve(send, "127.0.0.1", 0, process_request=page) as server:
        yield server


async def test_frames_that_wait_are_drawn_together(sender: Server, page: Page) -> None:
    port = next(iter(sender.sockets)).getsockname()[1]
    await page.goto(f"http://127.0.0.1:{port}/")
    got: dict[str, Any] = await page.evaluate(READ)
    assert got["frames"] == [str(number) for number in range(FRAMES)], "each once, in order"
    assert got["errors"] == ["Uncaught Error: seven"]
    assert got["drawn"] <= 5
