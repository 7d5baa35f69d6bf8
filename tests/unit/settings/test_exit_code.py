"""A configuration that cannot be used ends a real process with code 2, before it serves."""

from pathlib import Path

from parley.settings.problems import EXIT_CODE
from tests.server import ROOT, run_module


def test_serve_says_all_and_ends(tmp_path: Path) -> None:
    done = run_module(
        tmp_path,
        "parley",
        "serve",
        PORT="x",
        DATABASE_URL="mysql://u:hunter2@h/d",
        LOG_LEVEL="loud",
    )
    assert done.returncode == EXIT_CODE == 2
    assert all(name in done.stderr for name in ("PORT=", "DATABASE_URL=***", "LOG_LEVEL="))
    assert "hunter2" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "nothing is made for a server that does not start"


def test_the_app_itself_says_all_and_ends(tmp_path: Path) -> None:
    done = run_module(tmp_path, "uvicorn", "app:app", PORT="x", LOG_LEVEL="loud")
    assert done.returncode == EXIT_CODE
    assert "PORT=" in done.stderr
    assert "LOG_LEVEL=" in done.stderr


def test_a_wrong_port_on_the_command_line_is_refused(tmp_path: Path) -> None:
    done = run_module(tmp_path, "parley", "serve", "--port", "70000")
    assert done.returncode == EXIT_CODE
    assert "65535" in done.stderr


def test_the_table_says_when_it_is_stale(tmp_path: Path) -> None:
    check = ("parley.settings.docs", "--check")
    assert run_module(ROOT, *check).returncode == 0
    assert run_module(tmp_path, *check).returncode == 1
    assert run_module(tmp_path, "parley.settings.docs").returncode == 0
    assert run_module(tmp_path, *check).returncode == 0
