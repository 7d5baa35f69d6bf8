"""Migrate: bring the schema up to date before anything is served, or refuse to start."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from data_layer.database import Database, DatabaseConfig, open_database
from parley.chat.errors import InvalidRequest, StorageUnavailable
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_SCRIPTS = Path(__file__).with_name("migrations")
# Any number will do, as long as every replica takes the same one.
_LOCK = 0x5061726C6579
# A migration of a large table takes its time, and so does waiting for another replica's.
_PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Migration:
    """From which revision to which; both are the same where there was nothing to do."""

    before: str | None
    after: str | None


def patient(config: DatabaseConfig) -> DatabaseConfig:
    """Give the same database more time, for work that is done once on all of it."""
    return replace(
        config,
        command_timeout_s=_PATIENCE_S,
        lock_timeout_s=_PATIENCE_S,
        busy_timeout_s=_PATIENCE_S,
    )


async def bring_up_to_date(config: DatabaseConfig) -> Migration:
    """Migrate the database of a configuration, before it is opened for serving.

    Raises `StorageUnavailable` and, where a directory cannot be made, `OSError`.
    """
    async with open_database(config) as database:
        # A server that is not there is noticed within the usual time, not within a migration's.
        await database.read(lambda _connection: None)
    async with open_database(patient(config)) as database:
        return await migrate(database)


async def migrate(database: Database, to: str | None = None) -> Migration:
    """Go to a revision, the newest unless named, in one transaction; several replicas do it once.

    Raises `StorageUnavailable` where the database is newer than this code, cannot be reached, or
    refuses the migration, which then changed nothing; `InvalidRequest` for an unknown revision.
    """
    goal = to or _newest()
    if goal not in _known():
        raise InvalidRequest(f"There is no revision {goal}; known are {', '.join(_known())}.")
    migration = await database.write(lambda connection: _move(connection, goal))
    if migration.before != migration.after:
        logger.info("Migrated the database", before=migration.before, after=migration.after)
    return migration


async def check_schema(database: Database) -> None:
    """Raise `StorageUnavailable` unless the database answers and has the newest schema."""
    revision = await database.read(_revision)
    if revision is not None and revision not in _known():
        raise _too_new(revision)
    if revision != _newest():
        raise StorageUnavailable(
            f"The database is at revision {revision}, not at {_newest()}. Run: parley migrate"
        )


def _move(connection: Connection, goal: str) -> Migration:
    # SQLite's lock is the write transaction itself, which has begun.
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    before = _revision(connection)
    if before is not None and before not in _known():
        raise _too_new(before)
    goes_back = before is not None and _known().index(goal) < _known().index(before)
    try:
        (command.downgrade if goes_back else command.upgrade)(alembic_config(connection), goal)
    except (SQLAlchemyError, CommandError) as error:
        raise StorageUnavailable(
            f"The migration from revision {before} to {goal} failed, and nothing was changed:"
            f" {_first_line(error)}"
        ) from error
    return Migration(before, goal)


def _first_line(error: Exception) -> str:
    """Say what the database said, without the statement."""
    said = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return said.splitlines()[0]


def _too_new(revision: str) -> StorageUnavailable:
    return StorageUnavailable(
        f"The database is at revision {revision}, which this version of Parley does not know."
        " Start the newer version, or restore a backup that is older."
    )


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def alembic_config(connection: Connection | None = None) -> Config:
    """Configure Alembic's commands, to run on a connection that is in a transaction."""
    config = Config()
    config.attributes["connection"] = connection
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@cache
def _known() -> tuple[str, ...]:
    """Give all revisions, the oldest first; there is one line of them."""
    scripts = ScriptDirectory.from_config(alembic_config())
    return tuple(script.revision for script in scripts.walk_revisions())[::-1]


def _newest() -> str:
    return _known()[-1]
