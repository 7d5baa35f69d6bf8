"""Baseline, the limit: a byte relay on aiohttp and uvloop that parses nothing and keeps nothing.

It forwards what each read gives, many chunks of a flood at once; with ``chunks`` one by one, as the
model server sent them. Run: ``python -m benchmarks.relay_bytes UPSTREAM_URL [chunks]``; prints its
port.
"""

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web

_SESSION = web.AppKey("session", aiohttp.ClientSession)


def make_app(upstream: str, *, by_chunk: bool) -> web.Application:
    """Make the relay: ``POST /chat`` takes the body that the load client sends to Parley."""

    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        asked = {
            "model": "bench",
            "stream": True,
            "messages": [{"role": "user", "content": body["message"]}],
        }
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        session = request.app[_SESSION]
        async with session.post(f"{upstream}/v1/chat/completions", json=asked) as answer:
            await response.prepare(request)
            if by_chunk:
                async for chunk, _ in answer.content.iter_chunks():
                    await response.write(chunk)
            else:
                async for piece in answer.content.iter_any():
                    await response.write(piece)
        return response

    app = web.Application()
    app.router.add_post("/chat", chat)

    async def open_session(app: web.Application) -> None:
        app[_SESSION] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    app.on_startup.append(open_session)
    return app


async def main(upstream: str, cut: str = "") -> None:
    """Serve until killed."""
    runner = web.AppRunner(make_app(upstream, by_chunk=cut == "chunks"), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
