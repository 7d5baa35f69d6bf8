"""Servers: child processes under measurement, each pinned to a core where there are two."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from urllib.error import URLError
from urllib.request import urlopen

_ROOT = Path(__file__).parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")
SERVER_CORE, CLIENT_CORE = 0, 1


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    name: str
    port: int
    pid: int
    ready_s: float = 0.0

    def cpu_ms(self) -> float:
        """CPU time used so far, all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / _TICKS

    def rss_mb(self) -> float:
        """Resident memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def pin(pid: int, core: int) -> None:
    """Keep a process (0: this one) on one core, where there is more than one."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(pid, {core})


@contextmanager
def child(name: str, *arguments: str, core: int = SERVER_CORE) -> Iterator[Server]:
    """Run ``python -m NAME`` that prints its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", name, *arguments],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
    )
    try:
        pin(process.pid, core)
        assert process.stdout is not None
        yield Server(name, int(process.stdout.readline()), process.pid)
    finally:
        process.kill()
        process.wait()


@contextmanager
def parley(
    upstream_port: int, *, core: int | None = SERVER_CORE, **settings: str
) -> Iterator[Server]:
    """Run Parley as users do, in an empty directory, on the upstream; without a core on all."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": directory,
            "PYTHONPATH": str(_ROOT),
            "MODEL_TITLES": "false",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}",
            "OPENAI_MODEL": "bench",
            "LOG_LEVEL": "WARNING",
            # A benchmark is a guest who asks more than anybody may.
            "LIMIT_GUEST_REQUESTS_PER_MINUTE": "100000000",
            "LIMIT_GUEST_TURNS_PER_MINUTE": "100000000",
            "LIMIT_GUEST_RUNNING_TURNS": "100000000",
            **settings,
        }
        began_at = monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "parley", "serve", "--port", str(port)],
            cwd=directory,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        try:
            if core is not None:
                pin(process.pid, core)
            wait_ready(process, f"http://127.0.0.1:{port}/readyz", 30)
            yield Server("parley", port, process.pid, monotonic() - began_at)
        finally:
            process.terminate()
            process.wait(30)


def wait_ready(process: subprocess.Popen[bytes], url: str, within_s: float) -> None:
    """Wait until what a process serves there is 200."""
    give_up_at = monotonic() + within_s
    while monotonic() < give_up_at:
        assert process.poll() is None, f"nothing was started that answers at {url}"
        try:
            with urlopen(url, timeout=1):
                return
        except (URLError, OSError):
            sleep(0.02)
    raise TimeoutError(f"{url} is not ready")


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
