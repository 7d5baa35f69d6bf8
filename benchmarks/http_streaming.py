"""Streaming through an HTTP surface: Parley beside two relays of the same upstream."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from benchmarks.load import Streamed, chat_body, percentile, read_stream
from benchmarks.servers import Server

FLOOD_STREAMS, FLOOD_TOKENS = 20, 1000
PACED_STREAMS, PACED_TOKENS, PACED_RATE = 50, 100, 20
_ROUNDS = 3
_SEQUENTIAL = 200
_RATE, _RATE_SECONDS = 100, 5

Body = Callable[[str], dict[str, object]]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one server did; all of `http_streaming` of it."""

    flood_tokens_per_s: float
    paced_cpu_ms_per_1000: float
    paced_first_ms: float


@dataclass(frozen=True, slots=True)
class FirstText:
    """Times to the first text, in ms: one after the other, and at 100 requests a second."""

    sequential_p50: float
    at_rate_p50: float
    at_rate_p99: float


async def measure_streaming(server: Server) -> Figures:
    """Measure flood and pace, the best of three rounds each, after a warm-up."""
    flood = await measure_flood(server)
    paced = [await _paced(server) for _ in range(_ROUNDS)]
    return Figures(flood, min(cpu for cpu, _ in paced), median(first for _, first in paced))


async def measure_flood(server: Server) -> float:
    """Measure tokens a second of the flood, the best of three rounds after a warm-up."""
    await _together(server.port, f"flood-{FLOOD_TOKENS}", FLOOD_STREAMS)
    return max([await _flood(server) for _ in range(_ROUNDS)])


async def measure_first_text(port: int, path: str, body: Body) -> FirstText:
    """Measure how soon one token comes whose upstream sends it at once."""
    script = "flood-1"
    for _ in range(20):
        await read_stream(port, path, body(script))
    one_by_one = [
        (await read_stream(port, path, body(script))).first_ms for _ in range(_SEQUENTIAL)
    ]
    at_rate = await _at_rate(port, path, body, script)
    return FirstText(median(one_by_one), median(at_rate), percentile(at_rate, 99))


async def _flood(server: Server) -> float:
    began_at = perf_counter()
    streams = await _together(server.port, f"flood-{FLOOD_TOKENS}", FLOOD_STREAMS)
    seconds = perf_counter() - began_at
    return _all_there(streams, FLOOD_TOKENS) / seconds


async def _paced(server: Server) -> tuple[float, float]:
    before_ms = server.cpu_ms()
    streams = await _together(server.port, f"paced-{PACED_TOKENS}-{PACED_RATE}", PACED_STREAMS)
    cpu_ms = server.cpu_ms() - before_ms
    tokens = _all_there(streams, PACED_TOKENS)
    return cpu_ms * 1000 / tokens, median(stream.first_ms for stream in streams)


async def _together(port: int, script: str, count: int) -> list[Streamed]:
    return await asyncio.gather(
        *(read_stream(port, "/chat", chat_body(script)) for _ in range(count))
    )


async def _at_rate(port: int, path: str, body: Body, script: str) -> list[float]:
    """Start requests on time, whatever became of those before."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    async with asyncio.TaskGroup() as tasks:
        running = []
        for number in range(_RATE * _RATE_SECONDS):
            await asyncio.sleep(began_at + number / _RATE - loop.time())
            running.append(tasks.create_task(read_stream(port, path, body(script))))
    return [task.result().first_ms for task in running]


def _all_there(streams: list[Streamed], each: int) -> int:
    """A figure counts only if nothing was lost on the way."""
    assert all(stream.tokens == each for stream in streams), [s.tokens for s in streams]
    return len(streams) * each
