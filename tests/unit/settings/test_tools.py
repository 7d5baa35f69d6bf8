"""Tools in the settings: from plug-in files, on or off for a model, and what is wrong with them."""

from pathlib import Path

import pytest

from parley.settings.build import load_config
from parley.settings.environment import Environment, setting_names
from parley.settings.problems import ConfigurationError

TOOLS = '''
from parley.tools import tool

@tool("Rolling")
async def {name}(sides: int = 6) -> str:
    """Roll."""
    return "4"
'''


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in Environment.model_fields:
        for name in setting_names(field):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def write(file: str, plugin: str = "roll") -> None:
    Path("parley.toml").write_text(f'plugins = ["mine.py"]\n{file}')
    Path("mine.py").write_text(TOOLS.format(name=plugin))


def test_plugin_file_brings_a_tool() -> None:
    write('[models.a]\nprovider = "demo"\nuse_tools = ["roll", "read_page"]\n')
    for _ in range(2):  # the file is run once, and heard each time
        config = load_config()
        assert [tool.spec.name for tool in config.tools.plugins] == ["roll"]
        assert config.providers.models[0].use_tools == ("roll", "read_page")


@pytest.mark.parametrize(
    ("file", "plugin", "said"),
    [
        ("", "web_search", "'web_search' exists"),
        ('[models.a]\nprovider = "demo"\nuse_tools = ["rol"]\n', "roll", "mean 'roll'"),
        ('[models.a]\nprovider = "demo"\nuse_tools = "roll"\n', "roll", "list"),
    ],
)
def test_what_is_wrong_is_said(file: str, plugin: str, said: str) -> None:
    write(file, plugin)
    with pytest.raises(ConfigurationError, match=said):
        load_config()


def test_environment_says_where_tools_go(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TOOLS": "read_page",
        "TOOL_PORTS": "8443",
        "TOOL_NETWORKS": "10.1.0.0/16",
        "LIMIT_PAGE_BYTES": "5",
        "SEARXNG_URL": "http://searxng:8080",
        "MAX_TOOL_ROUNDS": "3",
    }.items():
        monkeypatch.setenv(name, value)
    config = load_config()
    assert config.tools.names == frozenset({"read_page"})
    assert config.tools.http.ports == {80, 443, 8443}
    assert [str(network) for network in config.tools.http.networks] == ["10.1.0.0/16"]
    assert config.tools.http.limit_bytes == 5
    assert config.tools.searxng_url == "http://searxng:8080"
    assert config.engine.run.tools.rounds == 3


def test_none_is_no_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLS", "none")
    assert load_config().tools.names == frozenset()
