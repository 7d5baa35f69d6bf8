"""What `parley doctor` looks at of the stores: the database, the files, Redis."""

import os
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from data_layer.address import normalise_url
from data_layer.database import DatabaseConfig, open_database
from data_layer.faults import explained
from data_layer.migrate import check_schema
from data_layer.storage import StorageConfig
from parley.chat.errors import StorageUnavailable
from parley.commands.findings import Finding, State
from parley.context.redis_faults import Trouble
from parley.context.redis_guard import open_redis
from parley.context.redis_store import RedisConfig

_MEND = "Check DATABASE_URL, and that the server runs."
_NOT_MIGRATED = re.compile(r"is at revision .+, not at")


async def look_at_database(config: DatabaseConfig) -> Sequence[Finding]:
    """Say whether the database answers, and at which revision it is."""
    missing = _missing_file(config)
    if missing is not None:
        return [_to_be_made("database", missing)]
    begun_at = time.monotonic()
    try:
        async with open_database(config) as database:
            await check_schema(database)
    except StorageUnavailable as error:
        # A start migrates by itself; only a newer schema than the code's stops it.
        state: State = "warn" if _NOT_MIGRATED.search(error.message) else "bad"
        said = explained(config.url, error).removesuffix(" Try again in a moment.")
        return [Finding("database", state, said if state == "warn" else f"{said} {_MEND}")]
    except OSError as error:
        return [Finding("database", "bad", explained(config.url, error))]
    return [Finding("database", "ok", f"reachable and migrated, {_ms(begun_at)}")]


def _missing_file(config: DatabaseConfig) -> Path | None:
    """Name the file of an SQLite database that is not there: looking would make it."""
    url = normalise_url(config.url)
    name = str(url.database)
    if url.get_backend_name() != "sqlite" or name.startswith(("file:", ":memory:")):
        return None
    path = Path(name)
    return None if path.exists() else path


def _to_be_made(name: str, path: Path) -> Finding:
    near = _nearest(path)
    if os.access(near, os.W_OK | os.X_OK):
        return Finding(name, "ok", f"{path} is not there yet: the first start makes it")
    return Finding(name, "bad", f"{path} is not there, and {near} cannot be written to")


def _nearest(path: Path) -> Path:
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())


async def look_at_storage(config: StorageConfig) -> Sequence[Finding]:
    """Say whether files can be written where elements are kept."""
    directory = config.directory
    if not directory.exists():
        return [_to_be_made("files", directory)]
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        said = f"STORAGE_DIRECTORY={directory} cannot be written to: {error.strerror}"
        return [Finding("files", "bad", said)]
    return [Finding("files", "ok", f"{directory} can be written to")]


async def look_at_redis(config: RedisConfig | None) -> Sequence[Finding]:
    """Say whether Redis answers, which it is, and how fast."""
    if config is None:
        return [Finding("redis", "ok", "none configured: one process, live state in its memory")]
    async with open_redis(config.address, config.timeout_s) as redis:
        begun_at = time.monotonic()
        trouble = await redis.trouble()
        took = _ms(begun_at)
        if trouble:
            where = f"REDIS_URL={config.address.shown}"
            return [Finding("redis", "bad", f"{where}: {trouble} Chat works without, slower.")]
        info = await redis.ask("info", lambda client: client.info("server"))
    version = "of an unknown version" if isinstance(info, Trouble) else info.get("redis_version")
    return [Finding("redis", "ok", f"Redis {version}, {took}")]


def _ms(begun_at: float) -> str:
    return f"{(time.monotonic() - begun_at) * 1000:.0f} ms"
