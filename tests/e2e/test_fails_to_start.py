"""A start that cannot succeed says why in one line, without a traceback, and ends."""

import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.support import DEMO, migrated, serving
from tests.server import run_module
from tests.services import find_free_port

CONFIGURATION, DATABASE = 2, 1


def serve(directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    port = str(find_free_port())
    return run_module(directory, "parley", "serve", "--port", port, **(DEMO | environment))


@pytest.mark.parametrize(
    ("level", "name"), [("INFO", "DEFAULT_MODEL"), ("CRITICAL", "LLM_PROVIDER")]
)
def test_a_model_that_nobody_has(tmp_path: Path, level: str, name: str) -> None:
    done = serve(tmp_path, LOG_LEVEL=level, **{name: "nosuch"})
    assert done.returncode == CONFIGURATION, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if name in line)
    assert line.startswith("Parley cannot start: ")
    assert "demo:" in line, "it says what there is"
    assert "Traceback" not in done.stderr


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    url = f"postgresql://ada:hunter2@127.0.0.1:{find_free_port()}/chat"
    done = serve(tmp_path, DATABASE_URL=url)
    assert done.returncode == DATABASE, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "DATABASE_URL" in line)
    assert line.startswith("Parley cannot start: ")
    assert "cannot be reached" in line
    assert "hunter2" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = serve(tmp_path, DATABASE_URL="sqlite:///file/parley.db")
    assert done.returncode == DATABASE, done.stderr
    assert "Parley cannot start: DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


def one_line(done: subprocess.CompletedProcess[str], code: int = DATABASE) -> str:
    """What a start or a command says where it fails, and nothing else with it."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "DATABASE_URL" in line)
    return line.strip()


@pytest.mark.parametrize(
    ("command", "content", "said"),
    [
        ("serve", b"this is a letter and no database " * 200, "is no SQLite database"),
        ("migrate", b"SQLite format 3\0" + b"\1" * 8000, "no SQLite database|damaged"),
        ("migrate", None, "cannot be opened"),
    ],
)
def test_a_file_that_is_no_database(
    tmp_path: Path, command: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / "chat.db"
    path.mkdir() if content is None else path.write_bytes(content)
    line = one_line(started(tmp_path, command, DATABASE_URL="sqlite:///chat.db"))
    assert re.search(said, line)
    assert content is None or path.read_bytes() == content, "it is left as it was"


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_a_database_that_may_only_be_read(tmp_path: Path, command: str) -> None:
    with closing(sqlite3.connect(tmp_path / "chat.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
    url = "sqlite:///file:chat.db?mode=ro&uri=true"
    assert "readonly database" in one_line(started(tmp_path, command, DATABASE_URL=url))


@pytest.mark.parametrize("how", ["serve", "migrate", "export", "chainlit"])
def test_a_database_that_is_newer(tmp_path: Path, how: str) -> None:
    """Whoever starts it is told the same."""
    with closing(sqlite3.connect(migrated(tmp_path))) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    line = one_line(started(tmp_path, how), 3 if how == "chainlit" else DATABASE)
    assert "at revision 9999, which this version of Parley does not know" in line
    assert "Start the newer version" in line


def test_a_migration_that_fails(tmp_path: Path) -> None:
    with closing(sqlite3.connect(migrated(tmp_path, "0001"))) as database:
        database.execute("CREATE TABLE elements (id INTEGER)")
    line = one_line(started(tmp_path, "serve"))
    assert "from revision 0001 to" in line
    assert "nothing was changed" in line


@pytest.mark.parametrize(
    ("command", "query"),
    [
        ("serve", "channel_binding=require"),
        ("migrate", "sslmode=on"),
        ("export", "sslrootcert=no.crt"),
    ],
)
def test_a_parameter_that_cannot_be_used(tmp_path: Path, command: str, query: str) -> None:
    url = f"postgresql://ada:hunter2@127.0.0.1/chat?{query}"
    line = one_line(started(tmp_path, command, DATABASE_URL=url), CONFIGURATION)
    assert query.split("=", maxsplit=1)[0] in line
    assert "hunter2" not in line


def started(directory: Path, how: str, **environment: str) -> subprocess.CompletedProcess[str]:
    port = str(find_free_port())
    arguments = {
        "serve": ["parley", "serve", "--port", port],
        "migrate": ["parley", "migrate"],
        "export": ["parley", "export", "--user", "ada"],
        "chainlit": ["uvicorn", "app:app", "--port", port],
    }[how]
    return run_module(directory, *arguments, **(DEMO | environment))


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
async def test_the_model_is_said_at_the_start(tmp_path: Path, level: str) -> None:
    async with serving(tmp_path, DEMO | {"LOG_LEVEL": level}) as parley:
        lines = [line for line in parley.log_text().splitlines() if line.startswith("Model: ")]
    (line,) = lines
    assert line.startswith("Model: demo:")
    assert "because" in line
