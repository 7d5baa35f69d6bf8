"""Plug-ins: providers from files that `parley.toml` names, and from installed packages.

A file is run once in a process, when the configuration is read. Of packages only the metadata is
read (entry points of the group `parley.providers`); their modules are imported at first use.
"""

import sys
import traceback
from functools import cache
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from parley.chat.models import Sampling
from parley.chat.ports import Provider
from providers.config import Connection, Function
from providers.dialects import Open, OpenedOnUse
from providers.function import FunctionProvider, function_of, registrations

GROUP = "parley.providers"

_loaded: dict[Path, tuple[Function, ...]] = {}


class PluginFailed(Exception):
    """A plug-in file cannot be used; the message has the line and the reason."""


def load_plugin(path: Path) -> tuple[Function, ...]:
    """Run a plug-in file, the first time, and give the providers that it registered.

    Raises `PluginFailed`; one without providers may have tools.
    """
    path = path.resolve()
    if path not in _loaded:
        before = len(registrations())
        _run(path)
        _loaded[path] = registrations()[before:]
    return _loaded[path]


def _run(path: Path) -> None:
    # The name is the path's alone: two files of one name do not meet in sys.modules.
    name = f"parley_plugin_{path.stem}_{sha256(str(path).encode()).hexdigest()[:8]}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise PluginFailed("there is no such Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as exc:  # a boundary: it is somebody's own code
        del sys.modules[name]
        raise PluginFailed(_where(exc, path)) from exc


def _where(exc: Exception, path: Path) -> str:
    """Say in which line of the file it happened, and what."""
    if isinstance(exc, SyntaxError) and exc.filename == str(path):
        return f"line {exc.lineno}: {exc.msg}"
    frames = traceback.extract_tb(exc.__traceback__)
    line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)
    return f"line {line}: {type(exc).__name__}: {exc}"


@cache
def installed() -> dict[str, EntryPoint]:
    """The providers of installed packages, by name; none of them is imported."""
    return {point.name: point for point in entry_points(group=GROUP)}


def open_installed(point: EntryPoint, connection: Connection, defaults: Sampling) -> Provider:
    """Open a provider of a package at its first use.

    The entry point is a factory as dialects have it, or a function under ``@provider``.
    """

    def find() -> Open:
        loaded = point.load()
        function = function_of(loaded)
        if function is None:
            return loaded  # type: ignore[no-any-return]  # whatever the package has there
        return lambda connection, defaults: FunctionProvider(function, connection, defaults)

    return OpenedOnUse(connection, defaults, find)
