"""A model server for load in three dialects: so many chunks at once, by whichever route is asked.

Run: ``python -m benchmarks.dialect_upstream CHUNKS``; prints its port. ``GET /connections`` says
how many connections it saw.
"""

import asyncio
import json
import re
import sys

import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_PACKET = 16 * 1024


def _event(payload: object) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"


def _chat(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1700000000}
    return _event({**head, "model": "bench", "choices": [choice]})


def _token(number: int, text: str | None = None) -> bytes:
    token = {"id": 42, "text": "tok ", "logprob": -0.25, "special": False}
    details = {"finish_reason": "length", "generated_tokens": number, "seed": None}
    end = {"generated_text": text, "details": details if text is not None else None}
    return _event({"index": number, "token": token, **end})


def _response(text: str, finish: str | None = None) -> bytes:
    content = {"parts": [{"text": text}], "role": "model"}
    candidate = {"content": content, "index": 0, **({"finishReason": finish} if finish else {})}
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 1, "totalTokenCount": 8}
    rest = {"usageMetadata": usage, "modelVersion": "bench", "responseId": "bench"}
    return _event({"candidates": [candidate], **rest})


def _answers(chunks: int) -> dict[bytes, bytes]:
    """The body of an answer, by a word of its route."""
    chat = _chat({"content": "tok "}) * chunks + _chat({}, "stop") + b"data: [DONE]\n\n"
    native = b"".join(map(_token, range(1, chunks))) + _token(chunks, "tok " * chunks)
    gemini = _response("tok ") * (chunks - 1) + _response("tok ", "STOP")
    return {b"chat/completions": chat, b"generate_stream": native, b"streamGenerate": gemini}


async def main(chunks: int) -> None:
    """Serve until killed."""
    answers = _answers(chunks)
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                if b"/connections" in head.split(b"\r\n", 1)[0]:
                    connections -= 1
                    said = str(connections).encode()
                    writer.write(
                        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(said), said)
                    )
                    continue
                body = next((b for word, b in answers.items() if word in head), b"")
                await _send(writer, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _send(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(_HEAD)
    for start in range(0, len(body), _PACKET):
        packet = body[start : start + _PACKET]
        writer.write(b"%x\r\n%s\r\n" % (len(packet), packet))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
