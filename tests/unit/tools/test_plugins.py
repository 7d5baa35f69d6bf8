"""Tools of plug-ins: of installed packages where they are wanted, and of files, also when saved anew."""

import runpy
from pathlib import Path

import pytest

from parley.tools.opening import ToolsConfig, open_tools
from parley.tools.plugins import installed, load_installed, tools_of_file
from parley.tools.registry import ToolRegistry

MODULE = '''
from parley.tools import tool, tool_of

@tool("Rolling", name="packaged_roll")
async def roll(sides: int = 6) -> str:
    """Roll."""
    return "4"

async def plain(x: int) -> str:
    """Do."""
    return ""

made = tool_of(plain, name="packaged_made")
'''
POINTS = """[parley.tools]
packaged_roll = packaged_tools:roll
packaged_made = packaged_tools:made
packaged_plain = packaged_tools:plain
packaged_gone = packaged_tools:gone
packaged_broken = no_such_module:x
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "packaged_tools.py").write_text(MODULE)
    metadata = tmp_path / "packaged_tools-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: packaged-tools\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)


def test_only_what_is_a_tool_and_wanted_is_loaded() -> None:
    assert set(installed()) >= {"packaged_roll", "packaged_broken"}
    tools = load_installed(lambda name: name.startswith("packaged_"))
    assert [tool.spec.name for tool in tools] == ["packaged_roll", "packaged_made"]
    assert load_installed(lambda name: False) == []


async def test_packages_tool_is_called() -> None:
    names = frozenset({"packaged_roll"})
    async with open_tools(ToolsConfig(names=names)) as registry:
        assert registry.names == ("packaged_roll",)
        assert (await registry.run("packaged_roll", "{}")).text == "4"


async def test_file_that_is_run_again_answers_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "my_tools.py"
    source = MODULE.replace("packaged_roll", "saved_roll")
    path.write_text(source)
    _, tools = tools_of_file(path, lambda: runpy.run_path(str(path)))
    other = tmp_path / "other_tools.py"
    other.write_text(source.replace('return "4"', 'return "not mine"'))
    runpy.run_path(str(other))
    registry = ToolRegistry(tools)
    assert (await registry.run("saved_roll", "{}")).text == "4"
    path.write_text(source.replace('return "4"', "return str(sides)").replace("= 6", "= 20"))
    runpy.run_path(str(path))
    assert (await registry.run("saved_roll", "{}")).text == "20"
    assert registry.names == ("saved_roll",)
