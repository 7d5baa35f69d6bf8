"""A model server for load: one OpenAI chunk for each token, paced or as fast as the socket takes.

The last message is the script: ``flood-1000`` sends 1,000 tokens at once, ``paced-100-20`` sends
100 tokens at 20 a second, the first after one interval. Run: ``python -m benchmarks.upstream``;
prints its port.
"""

import asyncio
import json
import re

import uvloop

TOKEN = "tok "
_SCRIPT = re.compile(rb"(flood|paced)-(\d+)(?:-(\d+))?")
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
_MODELS = json.dumps(
    {"object": "list", "data": [{"id": "bench", "object": "model", "owned_by": "bench"}]}
).encode()


def _framed(data: str) -> bytes:
    body = f"data: {data}\n\n".encode()
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


def _chunk(delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _framed(
        json.dumps(
            {
                "id": "chatcmpl-bench",
                "object": "chat.completion.chunk",
                "created": 1700000000,
                "model": "bench",
                "choices": [choice],
            }
        )
    )


_TOKEN_CHUNK = _chunk({"content": TOKEN}, None)
_END = _chunk({}, "stop") + _framed("[DONE]") + b"0\r\n\r\n"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(length[1])) if length else b""
            await _answer(head, body, writer)
            if b"connection: close" in head.lower():
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _answer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
    if head.startswith(b"GET"):
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (len(_MODELS), _MODELS)
        )
        return
    if b"/chat/completions " not in head.partition(b"\r\n")[0]:
        writer.write(_NOT_FOUND)  # it counts no tokens, as most servers
        return
    _, count, per_second = _SCRIPT.findall(body)[-1]
    writer.write(_HEAD)
    if per_second:
        await _paced(writer, int(count), 1 / int(per_second))
    else:
        await _flood(writer, int(count))
    writer.write(_END)
    await writer.drain()


async def _flood(writer: asyncio.StreamWriter, count: int) -> None:
    for _ in range(count):
        writer.write(_TOKEN_CHUNK)
        await writer.drain()


async def _paced(writer: asyncio.StreamWriter, count: int, interval_s: float) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    for _ in range(count):
        due += interval_s
        await asyncio.sleep(due - loop.time())
        writer.write(_TOKEN_CHUNK)


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
