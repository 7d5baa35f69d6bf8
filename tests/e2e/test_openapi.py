"""The OpenAPI document is true: schemathesis asks by it, and gets what it says."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx2

from tests.server import ParleyProcess, bare_environment

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


async def test_nothing_answers_otherwise_than_it_says(
    demo: ParleyProcess, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    await client.get("/api/v1/conversations")
    cookie = f"parley_guest={client.cookies['parley_guest']}"
    done = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{demo.url}/openapi.json"),
            *("--checks", ",".join(CHECKS), "--max-examples", "15", "--seed", "8"),
            *("--phases", "examples,coverage,fuzzing", "--header", f"cookie: {cookie}"),
            *("--request-timeout", "20", "--continue-on-failure", "--no-color"),
        ],
        cwd=tmp_path,
        env=bare_environment(tmp_path, {}),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr
