"""Plug-ins: providers from files that `parley.toml` names, and from installed packages.

A file is run once in a process, when the configuration is read; where one develops it is run again
when it was changed. Of packages only the metadata is
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
from parley.observability.logs import get_logger
from providers.config import Connection, Function
from providers.dialects import Open, OpenedOnUse
from providers.function import FunctionProvider, function_of, registrations, renew

logger = get_logger(__name__)

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
        _loaded[path] = _run(path)
    return _loaded[path]


def reload_plugins() -> None:
    """Run every plug-in file again: its providers answer from now on with what it has now.

    A file that fails keeps what it had, and the log says why. What is new in it under a new name
    is not known before a restart.
    """
    for path in _loaded:
        try:
            renew(_run(path))
        except PluginFailed as error:
            logger.error("Plug-in is kept as it was", file=path.name, reason=str(error))  # noqa: TRY400 - the reason has the line


def _run(path: Path) -> tuple[Function, ...]:
    """Run a file, and give the providers that it registers."""
    before = len(registrations())
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
    return registrations()[before:]


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
