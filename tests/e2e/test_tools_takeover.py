"""A replica dies between the tools of an answer: what has ended is not run again elsewhere."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.replicas import Reading, Replicas, replicas
from tests.patience import PATIENCE_S, eventually, until
from tests.unit.fake_server.support import scripted

pytestmark = [pytest.mark.needs_postgres, pytest.mark.needs_redis]

SCRIPT = """
[[reply]]
text = "Let me see."
[[reply.tool_calls]]
name = "count"
id = "c"
[[reply.tool_calls]]
name = "nap"
id = "n"
[[reply]]
text = "All done."
"""
TOOLS = '''
import asyncio
from pathlib import Path

from parley.tools import tool

HERE = Path(__file__).parent

def note(name):
    with (HERE / name).open("a") as file:
        file.write("x")

@tool("Counting")
async def count() -> str:
    """Count."""
    note("counted")
    return "counted"

@tool("Napping")
async def nap() -> str:
    """Nap until somebody says that it is enough."""
    note("napped")
    while not (HERE / "enough").exists():
        await asyncio.sleep(0.02)
    return "rested"
'''
CONFIG = """
default_model = "m"
plugins = ["tools.py"]
[models.m]
provider = "openai"
model = "fake"
tools = true
use_tools = ["count", "nap"]
"""


async def counted(duo: Replicas) -> None:
    """Wait until a row says what the first tool gave."""
    statement = "SELECT id FROM turns WHERE tools->0->>'result' = 'counted'"
    await eventually(lambda: duo.rows(statement))


async def test_tool_that_has_ended_is_not_run_by_the_next_owner(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / "parley.toml").write_text(CONFIG)
    settings: dict[str, Any] = {"PARLEY_CONFIG": str(tmp_path / "parley.toml")}

    def noted(name: str) -> str:
        file = tmp_path / name
        return file.read_text() if file.exists() else ""

    async with scripted(SCRIPT) as server:
        settings["OPENAI_BASE_URL"] = server.base_url
        async with replicas(tmp_path, 2, **settings) as duo:
            reading = Reading(uuid4().hex, "What is it?")
            reader = asyncio.ensure_future(duo.read(reading, 0))
            await until(lambda: noted("napped") == "x")
            await counted(duo)
            await asyncio.to_thread(duo.parleys[0].kill)
            await until(lambda: noted("napped") == "xx")
            (tmp_path / "enough").touch()
            async with asyncio.timeout(2 * PATIENCE_S):
                await reader
            assert noted("counted") == "x"
            assert reading.text == "Let me see.\n\nAll done."
            assert reading.finish_reason == "stop"
            assert [a["keep"] for a in reading.attempts] == [True, True]
            assert len(server.requests) == 2
            results = [m for m in server.requests[1].json["messages"] if m["role"] == "tool"]
            assert ["counted" in results[0]["content"], "rested" in results[1]["content"]] == [
                True,
                True,
            ]
