"""A TLS endpoint before a plain server, and the authority that vouches for it.

The Redis of the tests' wheel is built without TLS.
"""

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)

_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """Signs certificates; `ca_file` is its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca_file = directory / "ca.pem"
        certificate = self._certificate(self._key, "Test CA", None)
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server_context(self, address: str = "127.0.0.1", *hosts: str) -> ssl.SSLContext:
        """The TLS of a server at this address, with these names."""
        key, path = ec.generate_private_key(ec.SECP256R1()), self._directory / "server.pem"
        certificate = self._certificate(key, "server", address, hosts)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _certificate(
        self,
        key: ec.EllipticCurvePrivateKey,
        name: str,
        address: str | None,
        hosts: Sequence[str] = (),
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
            .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), True)
            # From Python 3.13 on a certificate must say whose key it is, who signed it, and for what.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False
            )
        )
        if not address:
            builder = builder.add_extension(_SIGNS, critical=True)
        else:
            named = [x509.IPAddress(IPv4Address(address)), *map(x509.DNSName, hosts)]
            names = x509.SubjectAlternativeName(named)
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


@asynccontextmanager
async def tls_proxy(context: ssl.SSLContext, port: int) -> AsyncIterator[int]:
    """Hand on what comes in over TLS to a plain port of this machine; gives its own port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server, from_client = await asyncio.open_connection("127.0.0.1", port)
        with suppress(OSError):
            await asyncio.gather(_copy(reader, from_client), _copy(to_server, writer))

    server = await asyncio.start_server(handle, "127.0.0.1", ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
