"""The example app, run as Chainlit's users run theirs: `chainlit run`, in a process of its own."""

import http.client
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from tests.e2e.page_socket import PageSocket, page_socket
from tests.patience import PATIENCE_S
from tests.server import PROBE_TIMEOUT_S, ROOT, bare_environment
from tests.services import find_free_port, stop, wait_until

APP = ROOT / "examples" / "other_chainlit_app" / "app.py"
CONFIG = """\
[project]
transports = ["websocket"]
[features]
allow_thread_sharing = {sharing}
favorites = true
[features.spontaneous_file_upload]
enabled = true
accept = ["*/*"]
max_files = 2
max_size_mb = 1
[UI]
name = "Other"
[meta]
generated_by = "2.12.0"
"""


@dataclass
class OtherApp:
    """A running app; `restart` ends it as an operator does and starts it again."""

    directory: Path
    environment: Mapping[str, str]
    app: Path = APP
    sharing: bool = True

    def __post_init__(self) -> None:
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = self.directory / "log"

    def start(self) -> None:
        settings = self.directory / ".chainlit"
        settings.mkdir(exist_ok=True)
        (settings / "config.toml").write_text(CONFIG.format(sharing=str(self.sharing).lower()))
        command = [sys.executable, "-m", "chainlit", "run", str(self.app), "-h"]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self.port)],
                cwd=self.directory,
                env=bare_environment(
                    self.directory,
                    {
                        "CHAINLIT_AUTH_SECRET": "x" * 64,
                        "CHAINLIT_APP_ROOT": str(self.directory),
                        **self.environment,
                    },
                ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._answers, self._process, self._log)

    def stop(self, signal_number: int = signal.SIGTERM) -> None:
        stop(self._process, signal_number)

    @property
    def pid(self) -> int:
        return self._process.pid

    def log_text(self) -> str:
        return self._log.read_text(errors="replace")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PROBE_TIMEOUT_S)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        return False


@contextmanager
def running(directory: Path, database_url: str, **changes: Any) -> Iterator[OtherApp]:
    app = OtherApp(directory, {"DATABASE_URL": database_url}, **changes)
    app.start()
    try:
        yield app
    finally:
        app.stop()


@dataclass
class Person:
    """Somebody who is signed in to the app."""

    app: OtherApp
    http: httpx2.AsyncClient

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())

    @asynccontextmanager
    async def chat(
        self, thread_id: str | None = None, session_id: str | None = None
    ) -> AsyncIterator[PageSocket]:
        """Open the page, in this thread or a new one."""
        auth = {
            "sessionId": session_id or str(uuid4()),
            "clientType": "webapp",
            "threadId": thread_id,
        }
        async with page_socket(self.app, self.cookie, auth) as socket:
            await socket.emit("connection_successful")
            yield socket

    async def threads(self, **filters: object) -> list[Any]:
        asked = {"pagination": {"first": 35}, "filter": filters}
        got = await self.http.post("/project/threads", json=asked)
        got.raise_for_status()
        threads: list[Any] = got.json()["data"]
        return threads

    async def opened(self, thread_id: str) -> Any:
        got = await self.http.get(f"/project/thread/{thread_id}")
        got.raise_for_status()
        return got.json()


@asynccontextmanager
async def signed_in(app: OtherApp, name: str, password: str) -> AsyncIterator[Person]:
    async with httpx2.AsyncClient(base_url=app.url, timeout=PATIENCE_S) as client:
        got = await client.post("/login", data={"username": name, "password": password})
        assert got.status_code == 200, got.text
        yield Person(app, client)


async def say(socket: PageSocket, text: str, **fields: Any) -> str:
    """Send a message as Chainlit's page does, and wait for the end of the answer; gives its id."""
    await socket.next("task_end")  # of its beginning
    ends = len(socket.all("task_end"))
    step_id = await socket.say(text, createdAt="2026-01-02T03:04:05.678Z", **fields)
    await socket.next("task_end", ends + 1)
    return step_id
