"""Migrate: bring the schema up to date before anything is served, or refuse to start."""

from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from data_layer.database import Database
from parley.chat.errors import StorageUnavailable

_SCRIPTS = Path(__file__).with_name("migrations")
# Any number will do, as long as every replica takes the same one.
_LOCK = 0x5061726C6579


async def migrate(database: Database) -> None:
    """Upgrade to the newest revision in one transaction; several replicas do it once.

    Raises `StorageUnavailable` where the database is newer than this code, or cannot be reached.
    """
    await database.write(_upgrade)


async def check_schema(database: Database) -> None:
    """Raise `StorageUnavailable` unless the database answers and has the newest schema."""
    revision = await database.read(_revision)
    if revision != _newest():
        raise StorageUnavailable(f"The database is at revision {revision}, not at {_newest()}.")


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    revision = _revision(connection)
    if revision is not None and revision not in _known():
        raise StorageUnavailable(
            f"The database is at revision {revision}, which this version of Parley does not know."
            " Start the newer version, or restore a backup that is older."
        )
    command.upgrade(alembic_config(connection), "head")


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
def _known() -> frozenset[str]:
    scripts = ScriptDirectory.from_config(alembic_config())
    return frozenset(script.revision for script in scripts.walk_revisions())


@cache
def _newest() -> str | None:
    return ScriptDirectory.from_config(alembic_config()).get_current_head()
