"""Redis client: a client for an address, quick to give up: nobody waits long for a cache."""

import ssl
from typing import Any

from redis.asyncio import Redis, Sentinel
from redis.asyncio.connection import (
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff

from parley.context.redis_address import Login, RedisAddress

# The driver's own are 5 s, ten times over.
TIMEOUT_S = 0.25
CONNECTIONS = 16


class _TlsConnection(SSLConnection):
    """Takes a context that is made once: the driver reads all certificates for each connection."""

    def __init__(self, *, tls: ssl.SSLContext, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context.context = tls


class _SentinelTlsConnection(SentinelManagedSSLConnection):
    def __init__(self, *, tls: ssl.SSLContext, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call] # the driver has no types here
        self.ssl_context.context = tls


class RedisClient:
    """The driver's client, and the sentinels that it asks for its server."""

    def __init__(self, address: RedisAddress, timeout_s: float = TIMEOUT_S) -> None:
        """Connect nothing yet; raises `OSError` for a certificate that cannot be read any more."""
        tls: dict[str, Any] = {"tls": address.tls.context()} if address.tls else {}
        options = _options(address.login, timeout_s) | {"db": address.database} | tls
        self._sentinel: Sentinel | None = None
        if address.service is None:
            self._pool = _pool(address, options)
        else:
            self._sentinel = Sentinel([])  # type: ignore[no-untyped-call] # the driver has no types here
            self._sentinel.sentinels = [
                Redis.from_pool(
                    ConnectionPool(
                        _TlsConnection if tls else Connection,
                        CONNECTIONS,
                        host=host,
                        port=port,
                        **_options(address.sentinel_login, timeout_s),
                        **tls,
                    )
                )
                for host, port in address.hosts
            ]
            self._pool = SentinelConnectionPool(  # type: ignore[no-untyped-call] # nor here
                address.service,
                self._sentinel,
                connection_class=_SentinelTlsConnection if tls else SentinelManagedConnection,
                max_connections=CONNECTIONS,
                **options,
            )
        self.redis: Redis = Redis(connection_pool=self._pool)

    async def drop_idle(self) -> None:
        """Close what is not in use: the next command connects anew, perhaps to another server."""
        await self._pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()
        if self._sentinel:
            await self._sentinel.aclose()


def _pool(address: RedisAddress, options: dict[str, Any]) -> ConnectionPool:
    if address.path is not None:
        return ConnectionPool(UnixDomainSocketConnection, CONNECTIONS, path=address.path, **options)
    host, port = address.hosts[0]
    connection = _TlsConnection if address.tls else Connection
    options |= {"socket_keepalive": True}
    return ConnectionPool(connection, CONNECTIONS, host=host, port=port, **options)


def _options(login: Login, timeout_s: float) -> dict[str, Any]:
    return {
        "username": login.username,
        "password": login.password,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # the older one: no greeting, one message less for each connection
        "driver_info": None,
    }
