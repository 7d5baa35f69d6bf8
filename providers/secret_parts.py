"""Secrets: what of a connection no message may show, in every form that a server may repeat it in."""

from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import unquote, unquote_plus

from providers.config import Connection


def without_userinfo(url: str) -> str:
    """Give an address that may be shown."""
    said = userinfo_of(url)
    return url.replace(f"{said}@", "", 1) if said else url


def userinfo_of(url: str) -> str:
    """Give the user and the password of an address, as they are written there."""
    rest = url.partition("://")[2] or url
    return rest.partition("/")[0].rpartition("@")[0]


def secrets_of(connection: Connection) -> list[str]:
    """List the secrets, the longest first: one may be a part of another."""
    found = {connection.api_key or "", *_of_url(connection), *_of_headers(connection)}
    return sorted(found, key=len, reverse=True)


def _of_url(connection: Connection) -> Iterator[str]:
    """Give a password, a user that is a token, and the values of a query but for a version."""
    if said := userinfo_of(connection.base_url):
        user, _, password = said.partition(":")
        yield from (said, user, password, unquote(user), unquote(password))
        yield b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    yield connection.query
    for field in connection.query.split("&"):
        name, _, value = field.partition("=")
        if "version" not in name.lower():
            yield from (value, unquote_plus(value))


def _of_headers(connection: Connection) -> Iterator[str]:
    for value in connection.headers.values():
        yield from (value, value.rpartition(" ")[2])
