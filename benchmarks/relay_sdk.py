"""Baseline: the openai SDK's objects, encoded again: what one writes in an hour.

Run: ``python -m benchmarks.relay_sdk UPSTREAM_URL``; prints its port.
"""

import socket
import sys
from collections.abc import AsyncIterator

import uvicorn
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route


def make_app(upstream: str) -> Starlette:
    """Make the relay: ``POST /chat`` takes the body that the load client sends to Parley."""
    client = AsyncOpenAI(base_url=f"{upstream}/v1", api_key="-", max_retries=0)

    async def chat(request: Request) -> StreamingResponse:
        body = await request.json()

        async def frames() -> AsyncIterator[bytes]:
            stream = await client.chat.completions.create(
                model="bench",
                stream=True,
                messages=[{"role": "user", "content": body["message"]}],
            )
            async for chunk in stream:
                yield f"data: {chunk.model_dump_json()}\n\n".encode()

        return StreamingResponse(frames(), media_type="text/event-stream")

    return Starlette(routes=[Route("/chat", chat, methods=["POST"])])


def main(upstream: str) -> None:
    """Serve until killed."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listening.getsockname()[1], flush=True)
    server = uvicorn.Server(uvicorn.Config(make_app(upstream), log_level="error"))
    server.run(sockets=[listening])


if __name__ == "__main__":
    main(sys.argv[1])
