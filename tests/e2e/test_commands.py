"""The commands on the database, through real processes."""

import asyncio
import json
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from redis.asyncio import Redis

from parley.auth.guests import guest_of_session
from parley.auth.keys import Secret
from parley.live.redis_commands import log_key
from tests.e2e.support import DEMO, chat, client_of, migrated, row_counts, select, serving
from tests.fakes.model_server import chunk, hang, model_server, sse
from tests.patience import until
from tests.server import ParleyProcess, run_module
from tests.services import Postgres

URLS = ("sqlite", pytest.param("postgres", marks=pytest.mark.needs_postgres))


def parley(directory: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    done = run_module(directory, "parley", *arguments, **(DEMO | more))
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(params=URLS)
def environment(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    if request.param == "sqlite":
        yield {}
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database() as url:
        yield {"DATABASE_URL": url}


def test_migrate_says_from_where_to_where(tmp_path: Path, environment: dict[str, str]) -> None:
    first = parley(tmp_path, "migrate", **environment)
    newest = first.stdout.split()[-1].rstrip(".")
    assert first.stdout == f"Migrated the database from nothing to {newest}.\n"
    asked = parley(tmp_path, "migrate", "--to", "0001", **environment)
    assert asked.returncode == 1, "a way back is asked for"
    again = parley(tmp_path, "migrate", **environment)
    assert again.stdout == f"The database is at revision {newest} already.\n"
    back = parley(tmp_path, "migrate", "--to", "0001", "--yes", **environment)
    assert back.stdout == f"Migrated the database from {newest} to 0001.\n"
    assert (first.returncode, again.returncode, back.returncode) == (0, 0, 0)


def test_revision_that_is_none_is_said(tmp_path: Path) -> None:
    done = parley(tmp_path, "migrate", "--to", "soon", "--yes")
    assert (done.returncode, "known are 0001" in done.stderr) == (1, True)


def test_user_and_key_that_are_none_are_said(tmp_path: Path) -> None:
    parley(tmp_path, "migrate")
    listed = parley(tmp_path, "token", "list", "--user", "nobody")
    parley(tmp_path, "token", "create", "--user", "ada")
    revoked = parley(tmp_path, "token", "revoke", "none", "--user", "ada")
    assert listed.stderr == (
        "Parley: There is no user 'nobody': neither an identifier nor an id is that.\n"
    )
    assert revoked.stderr == "Parley: There is no such API key.\n"
    assert (listed.returncode, revoked.returncode) == (1, 1)


async def test_export_and_forget(tmp_path: Path, environment: dict[str, str]) -> None:
    async with serving(tmp_path, DEMO | environment) as process, client_of(process) as client:
        await chat(client, "My name is Ada Lovelace.", session_id="ada")
        await chat(client, "I am somebody else.", session_id="other")
    whole = parley(tmp_path, "export", "--user", "nobody", **environment)
    assert (whole.returncode, whole.stdout) == (1, "")
    assert "There is no user 'nobody'" in whole.stderr
    identifier = owner_of("ada", tmp_path)
    out = tmp_path / "ada.json"
    told = ("--user", identifier, "--output", str(out), "--files", str(tmp_path / "files"))
    taken = parley(tmp_path, "export", *told, **environment)
    assert taken.returncode == 0
    (line,) = audited(taken.stderr)
    assert f"audit: user_exported - identifier: {identifier}" in line
    assert line.endswith("by: command line - files: True")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "Ada Lovelace" in json.loads(out.read_text())["threads"][0]["steps"][0]["output"]
    assert "somebody else" not in out.read_text()
    asked = parley(tmp_path, "forget", "--user", identifier, **environment)
    assert (asked.returncode, "There is no way back" in asked.stdout) == (1, True)
    gone = parley(tmp_path, "forget", "--user", identifier, "--yes", **environment)
    assert gone.stdout.startswith(f"Forgot {identifier}: ")
    assert "1 threads" in gone.stdout
    assert "1 turns, 2 steps" in gone.stdout
    (line,) = audited(gone.stderr)
    assert f"audit: user_forgotten - identifier: {identifier}" in line
    assert "threads: 1" in line
    assert "Ada Lovelace" not in taken.stderr + asked.stderr + gone.stderr
    assert audited(asked.stderr) == [], "nothing was done"
    again = parley(tmp_path, "forget", "--user", identifier, "--yes", **environment)
    assert again.returncode == 1
    assert parley(tmp_path, "export", "--user", owner_of("other", tmp_path), **environment).stdout


def audited(log: str) -> list[str]:
    return [line for line in log.splitlines() if " - parley.audit - " in line]


def owner_of(session_id: str, directory: Path) -> str:
    """The identifier that a caller of /chat has in the rows."""
    secret = Secret((directory / ".parley" / "secret").read_text().strip())
    return guest_of_session(secret, session_id).identifier


async def test_nothing_of_them_stays_in_the_files(tmp_path: Path) -> None:
    """While the server runs, and an answer is being written."""
    async with model_server(sse(chunk("Xylophonist, I said"), hang)) as server:
        environment = {"OPENAI_BASE_URL": server.base_url, "OPENAI_MODEL": "fake"}
        async with serving(tmp_path, environment) as process, client_of(process) as client:
            body = {"session_id": "ada", "message": "Say Xylophonist."}
            async with client.stream("POST", "/chat", json=body) as response:
                assert b"Xylophonist" in await anext(response.aiter_bytes())
                await until(
                    lambda: "Xylo" in select(process, "SELECT max(output) FROM steps")[0][0]
                )
                assert b"Xylophonist" in on_disk(process)
                user = ("--user", owner_of("ada", tmp_path), "--yes")
                done = await asyncio.to_thread(parley, tmp_path, "forget", *user)
                assert (done.returncode, len(done.stderr.splitlines())) == (0, 1)
                assert audited(done.stderr)
                process.process.terminate()
            await until(lambda: process.process.poll() is not None)
            assert set(row_counts(process).values()) == {0}
            assert b"xylophonist" not in on_disk(process).lower()


@pytest.mark.needs_redis
async def test_nothing_of_them_stays_in_redis(tmp_path: Path, redis_url: str) -> None:
    """Nor of an answer whose server died: nobody would end it any more."""
    async with model_server(sse(chunk("Xylophonist, I said"), hang)) as server:
        environment = {"OPENAI_BASE_URL": server.base_url, "OPENAI_MODEL": "fake"}
        environment |= {"REDIS_URL": redis_url, "REDIS_TIMEOUT_SECONDS": "10"}
        async with serving(tmp_path, environment) as process, client_of(process) as client:
            body = {"session_id": "ada", "message": "Say Xylophonist."}
            async with client.stream("POST", "/chat", json=body) as response:
                assert b"Xylophonist" in await anext(response.aiter_bytes())
                key = log_key(response.headers["x-turn-id"])
                process.process.kill()
    user = ("--user", owner_of("ada", tmp_path), "--yes")
    async with Redis.from_url(redis_url) as redis:
        assert await redis.exists(key)
        done = await asyncio.to_thread(parley, tmp_path, "forget", *user, **environment)
        assert done.returncode == 0
        assert not await redis.exists(key)


def on_disk(process: ParleyProcess) -> bytes:
    files = (process.directory / ".parley").rglob("*")
    return b"".join(path.read_bytes() for path in files if path.is_file())


@pytest.mark.parametrize("output", ["no/such/directory/x.json", "."])
def test_output_that_cannot_be_written_is_said(tmp_path: Path, output: str) -> None:
    with_user(migrated(tmp_path))
    done = parley(tmp_path, "export", "--user", "ada", "--output", output)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be written" in done.stderr
    assert "DATABASE_URL" not in done.stderr
    assert not list(tmp_path.glob(".*.part"))


def with_user(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        row = ("5f2a91c0000040008000000000000001", "ada", "{}", "2026-01-02 12:00:00.000000")
        database.execute(
            "INSERT INTO users (id, identifier, metadata, created_at) VALUES (?, ?, ?, ?)", row
        )
        database.commit()


def test_export_wants_the_newest_schema(tmp_path: Path) -> None:
    migrated(tmp_path, "0001")
    for command in ("export", "forget"):
        done = parley(tmp_path, command, "--user", "ada")
        assert done.returncode == 1
        assert "Run: parley migrate" in done.stderr


async def test_nobody_is_served_before_the_migration(tmp_path: Path) -> None:
    """Another replica holds the lock; then the schema is not the one of this code."""
    path = migrated(tmp_path, "0001")
    process = ParleyProcess(tmp_path, DEMO)
    with closing(sqlite3.connect(path)) as rival:
        rival.execute("BEGIN IMMEDIATE")
        starting = asyncio.ensure_future(asyncio.to_thread(process.start))
        await until(lambda: (tmp_path / "parley.log").exists() and "Model: " in process.log_text())
        async with client_of(process) as client:
            with pytest.raises(httpx2.ConnectError):
                await client.get("/readyz")
            rival.rollback()
            await starting
            try:
                assert (await client.get("/readyz")).status_code == 200
                rival.execute("UPDATE alembic_version SET version_num = '0001'")
                rival.commit()
                answer = await client.get("/readyz")
                assert answer.status_code == 503
                assert "Run: parley migrate" in answer.json()["reason"]
            finally:
                await asyncio.to_thread(process.stop)
