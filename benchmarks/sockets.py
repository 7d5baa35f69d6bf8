"""Sockets: Parley's page read by many at once, beside plain Chainlit with one emit for each token.

The clients are raw WebSockets in processes of their own (socket_clients.py). Parley asks a model server, keeps
what is said and merges tokens into frames; plain Chainlit makes its tokens itself, keeps nothing, merges nothing.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from benchmarks import servers
from benchmarks.load import percentile
from benchmarks.servers import Server
from benchmarks.table import Row, progress
from tests.e2e.other_app import OtherApp

_FLOOD_CLIENTS, _FLOOD_TOKENS = 20, 1000
_ROUNDS = 5
_CLIENTS, _TOKENS, _RATE = 500, 200, 20
_PLAIN_CLIENTS = 100
_PROCESSES = 4
_APP = Path(__file__).with_name("socket_app.py")
# What one process of clients saw, as it says it.
_Seen = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Flood:
    """The best of some rounds."""

    tokens_per_s: float
    cpu_us: float
    frames: int


@dataclass(frozen=True, slots=True)
class Paced:
    """How frames came while so many read at once."""

    clients: int
    gap_p50_ms: float
    gap_p99_ms: float
    cpu_us: float
    behind: float

    @override
    def __str__(self) -> str:
        """Tell it in a line."""
        return (
            f"{self.clients} clients: p50 {self.gap_p50_ms:.0f}, p99 {self.gap_p99_ms:.0f} ms,"
            f" {self.cpu_us:.0f} us a token, took {self.behind:.2f} of the time"
        )


def socket_rows() -> list[Row]:
    """Measure both."""
    with ExitStack() as stack:
        plain = stack.enter_context(_plain())
        progress("plain Chainlit, flood")
        theirs = _flood(plain)
        progress(f"plain Chainlit, {_PLAIN_CLIENTS} paced")
        their_pace = _paced(plain, _PLAIN_CLIENTS)
        stack.close()
        core = servers.CLIENT_CORE
        upstream = stack.enter_context(servers.child("benchmarks.upstream", core=core))
        parley = stack.enter_context(servers.parley(upstream.port, LIMIT_SOCKETS="2000"))
        progress("parley, flood")
        ours = _flood(parley)
        progress(f"parley, {_PLAIN_CLIENTS} paced")
        same_pace = _paced(parley, _PLAIN_CLIENTS)
        progress(f"parley, {_CLIENTS} paced")
        our_pace = _paced(parley, _CLIENTS)
    return [*_flood_rows(ours, theirs), *_paced_rows(our_pace, same_pace, their_pace)]


def _flood_rows(ours: Flood, theirs: Flood) -> Iterator[Row]:
    times = ours.tokens_per_s / theirs.tokens_per_s
    yield Row(
        f"page, flood, tokens/s ({_FLOOD_CLIENTS} sockets × {_FLOOD_TOKENS:,})",
        f"{ours.tokens_per_s:,.0f} = {times:.1f} times plain Chainlit, in {ours.frames} frames",
        "≥ 100,000",
        f"plain Chainlit {theirs.tokens_per_s:,.0f} in {theirs.frames} frames",
        ours.tokens_per_s >= 100_000,
    )
    yield Row(
        "the same, us CPU a token",
        f"{ours.cpu_us:.1f}",
        "≤ 8",
        f"plain Chainlit {theirs.cpu_us:.0f}",
        ours.cpu_us <= 8,
    )


def _paced_rows(ours: Paced, same: Paced, theirs: Paced) -> Iterator[Row]:
    yield Row(
        f"page, gap between frames at {_RATE} tokens/s each",
        str(ours),
        "p99 ≤ 150 ms",
        f"plain Chainlit, {theirs}; Parley, {same}",
        ours.gap_p99_ms <= 150,
    )


def _flood(server: Server) -> Flood:
    with _clients(server, _FLOOD_CLIENTS, 1) as clients:
        script = f"flood-{_FLOOD_TOKENS}"
        clients.ask(script)
        rounds = [_round(server, clients, script) for _ in range(_ROUNDS)]
    return max(rounds, key=lambda flood: flood.tokens_per_s)


def _round(server: Server, clients: "_Clients", script: str) -> Flood:
    before_ms = server.cpu_ms()
    (seen,) = clients.ask(script)
    tokens = _all_there([seen], _FLOOD_TOKENS)
    cpu_us = (server.cpu_ms() - before_ms) * 1000 / tokens
    return Flood(tokens / seen["seconds"], cpu_us, seen["frames"])


def _paced(server: Server, count: int) -> Paced:
    with _clients(server, count, _PROCESSES) as clients:
        before_ms = server.cpu_ms()
        seen = clients.ask(f"paced-{_TOKENS}-{_RATE}")
        tokens = _all_there(seen, _TOKENS)
        cpu_us = (server.cpu_ms() - before_ms) * 1000 / tokens
    gaps = [gap for one in seen for gap in one["gaps"]]
    slowest = max(one["seconds"] for one in seen)
    behind = slowest / (_TOKENS / _RATE)
    return Paced(count, percentile(gaps, 50), percentile(gaps, 99), cpu_us, behind)


def _all_there(seen: list[_Seen], each: int) -> int:
    """A figure counts only if nothing was lost on the way."""
    tokens = [count for one in seen for count in one["tokens"]]
    assert all(count == each for count in tokens), tokens
    return len(tokens) * each


class _Clients:
    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def ask(self, script: str) -> list[_Seen]:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(script + "\n")
            process.stdin.flush()
        return [json.loads(_line(process)) for process in self._processes]


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@contextmanager
def _clients(server: Server, count: int, processes: int) -> Iterator[_Clients]:
    command = [sys.executable, "-m", "benchmarks.socket_clients"]
    numbers = [str(server.port), str(count // processes)]
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen([*command, *numbers], stdin=pipe, stdout=pipe, text=True)
        for _ in range(processes)
    ]
    try:
        for process in started:
            servers.pin(process.pid, servers.CLIENT_CORE)
        assert all(_line(process) == "ready\n" for process in started)
        yield _Clients(started)
    finally:
        for process in started:
            process.kill()
            process.communicate()


@contextmanager
def _plain() -> Iterator[Server]:
    root = str(Path(__file__).parents[1])
    with tempfile.TemporaryDirectory() as directory:
        app = OtherApp(Path(directory), {"PYTHONPATH": root}, app=_APP)
        app.start()
        try:
            servers.pin(app.pid, servers.SERVER_CORE)
            yield Server("chainlit", app.port, app.pid)
        finally:
            app.stop()
