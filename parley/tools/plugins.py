"""Plug-ins: tools from files that `parley.toml` names, and from installed packages.

An entry point of the group `parley.tools` is a function under ``@tool``, or a `Tool`; it is loaded
when the tools are opened, and one that cannot be is left out and named in the log.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TypeVar

from parley.observability.logs import get_logger
from parley.tools.definition import Tool, registrations

logger = get_logger(__name__)

GROUP = "parley.tools"
T = TypeVar("T")

_loaded: dict[Path, tuple[Tool, ...]] = {}


def tools_of_file(path: Path, run: Callable[[], T]) -> tuple[T, tuple[Tool, ...]]:
    """Let `run` run a plug-in file, the first time, and give the tools that it registered."""
    path = path.resolve()
    before = len(registrations())
    given = run()
    _loaded.setdefault(path, registrations()[before:])
    return given, _loaded[path]


def installed() -> dict[str, EntryPoint]:
    """The tools of installed packages, by name; none of them is imported."""
    return {point.name: point for point in entry_points(group=GROUP)}


def load_installed(names: Callable[[str], bool]) -> list[Tool]:
    """Load the tools of installed packages whose names are wanted."""
    tools: list[Tool] = []
    for name, point in installed().items():
        if names(name) and (found := _load(point)):
            tools.append(found)
    return tools


def _load(point: EntryPoint) -> Tool | None:
    try:
        loaded = point.load()
    except Exception as error:  # a boundary: it is somebody's own code
        logger.exception("Tool cannot be loaded", tool=point.name, error=type(error).__name__)
        return None
    if isinstance(loaded, Tool):
        return loaded
    found = next((tool for tool in reversed(registrations()) if tool.call is loaded), None)
    if found is None:
        logger.error("Tool is no function under @tool", tool=point.name, entry_point=point.value)
    return found
