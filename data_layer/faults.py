"""Faults: what a driver says of a database that is away, full, damaged or busy, in our words."""

import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from asyncpg.exceptions import (  # type: ignore[import-untyped]  # it has none
    ClientConfigurationError,
    DataError,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from data_layer.address import shown_url
from parley.chat.errors import InvalidRequest, StorageBusy, StorageUnavailable

_UNAVAILABLE = "The database cannot be reached. Try again in a moment."
_BUSY = "The database is busy. Try again in a moment."
_FULL = "The disk of the database is full."
_READ_ONLY = "The database cannot be written to."
_DAMAGED = "The database is damaged: it has to be restored from a backup."
_NO_TLS = "The database does not offer TLS: the server has to, or sslmode has to be another."

# Connection exceptions, no such user or database, idle in a transaction for too long, out of
# resources, shut down; a server that is read-only, as a standby is.
_UNAVAILABLE_SQLSTATES = ("08", "28", "3D", "25006", "25P03", "53", "57")
# A lock that was not free in time, a statement that took too long: of these rows, not of all.
_HELD_SQLSTATES = {"55P03", "57014"}
# The longest that fits says it.
_SQLSTATES = {
    "28": "The database refuses the user or the password.",
    "3D": "There is no such database on the server.",
    "25006": _READ_ONLY,
    "53": "The database has no room for more connections.",
    "53100": _FULL,
}
_SQLITE = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: "The file of the database cannot be opened.",
    sqlite3.SQLITE_IOERR: "The disk of the database fails.",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: "The file is no SQLite database, or it is encrypted or damaged.",
}
# Of a character that is none, or that text in this database cannot have.
_BAD_TEXT_SQLSTATES = {"22021", "22P05"}


@contextmanager
def translated() -> Iterator[None]:
    """Turn what says "no database" into our error; a wrong statement stays what it is."""
    try:
        yield
    except UnicodeEncodeError:
        raise _not_storable() from None  # its own words would quote the text
    except ssl.SSLError as error:
        raise _unavailable(
            f"TLS with the database fails: {error.reason or 'no reason'}."
        ) from error
    except (PoolTimeout, OSError) as error:
        no_tls = "rejected SSL upgrade" in str(error)
        raise _unavailable(_NO_TLS if no_tls else _UNAVAILABLE) from error
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None) or ""
        if state in _BAD_TEXT_SQLSTATES or _is_bad_text(error):
            raise _not_storable() from None
        if state in _HELD_SQLSTATES:
            raise StorageBusy(_BUSY, retry_after_s=1) from error
        if said := _said(error, state):
            raise _unavailable(said) from error
        raise


def explained(url: str, error: StorageUnavailable | OSError) -> str:
    """Say in one line, without secrets, which database fails and why."""
    what = error.message if isinstance(error, StorageUnavailable) else str(error)
    return f"DATABASE_URL={shown_url(url)}: {what}"


def _said(error: DBAPIError, state: str) -> str | None:
    """Say what is wrong with the database; None where it is the statement that is wrong."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None and (said := _SQLITE.get(code & 0xFF)):  # its low byte is the kind
        return said
    if error.connection_invalidated or state.startswith(_UNAVAILABLE_SQLSTATES):
        return _SQLSTATES.get(state) or _SQLSTATES.get(state[:2]) or _UNAVAILABLE
    cause = error.orig.__cause__ if error.orig else None
    if isinstance(cause, ClientConfigurationError):  # a certificate that is not there, say
        return f"DATABASE_URL cannot be used: {str(cause).splitlines()[0]}."
    if isinstance(cause, DataError):  # a value that does not fit its column
        return None
    wrong = code == sqlite3.SQLITE_ERROR  # no such column, say: no waiting mends that
    if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError) and not wrong:
        return _UNAVAILABLE
    return None


def _is_bad_text(error: DBAPIError) -> bool:
    """Whether a value could not even be encoded: asyncpg says so with an error of its own."""
    cause: BaseException | None = error.orig
    while cause is not None:
        if isinstance(cause, UnicodeEncodeError):
            return True
        cause = cause.__cause__
    return False


def _unavailable(message: str) -> StorageUnavailable:
    return StorageUnavailable(message, retry_after_s=1)


def _not_storable() -> InvalidRequest:
    return InvalidRequest("The text has a character that cannot be stored. Send it without.")
