"""Parley as its users run it: a process of its own, for the end-to-end tests.

with ParleyProcess(tmp_path, {"OPENAI_BASE_URL": base_url}) as parley:
    httpx2.get(f"{parley.url}/health")
"""

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.services import DidNotStart, find_free_port, stop, wait_until

ROOT = Path(__file__).parents[1]
PROBE_TIMEOUT_S = 5


def bare_environment(directory: Path, more: Mapping[str, str]) -> dict[str, str]:
    """PATH, `directory` as HOME, our packages, and what is given; nothing else of this machine."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "PYTHONPATH": str(ROOT),
        # Calls that no test of something else expects.
        "MODEL_TITLES": "false",
        "PYTHONFAULTHANDLER": "1",
        **more,
    }


def run_module(
    directory: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m ARGUMENTS`` in `directory` to its end, with a bare environment."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=directory,
        env=bare_environment(directory, environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class ParleyProcess:
    """`parley serve` on a free loopback port, in `directory`, with a bare environment.

    The process gets PATH, a HOME, PYTHONPATH and `environment`, nothing else of this machine. Entering the block
    waits until /readyz answers 200; leaving it asks the process to end (SIGTERM) and waits. Can be entered again,
    to see what a restart finds; the port stays the same, and the log goes on.
    """

    # What comes after `python -m`, host and port aside.
    command: tuple[str, ...] = ("parley", "serve")

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.environment = dict(environment or {})
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = directory / "parley.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def start(self) -> None:
        """Start the process and wait until it is ready; raises `DidNotStart` with its output when it is not."""
        command = [sys.executable, "-m", *self.command]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self.port)],
                cwd=self.directory,
                env=bare_environment(self.directory, self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until(self._ready, self.process, self._log)
        except DidNotStart as error:
            stop(self.process, signal.SIGABRT)  # says where each of its threads is
            raise DidNotStart(f"{error}\n{self.log_text()[-8000:]}") from None
        except BaseException:
            self.kill()
            raise

    def stop(self) -> int:
        """SIGTERM, and SIGKILL when that does not end it in time. Returns the exit code."""
        return stop(self.process)

    def kill(self) -> None:
        """SIGKILL: what a crash looks like to everybody else."""
        stop(self.process, signal.SIGKILL)

    def log_text(self) -> str:
        """All that the process has printed so far."""
        return self._log.read_text(errors="replace")

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
