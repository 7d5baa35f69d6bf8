"""Commands on the database: migrate it, export what is one user's, forget a user."""

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, TextIO

import typer

from data_layer.database import Database, open_database
from data_layer.export import export_files, export_user, find_user
from data_layer.faults import explained
from data_layer.forget import count_rows, forget_user, scrub, thread_ids, unfinished_turn_ids
from data_layer.local_storage import LocalStorage
from data_layer.migrate import Migration, bring_up_to_date, check_schema, migrate, patient
from data_layer.rows import AnyRow
from data_layer.writer import open_writer
from parley.chat.errors import ParleyError, StorageUnavailable
from parley.commands.configuration import read_config
from parley.context.redis_guard import open_redis
from parley.context.redis_store import RedisContextStore
from parley.live.redis_commands import forget_logs
from parley.observability.audit import audit
from parley.observability.logs import configure_logs
from parley.settings.build import Config

FAILED = 1
# Nobody waits for an answer meanwhile: a Redis that is slow is no reason to leave something in it.
_REDIS_S = 5.0

User = Annotated[str, typer.Option("--user", help="The user's identifier or id.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def migrate_command(
    to: Annotated[
        str | None, typer.Option(help="Another revision than the newest: the way back.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Bring the database to the newest revision, as every start does by itself."""
    config = prepared()
    if to is not None and not yes:
        typer.confirm(f"Go to revision {to}? What only later ones hold is lost", abort=True)
    with told(config):
        migration = asyncio.run(_migrate(config, to))
    before = migration.before or "nothing"
    if before == migration.after:
        typer.echo(f"The database is at revision {before} already.")
    else:
        typer.echo(f"Migrated the database from {before} to {migration.after}.")


async def _migrate(config: Config, to: str | None) -> Migration:
    if to is None:
        return await bring_up_to_date(config.database)
    async with open_database(patient(config.database)) as database:
        return await migrate(database, to)


def export_command(
    user: User,
    output: Annotated[
        Path | None, typer.Option(help="The file to write; by default standard output.")
    ] = None,
    files: Annotated[
        Path | None, typer.Option(help="A directory for their files, named by their object_key.")
    ] = None,
) -> None:
    """Write everything that is one user's, as JSON."""
    config = prepared()
    with told(config):
        asyncio.run(_export(config, user, output, files))


async def _export(config: Config, who: str, output: Path | None, files: Path | None) -> None:
    async with open_database(config.database) as database:
        await check_schema(database)
        user = await find_user(database, who)
        with _writing(output) as file:
            async for piece in export_user(database, user):
                _write(file, piece)
        if files is not None:
            with _said(files):
                count = await export_files(LocalStorage(config.storage), user, files)
            typer.echo(f"{count} files in {files}", err=True)
        _audit("user_exported", user, files=files is not None)


def forget_command(user: User, yes: Yes = False) -> None:
    """Delete a user and everything that is theirs, for good."""
    config = prepared()
    with told(config):
        asyncio.run(_forget(config, user, ask=not yes))


async def _forget(config: Config, who: str, *, ask: bool) -> None:
    async with open_database(patient(config.database)) as database:
        await check_schema(database)
        user = await find_user(database, who)
        if ask:
            counts = _counted(await count_rows(database, user.id))
            typer.confirm(f"Forget {user.identifier}: {counts}? There is no way back", abort=True)
        storage = LocalStorage(config.storage)
        with _said(config.storage.directory):
            await storage.delete_owner(user.id)  # first: without its row nobody would find them
        threads = await thread_ids(database, user.id)
        running = await unfinished_turn_ids(database, user.id)
        async with open_writer(database) as writer:
            deleted = await forget_user(writer, user.id)
        await _forget_in_redis(config, threads, running)
        with _said(config.storage.directory):
            await storage.delete_owner(user.id)  # what arrived in the meantime
        _audit("user_forgotten", user, **deleted)
        typer.echo(f"Forgot {user.identifier}: {_counted(deleted)}.")
        await _scrub(database)


async def _forget_in_redis(config: Config, threads: Sequence[str], running: Sequence[str]) -> None:
    if config.redis is None:
        return
    timeout_s = max(config.redis.timeout_s, _REDIS_S)
    async with open_redis(config.redis.address, timeout_s) as redis:
        contexts = RedisContextStore(redis, config.redis.ttl_s)
        if not (await contexts.forget(threads) and await forget_logs(redis, running)):
            typer.echo(
                "Redis cannot be reached: it still has the latest conversations, until"
                f" {config.redis.ttl_s} seconds (REDIS_TTL_SECONDS) after their last use.",
                err=True,
            )


async def _scrub(database: Database) -> None:
    if not await scrub(database):
        typer.echo(
            "The write-ahead log of SQLite still has what was deleted: stop Parley and"
            " run `sqlite3 FILE 'PRAGMA wal_checkpoint(TRUNCATE)'`.",
            err=True,
        )


def prepared() -> Config:
    """Read the configuration, and log to standard error."""
    config = read_config()
    configure_logs(config.logs)  # to standard error: what is exported may go to standard output
    return config


class _CannotWrite(Exception):
    """The output cannot be written; the message says why."""


@contextmanager
def told(config: Config) -> Iterator[None]:
    """End the command with one line where what is expected to go wrong does."""
    try:
        yield
    except (StorageUnavailable, OSError) as error:
        why = explained(config.database.url, error)
    except (ParleyError, _CannotWrite) as error:
        why = str(error)
    else:
        return
    sys.stderr.write(f"Parley: {why}\n")
    raise typer.Exit(FAILED)


@contextmanager
def _writing(output: Path | None) -> Iterator[TextIO]:
    """Open the output, for its owner alone; it appears when it is complete, or not at all."""
    if output is None:
        yield sys.stdout
        return
    output = output.resolve()
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with _said(output):
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
            with _said(output):
                file.flush()
                os.fsync(descriptor)
        with _said(output):
            part.replace(output)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _write(file: TextIO, piece: str) -> None:
    with _said(file.name):
        file.write(piece)


@contextmanager
def _said(what: object) -> Iterator[None]:
    try:
        yield
    except (OSError, StorageUnavailable) as error:
        why = error.strerror if isinstance(error, OSError) else error.message
        raise _CannotWrite(f"{what} cannot be written: {why}") from None


def _audit(event: str, user: AnyRow, **details: object) -> None:
    who = {"identifier": user.identifier, "user_id": user.id, "by": "command line"}
    audit(event, **who, **details)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
