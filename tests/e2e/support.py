"""What the end-to-end tests share: processes, requests, and what is in the rows afterwards."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from data_layer.database import DatabaseConfig, open_database
from data_layer.migrate import migrate
from tests.fakes.model_server import ModelServer
from tests.patience import PATIENCE_S
from tests.server import ParleyProcess
from tests.sse_reader import read_events

TABLES = ("users", "threads", "turns", "steps")
# Tests are one guest who says more in a minute than people do.
PATIENT = {
    "LIMIT_GUEST_REQUESTS_PER_MINUTE": "1000000",
    "LIMIT_GUEST_TURNS_PER_MINUTE": "1000000",
    "LIMIT_GUEST_RUNNING_TURNS": "1000000",
}
DEMO = {"DETECT_LOCAL_MODELS": "false"} | PATIENT
# Where every test asks for what it needs, and nothing waits for a name that is not there.
JSON = {"content-type": "application/json"}


def migrated(directory: Path, to: str | None = None) -> Path:
    """Make the database that a Parley in this directory finds, without a process for it."""
    path = directory / ".parley" / "parley.db"
    path.parent.mkdir()

    async def moved() -> None:
        async with open_database(DatabaseConfig(url=f"sqlite:///{path}")) as database:
            await migrate(database, to)

    with ThreadPoolExecutor(1) as elsewhere:  # an event loop may run here
        elsewhere.submit(asyncio.run, moved()).result()
    return path


@asynccontextmanager
async def serving(directory: Path, environment: Mapping[str, str]) -> AsyncIterator[ParleyProcess]:
    """Run Parley while this event loop goes on: a fake model server may live in it."""
    parley = ParleyProcess(directory, environment)
    await asyncio.to_thread(parley.start)
    try:
        yield parley
    finally:
        await asyncio.to_thread(parley.stop)


def asks(server: ModelServer) -> dict[str, str]:
    """The settings of a Parley that asks this model server."""
    return {"OPENAI_BASE_URL": server.base_url, "OPENAI_MODEL": "fake"} | PATIENT


@asynccontextmanager
async def client_of(parley: ParleyProcess) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=parley.url, timeout=PATIENCE_S) as client:
        yield client


async def chat(client: httpx2.AsyncClient, message: str, **body: str) -> str:
    """Say something and give the answer's text, as a reader of the plain stream has it."""
    response = await client.post("/chat", json={"session_id": "a", "message": message, **body})
    assert response.status_code == 200, response.text
    *pieces, end = read_events(response.content)
    assert end == "[DONE]"
    return "".join(pieces)


async def chat_events(client: httpx2.AsyncClient, message: str, **body: str) -> list[Any]:
    """Say something and give the typed events of the answer."""
    asked = {"session_id": "a", "message": message, "format": "events", **body}
    response = await client.post("/chat", json=asked)
    assert response.status_code == 200, response.text
    *events, end = read_events(response.content)
    assert end == "[DONE]"
    return [msgspec.json.decode(event) for event in events]


def text_of(events: list[Any]) -> str:
    return "".join(event["content"] for event in events if event["type"] == "text")


def select(parley: ParleyProcess, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Read the rows of a Parley on SQLite, running or not."""
    path = parley.directory / ".parley" / "parley.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(statement, values).fetchall()


def row_counts(parley: ParleyProcess) -> dict[str, int]:
    return {table: select(parley, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}


def answers(parley: ParleyProcess) -> list[tuple[str, str | None, str]]:
    """State, finish reason and text of each turn, in the order in which they were asked."""
    return select(
        parley,
        "SELECT turns.state, turns.finish_reason, steps.output FROM turns"
        " JOIN steps ON steps.id = turns.answer_step_id ORDER BY turns.created_at",
    )
