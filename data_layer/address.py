"""Address: a database's URL as people write it, in the words of our drivers.

What libpq's users put behind the `?` is understood where asyncpg has it too, and refused with what
to write instead where it has not.
"""

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from sqlalchemy.engine import URL

_FILES = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl"})
_TLS = _FILES | {"sslmode", "sslpassword", "sslnegotiation"}
_TLS |= {"ssl_min_protocol_version", "ssl_max_protocol_version"}
# asyncpg reads these from a URL of libpq's, which is how they are handed to it.
_LIBPQ = _TLS | {"target_session_attrs", "passfile", "krbsrvname", "gsslib"}
_ENGINE = {"host", "port", "prepared_statement_cache_size"}
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_INSTEAD = {
    "channel_binding": "leave it out; sslmode=verify-full makes sure of the server",
    "connect_timeout": "leave it out and set DATABASE_TIMEOUT_SECONDS",
    "pool_size": "leave it out and set DATABASE_POOL_SIZE",
    "application_name": "leave it out; it is always parley",
    "options": "leave it out; ALTER ROLE ... SET ... does the same in the database",
    "gssencmode": "leave it out",
    "requiressl": "write sslmode=require",
    "dbname": "write it as the path: postgresql://host/name",
    "user": "write it before the host: postgresql://user@host/name",
    "password": "write it before the host: postgresql://user:password@host/name",
}


class UnusableParameter(ValueError):
    """A parameter of a URL cannot be used; the message says why, and quotes no value."""


def normalise_url(text: str) -> URL:
    """Accept the usual spellings of a database URL; raises `ValueError` for any other."""
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise ValueError("not a database URL") from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        if url.database in {None, "", ":memory:"}:
            raise ValueError("SQLite needs a file here: every connection would have its own memory")
        return url.set(drivername="sqlite+pysqlite")
    if backend in {"postgresql", "postgres"}:
        return _postgres_url(url.set(drivername="postgresql+asyncpg"))
    raise ValueError(
        f"{backend} is not supported; use sqlite+aiosqlite:// or postgresql+asyncpg://"
    )


def shown_url(text: str) -> str:
    """Render the URL for an operator, without what is secret in it."""
    return sa.make_url(text).set(query={}).render_as_string(hide_password=True)


def driver_arguments(url: URL) -> tuple[URL, dict[str, Any]]:
    """Divide a URL of PostgreSQL into what SQLAlchemy and what asyncpg understands."""
    libpq = {name: value for name, value in url.query.items() if name in _LIBPQ}
    url = url.difference_update_query(list(libpq))
    if libpq.get("sslrootcert") != "system":
        return url, {"dsn": f"postgresql://?{urlencode(libpq, doseq=True)}"} if libpq else {}
    # As libpq does: the authorities of the machine vouch for anyone, hence for this very host.
    del libpq["sslrootcert"]
    return url, {
        "dsn": f"postgresql://?{urlencode(libpq, doseq=True)}",
        "ssl": ssl.create_default_context(),
    }


def _postgres_url(url: URL) -> URL:
    if "ssl" in url.query and "sslmode" not in url.query:  # as SQLAlchemy's users write it
        url = url.update_query_dict({"sslmode": url.query["ssl"]})
    url = url.difference_update_query(["ssl"])
    for name in url.query:
        _check_parameter(name)
    mode, root = url.query.get("sslmode"), url.query.get("sslrootcert")
    if mode is not None and mode not in _SSL_MODES:
        raise UnusableParameter(f"sslmode is one of {', '.join(_SSL_MODES)}")
    if root == "system" and mode not in {None, "verify-full"}:
        raise UnusableParameter("with sslrootcert=system, write sslmode=verify-full")
    for name in _FILES & url.query.keys():
        if url.query[name] != "system":
            _check_file(name, url.query[name])
    return url


def _check_parameter(name: str) -> None:
    if name in _LIBPQ | _ENGINE:
        return
    instead = "leave it out" if name.startswith("keepalives") else _INSTEAD.get(name)
    if instead is not None:
        raise UnusableParameter(f"the parameter {name} is not supported: {instead}")
    # Not its name: it may be a piece of a password with an @ and a ? in it.
    raise UnusableParameter(
        "a parameter behind the ? is not known. In a password, @ : / ? # are written as %40 %3A"
        f" and so on. Known are {', '.join(sorted(_LIBPQ | _ENGINE))}"
    )


def _check_file(name: str, path: object) -> None:
    try:
        with Path(str(path)).open("rb"):
            pass
    except OSError as error:
        raise UnusableParameter(f"the file of {name} cannot be read: {error.strerror}") from None
