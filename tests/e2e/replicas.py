"""Several Parleys on one PostgreSQL and one Redis, as an operator runs them, and their readers."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]  # it has no types
import httpx2
import msgspec

from parley.chat.inherited import REASON
from tests.e2e.line import Line, line_to_port
from tests.e2e.storyteller import Storyteller, story, storyteller
from tests.patience import PATIENCE_S, eventually
from tests.server import ParleyProcess
from tests.services import DidNotStart, Postgres, RedisProcess, postgres_at_rest, redis_process

_AGAIN_S = 0.1
# What an answer that was stopped, or broke off, may lack at its end.
PARTIAL = {"stopped", "interrupted", "error"}


@dataclass
class Reading:
    """What one reader was shown of a turn, over all its connections."""

    session_id: str
    message: str
    # Whether it goes on where it was, by the id of the last event, or reads from the start.
    resumes: bool = False
    key: str = field(default_factory=lambda: uuid4().hex)
    turn_id: str | None = None
    text: str = ""
    shown: list[str] = field(default_factory=list)
    shown_at: list[float] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str | None = None
    last_seq: int = 0
    broke_off: bool = False

    def take(self, event: dict[str, Any]) -> None:
        """Fold an event, and check what is promised of every one of them."""
        if event["seq"] == self.last_seq and event["type"] in {"error", "done"}:
            self.broke_off = True  # of this connection, which ends with it
            return
        assert event["seq"] > self.last_seq, f"ids rise: {event} after {self.last_seq}"
        self.last_seq = event["seq"]
        self.turn_id = self.turn_id or event["turn_id"]
        assert event["turn_id"] == self.turn_id
        match event["type"]:
            case "text":
                assert event["offset"] <= len(self.text), f"a gap: {event} after {self.text!r}"
                self.show(self.text[: event["offset"]] + event["content"])
            case "snapshot":
                self.show(event["content"]["text"])
            case "attempt":
                self.attempts.append(event["content"])
                if not event["content"]["keep"]:
                    self.text = ""
            case "done":
                self.finish_reason = event["content"]["finish_reason"]

    def show(self, text: str) -> None:
        self.text = text
        self.shown.append(text)
        self.shown_at.append(monotonic())

    def again(self) -> None:
        """Begin to read from the start, on another connection."""
        self.text, self.last_seq, self.finish_reason = "", 0, None
        self.attempts.clear()


class ShownAndLost(AssertionError):
    """What a reader was shown is not stored; `shown_at` is when it was shown."""

    def __init__(self, story: str, shown_at: list[float]) -> None:
        super().__init__(f"shown and not stored: {story}")
        self.shown_at = shown_at


def began_again(row: Any) -> bool:
    """Whether whoever took the turn over began it again: an `attempt` took back what was shown."""
    return REASON in (row["attempts"] or "")


class Replicas:
    """Replicas, what they work with, and ways to ask them."""

    def __init__(
        self,
        parleys: list[ParleyProcess],
        lines: list[Line],
        teller: Storyteller,
        postgres: Postgres,
        redis: "RedisOnAndOff",
        postgres_runs: AsyncExitStack,
    ) -> None:
        self.parleys = parleys
        self.lines = lines
        self.teller = teller
        self.redis = redis
        self._postgres = postgres
        self._postgres_runs = postgres_runs
        self.clients = [
            httpx2.AsyncClient(base_url=p.url, timeout=httpx2.Timeout(PATIENCE_S, connect=5))
            for p in parleys
        ]

    async def read(self, reading: Reading, on: int, *, until: str | None = None) -> Reading:
        """Ask on a replica, and read to the end, or until this text was shown.

        Where the connection, or the replica, does not live that long, go on with the next one.
        """
        while True:
            client = self.clients[on % len(self.clients)]
            if reading.resumes and reading.turn_id and reading.last_seq:
                is_read = await self._resume_on(client, reading)
            else:
                reading.again()
                is_read = await self._read_on(client, reading, until)
            if is_read:
                return reading
            await asyncio.sleep(_AGAIN_S)
            on += 1

    async def _read_on(
        self, client: httpx2.AsyncClient, reading: Reading, until: str | None
    ) -> bool:
        body = {
            "session_id": reading.session_id,
            "message": reading.message,
            "format": "events",
        }
        headers = {"idempotency-key": reading.key}
        try:
            async with client.stream("POST", "/chat", json=body, headers=headers) as response:
                if response.status_code != 200:
                    return False
                reading.turn_id = response.headers["x-turn-id"]
                return await self._take(response, reading, until)
        except httpx2.TransportError:
            return False

    async def _resume_on(self, client: httpx2.AsyncClient, reading: Reading) -> bool:
        headers = {"x-session-id": reading.session_id, "last-event-id": str(reading.last_seq)}
        url = f"/api/v1/turns/{reading.turn_id}/events"
        try:
            async with client.stream("GET", url, headers=headers) as response:
                if response.status_code == 200:
                    await self._take(response, reading, None)
        except httpx2.TransportError:
            pass
        return reading.finish_reason is not None

    async def _take(self, response: httpx2.Response, reading: Reading, until: str | None) -> bool:
        reading.broke_off = False
        async for line in response.aiter_lines():
            if not line.startswith("data: "):
                continue
            data = line.removeprefix("data: ")
            if data == "[DONE]":
                return not reading.broke_off
            reading.take(msgspec.json.decode(data))
            if until is not None and reading.text.startswith(until):
                return True
        return False

    async def stop(self, reading: Reading, on: int) -> None:
        """Stop a turn on a replica, or on the next one that does it."""
        headers = {"x-session-id": reading.session_id}
        url = f"/api/v1/turns/{reading.turn_id}/stop"
        while True:
            try:
                response = await self.clients[on % len(self.clients)].post(url, headers=headers)
                if response.status_code in {200, 202}:
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(_AGAIN_S)
            on += 1

    async def owner_of(self, turn_id: str) -> int:
        """Find the replica that runs a turn."""
        (row,) = await self.rows("SELECT replica_id FROM turns WHERE id = $1", turn_id)
        pids = [f"-{p.process.pid}-" for p in self.parleys]
        return next(i for i, pid in enumerate(pids) if pid in row["replica_id"])

    def taken_from(self, turn_id: str) -> list[int]:
        """Name the processes that a turn was taken over from, by what their heirs have logged."""
        lines = "\n".join(parley.log_text() for parley in self.parleys)
        told = rf"taken over - turn_id: {turn_id} - fence: \d+ - replica: \S+-(\d+)-\w+$"
        return [int(pid) for pid in re.findall(told, lines, re.MULTILINE)]

    async def rows(self, statement: str, *values: object) -> list[Any]:
        parts = urlsplit(self._postgres.url("postgres"))
        host = parse_qs(parts.query)["host"][0]
        connection = await asyncpg.connect(user="postgres", host=host, database="postgres")
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    async def restart(self, index: int) -> None:
        """Start a replica again, as whatever supervises it would: also more than once."""
        for tries_left in (2, 1, 0):
            try:
                await asyncio.to_thread(self.parleys[index].start)
            except DidNotStart:
                if not tries_left:
                    raise
            else:
                return

    async def restart_postgres(self) -> None:
        await self._postgres_runs.aclose()
        await asyncio.to_thread(self._postgres_runs.enter_context, self._postgres.running())

    async def restart_redis(self) -> None:
        await asyncio.to_thread(self.redis.stop)
        await asyncio.to_thread(self.redis.start)

    def signal(self, index: int, number: signal.Signals) -> None:
        self.parleys[index].process.send_signal(number)

    async def answer(self, reading: Reading) -> Any:
        """Give what there is of an answer in its rows."""
        (row,) = await self.rows(
            "SELECT turns.state, turns.finish_reason, turns.fence, turns.attempts, steps.output FROM turns"
            " JOIN steps ON steps.id = turns.answer_step_id WHERE turns.id = $1",
            reading.turn_id,
        )
        return row

    async def saved(self, reading: Reading) -> None:
        """Wait until a checkpoint has what a reader has."""

        async def has_it() -> bool:
            return bool((await self.answer(reading))["output"] == reading.text)

        await eventually(has_it)

    async def kept(self, reading: Reading) -> Any:
        """Wait until the row of a turn says that it is over, and give it."""

        async def over() -> Any:
            row = await self.answer(reading)
            return None if row["state"] in {"running", "queued"} else row

        return await eventually(over)

    async def answer_to(self, message: str) -> Any:
        """Wait until the turn of this message is over, and give what there is of its answer."""
        statement = (
            "SELECT turns.state, said.output FROM turns"
            " JOIN steps asked ON asked.id = turns.user_step_id"
            " JOIN steps said ON said.id = turns.answer_step_id"
            " WHERE asked.output = $1 AND turns.state NOT IN ('running', 'queued')"
        )
        (row,) = await eventually(lambda: self.rows(statement, message))
        return row

    async def check(self, reading: Reading) -> Any:
        """Check that a turn has one answer, in its row and for its reader, and nothing was lost."""
        row = await self.kept(reading)
        whole = story(reading.message)
        if row["finish_reason"] in PARTIAL:
            assert whole.startswith(row["output"]), (row, whole)
        else:
            assert row["output"] == whole, (row, whole)
        if reading.finish_reason == row["finish_reason"]:
            assert reading.text == row["output"], (reading.text, row)
        pieces = zip(reading.shown, reading.shown_at, strict=True)
        missing = [(text, at) for text, at in pieces if not row["output"].startswith(text)]
        if missing and not began_again(row):
            raise ShownAndLost(f"{missing[-1][0]!r}, {row}", [at for _, at in missing])
        (count,) = await self.rows(
            "SELECT count(*) FROM steps WHERE output = $1 AND type = 'user_message'",
            reading.message,
        )
        assert count["count"] == 1, "the message is there once"
        return row


class RedisOnAndOff:
    """A Redis at one port, that may end and begin again, with nothing in it."""

    def __init__(self) -> None:
        self._runs = redis_process()
        self.process: RedisProcess = self._runs.__enter__()
        self.port = self.process.port

    def stop(self) -> None:
        self._runs.__exit__(None, None, None)

    def start(self) -> None:
        self._runs = redis_process(port=self.port)
        self.process = self._runs.__enter__()


@asynccontextmanager
async def replicas(
    directory: Path, count: int = 3, pace_s: float = 0.02, **environment: str
) -> AsyncIterator[Replicas]:
    """Run so many replicas; each reaches Redis by a line of its own."""
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(postgres_at_rest())
        postgres_runs = await stack.enter_async_context(AsyncExitStack())
        await asyncio.to_thread(postgres_runs.enter_context, postgres.running())
        redis = await asyncio.to_thread(RedisOnAndOff)
        stack.callback(redis.stop)
        teller = await stack.enter_async_context(storyteller(pace_s))
        parleys, lines = [], []
        for number in range(count):
            line = await stack.enter_async_context(line_to_port(redis.port))
            lines.append(line)
            home = directory / f"replica-{number}"
            home.mkdir()
            settings = {
                "DATABASE_URL": postgres.url("postgres"),
                "REDIS_URL": f"redis://127.0.0.1:{line.port}/0",
                "PARLEY_SECRET": "of all replicas of this test together",
                "OPENAI_BASE_URL": teller.base_url,
                "OPENAI_MODEL": "fake",
                **environment,
            }
            parleys.append(ParleyProcess(home, settings))
        it = Replicas(parleys, lines, teller, postgres, redis, postgres_runs)
        for client in it.clients:
            await stack.enter_async_context(client)
        stack.push_async_callback(_stop, parleys)
        await asyncio.to_thread(parleys[0].start)  # it migrates
        await asyncio.gather(*(asyncio.to_thread(parley.start) for parley in parleys[1:]))
        yield it


async def _stop(parleys: list[ParleyProcess]) -> None:
    for parley in parleys:
        parley.process.send_signal(signal.SIGCONT)
    await asyncio.gather(*(asyncio.to_thread(parley.kill) for parley in parleys))
