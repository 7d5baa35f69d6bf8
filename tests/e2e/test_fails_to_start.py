"""A start that cannot succeed says why in one line, without a traceback, and ends."""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.support import DEMO, serving
from tests.server import run_module
from tests.services import find_free_port

CONFIGURATION, DATABASE = 2, 1


def serve(directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    port = str(find_free_port())
    return run_module(directory, "parley", "serve", "--port", port, **(DEMO | environment))


@pytest.mark.parametrize("name", ["DEFAULT_MODEL", "LLM_PROVIDER"])
@pytest.mark.parametrize("level", ["INFO", "CRITICAL"])
def test_a_model_that_nobody_has(tmp_path: Path, name: str, level: str) -> None:
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


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
async def test_the_model_is_said_at_the_start(tmp_path: Path, level: str) -> None:
    async with serving(tmp_path, DEMO | {"LOG_LEVEL": level}) as parley:
        lines = [line for line in parley.log_text().splitlines() if line.startswith("Model: ")]
    (line,) = lines
    assert line.startswith("Model: demo:")
    assert "because" in line
