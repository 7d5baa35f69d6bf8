"""Addresses: what people write behind a database's URL is understood, or refused with what to write.

TLS is proved against the real server, behind something that speaks TLS as PostgreSQL does: the
server that the tests have was built without.
"""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from data_layer.address import UnusableParameter, driver_arguments, normalise_url
from data_layer.database import DatabaseConfig, open_database
from parley.chat.errors import StorageUnavailable
from tests.services import Postgres

# What a client of PostgreSQL sends before TLS, and the answers.
SSL_REQUEST, WITH_TLS, WITHOUT_TLS = bytes([0, 0, 0, 8, 4, 210, 22, 47]), b"S", b"N"


@asynccontextmanager
async def on_tcp(postgres: Postgres, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The server on a TCP port of this machine, with TLS in front of it or without."""

    socket = str(postgres.socket_directory / ".s.PGSQL.5432")
    serving = set[asyncio.Future[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with closed(writer):
            first = await reader.readexactly(len(SSL_REQUEST))
            if first == SSL_REQUEST:
                writer.write(WITH_TLS if tls else WITHOUT_TLS)
                first = b""
                if tls:
                    await writer.start_tls(tls)
            server_reader, server_writer = await asyncio.open_unix_connection(socket)
            async with closed(server_writer):
                server_writer.write(first)
                await asyncio.gather(copied(reader, server_writer), copied(server_reader, writer))

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.ensure_future(serve(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*serving)


@asynccontextmanager
async def closed(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close it at the end, however the other side left: it may not like a certificate."""
    with suppress(OSError, asyncio.IncompleteReadError):
        try:
            yield
        finally:
            writer.close()
            await writer.wait_closed()


async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
    writer.close()


async def one(url: str) -> object:
    async with open_database(DatabaseConfig(url=url)) as database:
        return await database.read(lambda c: c.execute(sa.text("SELECT 1")).scalar())


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("sqlite:///x.db", "sqlite+pysqlite"),
        ("sqlite+aiosqlite:///x.db", "sqlite+pysqlite"),
        ("postgres://h/d", "postgresql+asyncpg"),
        ("postgresql://h/d", "postgresql+asyncpg"),
        ("postgresql+psycopg://h/d", "postgresql+asyncpg"),
    ],
)
def test_usual_spellings_of_a_url_are_taken(text: str, driver: str) -> None:
    assert normalise_url(text).drivername == driver


@pytest.mark.parametrize(
    ("query", "understood"),
    [
        ("sslmode=require", {"dsn": "postgresql://?sslmode=require"}),
        ("ssl=require", {"dsn": "postgresql://?sslmode=require"}),
        ("sslmode=disable&host=/tmp", {"dsn": "postgresql://?sslmode=disable"}),
        ("target_session_attrs=primary", {"dsn": "postgresql://?target_session_attrs=primary"}),
        ("host=/tmp", {}),
        ("", {}),
    ],
)
def test_parameters_of_libpq_reach_the_driver(query: str, understood: dict[str, str]) -> None:
    url, arguments = driver_arguments(normalise_url(f"postgres://ada:pw@h/d?{query}"))
    assert arguments == understood
    assert set(url.query) <= {"host"}


def test_authorities_of_the_machine_vouch_for_the_host() -> None:
    url = normalise_url("postgres://h/d?sslmode=verify-full&sslrootcert=system")
    _, arguments = driver_arguments(url)
    assert arguments["ssl"].verify_mode is ssl.CERT_REQUIRED
    assert arguments["ssl"].check_hostname
    assert arguments["dsn"] == "postgresql://?sslmode=verify-full"


@pytest.mark.parametrize(
    ("query", "instead"),
    [
        ("sslmode=yes", "verify-full"),
        ("ssl=true", "sslmode is one of"),
        ("channel_binding=require", "leave it out; sslmode=verify-full"),
        ("connect_timeout=3", "DATABASE_TIMEOUT_SECONDS"),
        ("keepalives_idle=3", "leave it out"),
        ("sslrootcert=/no/such/file", "sslrootcert cannot be read"),
        ("sslmode=require&sslrootcert=system", "sslmode=verify-full"),
        ("hunter2=x", "a parameter behind the"),
    ],
)
def test_parameter_that_cannot_be_used_says_what_to_write(query: str, instead: str) -> None:
    with pytest.raises(UnusableParameter, match=instead) as refused:
        normalise_url(f"postgres://h/d?{query}")
    assert "hunter2" not in str(refused.value)


@pytest.mark.needs_postgres
async def test_server_without_tls_is_not_spoken_to_in_the_clear(postgres: Postgres) -> None:
    async with on_tcp(postgres) as port:
        address = f"postgres://postgres@127.0.0.1:{port}/postgres?sslmode="
        assert await one(f"{address}disable") == 1
        assert await one(f"{address}prefer") == 1
        with pytest.raises(StorageUnavailable, match="does not offer TLS"):
            await one(f"{address}require")


@pytest.mark.needs_postgres
async def test_server_is_known_by_its_certificate(postgres: Postgres, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with on_tcp(postgres, context) as port:
        address = f"postgres://postgres@localhost:{port}/postgres?sslmode="
        assert await one(f"{address}require") == 1
        assert await one(f"{address}verify-full&sslrootcert={certificate}") == 1
        with pytest.raises(StorageUnavailable, match="TLS"):
            await one(f"{address}verify-full&sslrootcert=system")


def self_signed(directory: Path) -> tuple[Path, Path]:
    """A certificate of localhost and its key."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext"
    where = ("subjectAltName=DNS:localhost", "-out", str(certificate), "-keyout", str(key))
    subprocess.run([*command.split(), *where], check=True, capture_output=True)
    return certificate, key


@pytest.mark.parametrize("text", ["parley.db", "mysql://h/d", "sqlite://", "sqlite:///:memory:"])
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"database|supported|file"):
        normalise_url(text)


@pytest.mark.needs_postgres
async def test_certificate_that_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StorageUnavailable, match=r"root certificate file .* does not exist"):
        await one("postgres://h/d?sslmode=verify-full")
