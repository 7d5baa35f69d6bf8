"""Load: streams read over raw sockets, so that the client costs little of its core."""

import asyncio
import json
import statistics
from dataclasses import dataclass
from time import perf_counter
from uuid import uuid4

from benchmarks.upstream import TOKEN

_MARK = TOKEN.strip().encode()


@dataclass(frozen=True, slots=True)
class Streamed:
    """One stream as its reader saw it; `first_ms` is the time to the first token."""

    tokens: int
    first_ms: float


async def read_stream(port: int, path: str, body: dict[str, object]) -> Streamed:
    """Post a body, read the answer to its end, count tokens."""
    began_at = perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    payload = json.dumps(body).encode()
    writer.write(
        b"POST %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nconnection: close\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
        % (path.encode(), port, len(payload))
        + payload
    )
    tokens, first_ms, tail = 0, float("nan"), b""
    while data := await reader.read(1 << 18):
        data = tail + data
        found = data.count(_MARK)
        if found and not tokens:
            first_ms = (perf_counter() - began_at) * 1000
        tokens += found
        # A mark cut in two by the packet: all but its last character may come again.
        tail = data[-(len(_MARK) - 1) :]
    writer.close()
    return Streamed(tokens, first_ms)


def chat_body(script: str) -> dict[str, object]:
    """Make a message of a caller of its own; `script` is what the upstream does with it."""
    return {"session_id": uuid4().hex, "message": script}


def completion_body(script: str) -> dict[str, object]:
    """Make the same question for the upstream itself."""
    message = {"role": "user", "content": script}
    return {"model": "bench", "stream": True, "messages": [message]}


def percentile(values: list[float], percent: int) -> float:
    """Give a percentile of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
