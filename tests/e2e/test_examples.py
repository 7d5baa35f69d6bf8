"""The clients of examples/, each run as it is against a Parley with the demo provider."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tests.server import ROOT, ParleyProcess, bare_environment

CLIENTS = ROOT / "examples" / "clients"
PROGRAMS = {".py": sys.executable, ".mjs": "node", ".sh": "sh"}
EXAMPLES = sorted(path.name for path in CLIENTS.iterdir() if path.suffix in PROGRAMS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_runs_as_it_is(demo: ParleyProcess, tmp_path: Path, name: str) -> None:
    kind = Path(name).suffix
    if kind == ".mjs":
        _install()
    environment = bare_environment(
        tmp_path, {"PARLEY_URL": demo.url, "MESSAGE": "Which way is up?"}
    )
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        [PROGRAMS[kind], str(CLIENTS / name)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no model is connected" in done.stdout
    assert "Which way is up?" in done.stdout


def test_each_is_spoken_of() -> None:
    said = (CLIENTS / "README.md").read_text()
    assert [name for name in EXAMPLES if f"`{name}`" not in said] == []


def _install() -> None:
    with FileLock(CLIENTS / ".install.lock"):
        if not (CLIENTS / "node_modules" / "openai").is_dir():
            command = ["npm", "ci", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=CLIENTS, check=True, capture_output=True, timeout=300)
