"""The commands beside the server, through real processes: doctor, conformance, fake-server."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.e2e.support import DEMO
from tests.patience import PATIENCE_S
from tests.server import bare_environment, run_module
from tests.unit.fake_server.support import scripted


@contextmanager
def fake_server(directory: Path, *arguments: str) -> Iterator[tuple[str, list[str]]]:
    """Run `parley fake-server` on a free port; gives its root, and its lines when it is over."""
    command = [sys.executable, "-m", "parley", "fake-server", *arguments]
    environment = bare_environment(directory, {})
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=directory, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1], lines
        finally:
            process.send_signal(signal.SIGTERM)
            lines += process.stdout.read().splitlines()
    assert process.returncode == 0


def run(directory: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    done = run_module(directory, "parley", *arguments, **more)
    assert "Traceback" not in done.stderr
    return done


def test_fake_server_answers_and_tells(tmp_path: Path) -> None:
    with fake_server(tmp_path) as (root, lines):
        body = {"messages": [{"role": "user", "content": "a secret"}]}
        response = httpx2.post(f"{root}/v1/chat/completions", json=body, timeout=PATIENCE_S)
        conformance = run(tmp_path, "conformance", "--base-url", f"{root}/v1")
    assert response.json()["choices"][0]["finish_reason"] == "stop"
    assert f"OPENAI_BASE_URL={root}/v1 OPENAI_MODEL=fake" in lines[0]
    assert "POST /v1/chat/completions 200 openai, default reply, " in lines[3]
    assert not any("secret" in line for line in lines)
    assert conformance.returncode == 0
    assert "The basics work." in conformance.stdout


def test_mistake_in_a_script_ends_the_command(tmp_path: Path) -> None:
    (tmp_path / "script.toml").write_text('[[reply]]\ntxet = "a"\n')
    done = run(tmp_path, "fake-server", "--script", "script.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "script.toml, line 2: there is no 'txet': did you mean 'text'?" in done.stderr


def test_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with fake_server(tmp_path) as (root, _):
        done = run(tmp_path, "fake-server", "--port", root.rpartition(":")[2])
    assert (done.returncode, "cannot listen on 127.0.0.1" in done.stderr) == (1, True)


def test_conformance_says_what_is_not_there(tmp_path: Path) -> None:
    address = ("--base-url", "http://127.0.0.1:9/v1", "--json")
    done = run(tmp_path, "conformance", *address)
    assert (done.returncode, json.loads(done.stdout)["usable"]) == (1, False)
    keyless = run(tmp_path, "conformance", *address, "--api-key-env", "NO_SUCH_KEY")
    assert (keyless.returncode, "NO_SUCH_KEY is not set" in keyless.stderr) == (2, True)


def states(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    findings = json.loads(done.stdout)["findings"]
    return {finding["name"]: finding["state"] for finding in findings}


def test_doctor_of_a_bare_checkout(tmp_path: Path) -> None:
    before = run(tmp_path, "doctor", "--json", **DEMO)
    assert not (tmp_path / ".parley" / "parley.db").exists()
    run(tmp_path, "migrate", "--to", "0001", "--yes", **DEMO)
    outdated = run(tmp_path, "doctor", **DEMO)
    run(tmp_path, "migrate", **DEMO)
    (tmp_path / ".parley" / "files").mkdir()
    after = run(tmp_path, "doctor", "--ask", **DEMO)
    assert before.returncode == outdated.returncode == after.returncode == 0
    assert states(before)["provider demo"] == "warn"
    assert "warn  database" in outdated.stdout
    assert "Run: parley migrate" in outdated.stdout
    assert "reachable and migrated" in after.stdout
    assert "ok    answer of demo:echo" in after.stdout


def test_doctor_says_all_that_is_bad(tmp_path: Path) -> None:
    """Half of it is broken, and the other half is still looked at."""
    secret = "pa55word"
    (tmp_path / "files").write_text("a file where a directory should be")
    environment = {
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "OPENAI_API_KEY": f"sk-{secret}",
        "REDIS_URL": f"redis://:{secret}@127.0.0.1:9/0",
        "DATABASE_URL": f"postgresql://parley:{secret}@127.0.0.1:9/parley",
        "STORAGE_DIRECTORY": "files",
    }
    done = run(tmp_path, "doctor", "--json", **environment)
    assert done.returncode == 1
    bad = {name for name, state in states(done).items() if state == "bad"}
    assert bad == {"database", "files", "redis", "provider openai"}
    assert "Check OPENAI_BASE_URL" in done.stdout
    assert secret not in done.stdout + done.stderr


def test_doctor_names_every_wrong_setting(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor", PORT="x", LOG_LEVEL="loud", **DEMO)
    assert done.returncode == 2
    assert done.stdout.count("bad   configuration") == 2


@pytest.mark.needs_redis
async def test_doctor_of_a_whole_installation(tmp_path: Path, redis_url: str) -> None:
    async with scripted('model = "m"') as server:
        environment = {"OPENAI_BASE_URL": server.base_url, "REDIS_URL": redis_url}
        environment["REDIS_TIMEOUT_SECONDS"] = "10"
        done = await asyncio.to_thread(run, tmp_path, "doctor", "--ask", **environment)
    assert done.returncode == 0, done.stdout
    assert "ok    redis" in done.stdout
    assert re.search(r"Redis \d+\.\d+", done.stdout)
    assert "provider openai" in done.stdout
    assert "finish length" in done.stdout
    assert len(server.requests) == 1


async def test_doctor_says_what_a_provider_refuses(tmp_path: Path) -> None:
    async with scripted('api_key = "right"') as server:
        environment = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "wr0ng"}
        done = await asyncio.to_thread(run, tmp_path, "doctor", **environment)
    assert done.returncode == 1
    assert "Check OPENAI_API_KEY" in done.stdout
    assert "wr0ng" not in done.stdout + done.stderr


async def test_doctor_knows_what_is_asked_of_each_row(tmp_path: Path) -> None:
    async with scripted('model = "m"') as server:
        rows = f"""
            [models.any]
            provider = "openai"
            base_url = "{server.base_url}"
            [models.lost]
            provider = "openai"
            base_url = "{server.base_url}"
            model = "gone"
            max_tokens = 9
        """
        (tmp_path / "parley.toml").write_text(rows)
        done = await asyncio.to_thread(run, tmp_path, "doctor")
    assert done.returncode == 0, done.stdout
    assert "configured: the first listed (1 offered)" in done.stdout
    assert "it does not list gone, but m. Check models.lost.model." in done.stdout
