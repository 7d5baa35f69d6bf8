"""Live: three replicas on one PostgreSQL and one Redis; what a reader, a Stop and a crash cost.

The targets are absolute, so a machine with much else to do misses them; the model server is a fake that tells
a word in 10 ms.
"""

import asyncio
import math
import tempfile
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import msgspec
import uvloop
from redis.asyncio import Redis

from benchmarks.table import Row, progress
from parley.chat.events import TextEvent
from parley.live.memory_log import MemoryTurnLog
from tests.e2e.replicas import Reading, Replicas, replicas

_REATTACHED, _STOPPED, _STOPPED_ALONE, _KILLED = 100, 100, 10, 5
_PACE_S, _WINDOW_S = 0.01, 0.02
_TOKENS = 1000
_BEGUN_CHARS = 200
# Commands that a turn costs in the stores beside its log.
_LOG_COMMANDS = ("xadd", "expire")


def live_rows() -> list[Row]:
    """Measure them all."""
    return uvloop.run(_rows())


async def _rows() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as directory:
        async with replicas(
            Path(directory), pace_s=_PACE_S, LOG_LEVEL="WARNING", LIMIT_RUNNING_TURNS="100"
        ) as it:
            rows = [
                await _reattach_row(it),
                await _stop_row(it),
                *await _redis_rows(it),
                await _stop_alone_row(it),
                await _takeover_row(it),
                _memory_row(),
            ]
    return rows


def _memory_row() -> Row:
    """Weigh what the log of a turn keeps in the process, at the worst: an event for each token."""
    progress("memory of a log")
    log = MemoryTurnLog()
    tracemalloc.start()
    log.begin("turn")
    for n in range(_TOKENS):
        log.append("turn", [TextEvent("turn", n + 1, f"token{n:04} ", n * 10)])
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Row(
        f"process memory, the log of {_TOKENS} tokens, an event each",
        f"{size / 1000:.0f} kB",
        "",
        "",
        reached=True,
    )


async def _begun(
    it: Replicas, on: int, tokens: int = _TOKENS
) -> tuple[Reading, asyncio.Task[Reading]]:
    """Begin a turn, and wait until there is something of it to read."""
    reading = Reading(f"bench-{uuid4().hex[:8]}", f"{uuid4().hex[:8]} {tokens}")
    reader = asyncio.ensure_future(it.read(reading, on))
    async with asyncio.timeout(30):
        while len(reading.text) < _BEGUN_CHARS:  # noqa: ASYNC110 - it happens in other processes
            await asyncio.sleep(_WINDOW_S)
    return reading, reader


async def _reattach_row(it: Replicas) -> Row:
    progress("reattach")
    reading, reader = await _begun(it, 0, 3000)
    times = [await _reattached(it, reading, n % 3) for n in range(_REATTACHED)]
    await it.stop(reading, 0)
    await reader
    return _row("reattach, any replica: first old text", times, 0.150)


async def _reattached(it: Replicas, reading: Reading, on: int) -> float:
    began_at = monotonic()
    async with aclosing(_events(it, on, reading)) as events:
        async for event in events:
            if event["type"] == "text":
                return monotonic() - began_at
    raise AssertionError("no text came")


async def _events(it: Replicas, on: int, reading: Reading) -> AsyncGenerator[dict[str, Any]]:
    """Follow a turn from its start, on a replica."""
    headers = {"x-session-id": reading.session_id}
    url = f"/api/v1/turns/{reading.turn_id}/events?after=0"
    async with it.clients[on].stream("GET", url, headers=headers) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                yield msgspec.json.decode(line.removeprefix("data: "))


async def _stop_row(it: Replicas) -> Row:
    progress("stop")
    return _row(
        "Stop on any replica until the upstream is closed",
        await _stops(it, _STOPPED),
        0.250,
    )


async def _stop_alone_row(it: Replicas) -> Row:
    progress("stop without Redis")
    for line in it.lines:
        await line.cut()
    try:
        times = await _stops(it, _STOPPED_ALONE)
    finally:
        for line in it.lines:
            await line.mend()
        for client in it.clients:
            while (await client.get("/readyz")).json()["status"] != "ready":  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)
    return _row("the same, without Redis", times, 1.0)


async def _stops(it: Replicas, count: int) -> list[float]:
    times = []
    for number in range(count):
        reading, reader = await _begun(it, 0)
        began_at = monotonic()
        await it.stop(reading, number % 3)
        times.append(await _left_at(it, reading) - began_at)
        await reader
    return times


async def _takeover_row(it: Replicas) -> Row:
    times = []
    for number in range(_KILLED):
        progress(f"takeover {number + 1} of {_KILLED}")
        reading, reader = await _begun(it, 0)
        watcher = asyncio.ensure_future(_watched(it, reading))
        await asyncio.sleep(0.2)
        began_at = monotonic()
        await asyncio.to_thread(it.parleys[0].kill)
        times.append(await watcher - began_at)
        await reader
        await it.check(reading)
        await it.restart(0)
    return _row("owner killed, carried on by another replica", times, 3.0)


async def _watched(it: Replicas, reading: Reading) -> float:
    """Read on another replica; say when its stream shows a second attempt."""
    async with aclosing(_events(it, 1, reading)) as events:
        async for event in events:
            if event["type"] == "attempt" and event["content"]["number"] > 1:
                return monotonic()
    raise AssertionError("nobody carried on")


async def _redis_rows(it: Replicas) -> list[Row]:
    progress("Redis commands")
    async with Redis.from_url(it.redis.process.url) as redis:
        before = await _log_commands(redis)
        began_at = monotonic()
        reading = Reading(f"bench-{uuid4().hex[:8]}", f"{uuid4().hex[:8]} {_TOKENS}")
        await it.read(reading, 0)
        windows = (monotonic() - began_at) / _WINDOW_S
        commands = await _log_commands(redis) - before
        size: int = await redis.memory_usage(f"parley:turn:{reading.turn_id}:log") or 0
    return [
        Row(
            f"Redis commands, a turn of {_TOKENS} tokens",
            f"{commands} in {windows:.0f} windows",
            "≤ 1 a window",
            f"{_TOKENS}: one a token",
            commands <= windows,
        ),
        Row(
            f"Redis memory, the log of {_TOKENS} tokens",
            f"{size / 1000:.0f} kB",
            "",
            "",
            reached=True,
        ),
    ]


async def _log_commands(redis: Redis) -> int:
    stats = await redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in _LOG_COMMANDS)


async def _left_at(it: Replicas, reading: Reading) -> float:
    """Wait until the model server has seen its client leave, and say when that was."""
    async with asyncio.timeout(30):
        while reading.message not in it.teller.left_at:  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.002)
    return it.teller.left_at[reading.message]


def _row(what: str, times: list[float], target_s: float) -> Row:
    """Tell the median, the p99, which of fewer than a hundred is the worst, and the worst."""
    ms = sorted(time * 1000 for time in times)
    p50, p99 = ms[len(ms) // 2], ms[math.ceil(0.99 * len(ms)) - 1]
    figure = f"p50 {p50:.0f} ms, p99 {p99:.0f}, worst of {len(ms)} {ms[-1]:.0f}"
    return Row(what, figure, f"p99 ≤ {target_s * 1000:.0f} ms", "", p99 <= target_s * 1000)
