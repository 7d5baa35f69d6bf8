"""Left files: what lies in a storage directory, and what a crash left there. All of it blocks."""

import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import time
from uuid import uuid4

from data_layer.storage import Place, StorageConfig

PARTS = ".parts"
KEY = re.compile("[0-9a-f]{64}")
# A part that is older was left by a crash: no upload takes so long.
_LEFTOVER_AGE_S = 3600
# Of a session that is older nobody waits any more. Other processes may have younger ones here.
_SESSION_AGE_S = 24 * 3600
_OWNER = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PREFIX = re.compile("[0-9a-f]{2}")
_MARK = ".database"


def remove_leftovers(config: StorageConfig) -> int:
    """Remove unfinished parts and sessions' files that nobody can want any more; count them."""
    parts = _older(config.directory / PARTS, _LEFTOVER_AGE_S)
    for path in parts:
        path.unlink(missing_ok=True)
    sessions = _older(config.waiting_directory, _SESSION_AGE_S)
    for path in sessions:
        shutil.rmtree(path, ignore_errors=True)
    return len(parts) + len(sessions)


def places(directory: Path, age_s: float) -> Iterator[Place]:
    """List the objects that have been there for so long, one after the other."""
    before = time() - age_s
    for owner in _entries(directory, _OWNER):
        for prefix in _entries(owner.path, _PREFIX):
            older = (file for file in _entries(prefix.path, KEY) if _changed(file) <= before)
            yield from (Place(owner.name, file.name) for file in older)


def marked(directory: Path) -> str | None:
    """Say to which database the directory belongs; None where nobody has said so."""
    with suppress(FileNotFoundError):
        return (directory / _MARK).read_text()
    return None


def mark(directory: Path, database_id: str) -> None:
    """Say to which database the directory belongs, unless somebody was faster."""
    written = directory / f"{_MARK}.{uuid4().hex}"
    written.touch(0o600)
    try:
        written.write_text(database_id)
        with suppress(FileExistsError):
            os.link(written, directory / _MARK)
    finally:
        written.unlink()


def _entries(directory: Path | str, name: re.Pattern[str]) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as found:
        for entry in found:
            if name.fullmatch(entry.name):
                yield entry


def _changed(file: os.DirEntry[str]) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # deleted at this moment
        return math.inf


def _older(directory: Path, age_s: float) -> list[Path]:
    inside = list(directory.iterdir()) if directory.is_dir() else []
    return [path for path in inside if path.stat().st_mtime < time() - age_s]
