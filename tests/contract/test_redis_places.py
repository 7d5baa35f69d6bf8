"""Where Redis may be: behind a password, TLS, a socket of the machine, or sentinels."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from parley.context.redis_client import TIMEOUT_S
from parley.context.redis_store import RedisContextStore
from tests.contract.redis_support import (
    KEY,
    THREAD,
    answering,
    bulk,
    command,
    is_well,
    record,
    store_at,
)
from tests.fakes.tls_proxy import Authority, tls_proxy
from tests.patience import eventually
from tests.services import RedisProcess, redis_process

pytestmark = pytest.mark.needs_redis

PASSWORD = "hunter2 @:/?#%"
QUOTED = "hunter2%20%40%3A%2F%3F%23%25"
SENTINEL = """
sentinel monitor mymaster 127.0.0.1 {port} 1
sentinel down-after-milliseconds mymaster 300
sentinel failover-timeout mymaster 3000
sentinel auth-pass mymaster hunter2
requirepass hunter3
"""


async def assert_serves(store: RedisContextStore) -> None:
    await eventually(lambda: is_well(store))  # its patience of 0.25 s is little on a busy machine
    await store.save(THREAD, kept := record("one"))
    assert await store.load(THREAD) == kept


@pytest.fixture(scope="module")
def locked() -> Iterator[RedisProcess]:
    """A Redis that asks for a password."""
    with redis_process("--requirepass", PASSWORD) as server:
        yield server


@pytest.mark.parametrize("login", [f":{QUOTED}@", f"default:{QUOTED}@"])
async def test_with_a_password(locked: RedisProcess, login: str) -> None:
    async with store_at(locked.url.replace("//", f"//{login}")) as store:
        await assert_serves(store)


@pytest.mark.parametrize("login", ["", ":hunter4@", "ada:hunter4@"])
async def test_another_password_is_said(locked: RedisProcess, login: str) -> None:
    with capture_logs() as lines:
        async with store_at(locked.url.replace("//", f"//{login}")) as store:
            assert await store.load(THREAD) is None
            assert "REDIS_URL" in str(await store.trouble())
    (line,) = lines
    assert "user or the password" in line["reason"]
    assert "hunter" not in str(lines)


async def test_a_password_that_comes_later_is_said(redis_url: str) -> None:
    async with store_at(redis_url) as store, Redis.from_url(redis_url) as redis:
        await redis.config_set("requirepass", "hunter2")
        try:
            await command(redis, "CLIENT KILL TYPE normal SKIPME yes")
            await eventually(lambda: _says(store, "password"))
        finally:
            await redis.config_set("requirepass", "")
        await eventually(lambda: is_well(store))
        await assert_serves(store)


async def test_at_a_socket_and_in_another_database(tmp_path: Path) -> None:
    # Relative: a path to a Unix socket may have no more than 107 characters.
    with redis_process("--unixsocket", "redis.sock") as server:
        home = Path(f"/proc/{server.process.pid}/cwd")
        async with store_at(f"unix://{home}/redis.sock?db=3") as store:
            await assert_serves(store)
        async with Redis(port=server.port, db=3) as redis:
            assert await redis.exists(KEY)


async def test_over_tls(redis_url: str, tmp_path: Path) -> None:
    authority, plain_port = Authority(tmp_path), _port(redis_url)
    async with tls_proxy(authority.server_context(), plain_port) as port:
        url = f"rediss://127.0.0.1:{port}/0"
        async with store_at(f"{url}?ssl_ca_certs={authority.ca_file}") as store:
            await assert_serves(store)
        async with store_at(f"{url}?ssl_cert_reqs=none") as store:
            await assert_serves(store)


@pytest.mark.parametrize("named", ["127.0.0.1", "127.0.0.2"])
async def test_a_certificate_that_is_not_accepted_is_said(
    redis_url: str, tmp_path: Path, named: str
) -> None:
    authority = Authority(tmp_path)
    parameters = "" if named == "127.0.0.1" else f"?ssl_ca_certs={authority.ca_file}"
    async with (
        tls_proxy(authority.server_context(named), _port(redis_url)) as port,
        store_at(f"rediss://127.0.0.1:{port}/0{parameters}") as store,
    ):
        assert await store.load(THREAD) is None
        assert "ssl_ca_certs" in str(await store.trouble())


async def test_tls_where_there_is_none(redis_url: str) -> None:
    async with store_at(redis_url.replace("redis:", "rediss:"), TIMEOUT_S) as store:
        assert await store.load(THREAD) is None
        assert await store.trouble()


@contextmanager
def watched() -> Iterator[tuple[RedisProcess, RedisProcess]]:
    """A master with a replica, and the sentinel that watches both."""
    locked = ("--requirepass", "hunter2", "--masterauth", "hunter2")
    with redis_process(*locked) as master:
        following = ("--replicaof", "127.0.0.1", str(master.port))
        with redis_process(*locked, *following):
            lines = SENTINEL.format(port=master.port)
            with redis_process(sentinel=lines) as sentinel:
                yield master, sentinel


async def test_a_failover_goes_by(redis_url: str) -> None:
    gone = _port(redis_url)  # the first sentinel is none: the second is asked
    with watched() as (master, sentinel):
        url = f"redis+sentinel://:hunter2@127.0.0.1:{gone},127.0.0.1:{sentinel.port}/mymaster/0"
        async with (
            store_at(f"{url}?sentinel_password=hunter3") as store,
            Redis(port=sentinel.port, password="hunter3", decode_responses=True) as watching,
        ):
            await assert_serves(store)
            await eventually(lambda: _has_replica(watching))
            await asyncio.to_thread(master.kill)
            assert await store.load(THREAD) is None
            assert await store.trouble()
            await eventually(lambda: is_well(store))
            await assert_serves(store)
            assert await watching.sentinel_get_master_addr_by_name("mymaster") != (
                "127.0.0.1",
                master.port,
            )


async def test_a_master_that_no_sentinel_names_is_said() -> None:
    with watched() as (_, sentinel):
        url = f"redis+sentinel://:hunter2@127.0.0.1:{sentinel.port}/another"
        async with store_at(f"{url}?sentinel_password=hunter3") as store:
            assert "No sentinel" in str(await store.trouble())


async def test_sentinels_and_their_master_over_tls(redis_url: str, tmp_path: Path) -> None:
    """The sentinel is a fake: a real one of a build without TLS names no port that has it."""
    authority = Authority(tmp_path)
    context = authority.server_context()
    async with tls_proxy(context, _port(redis_url)) as master:
        state = {"name": "mymaster", "ip": "127.0.0.1", "port": str(master), "flags": "master"}
        words = [word for item in (state | {"num-other-sentinels": "0"}).items() for word in item]
        reply = b"*1\r\n*%d\r\n" % len(words) + b"".join(bulk(word.encode()) for word in words)
        async with (
            answering(reply) as plain,
            tls_proxy(context, _port(plain)) as port,
            store_at(
                f"rediss+sentinel://127.0.0.1:{port}/mymaster?ssl_ca_certs={authority.ca_file}"
            ) as store,
        ):
            await assert_serves(store)


async def _has_replica(watching: Redis) -> bool:
    replicas = await command(watching, "SENTINEL REPLICAS mymaster")
    return any(dict(r).get("master-link-status") == "ok" for r in replicas)


async def _says(store: RedisContextStore, word: str) -> bool:
    await store.load(THREAD)
    return word in str(await store.trouble())


def _port(url: str) -> int:
    return int(url.removesuffix("/0").rpartition(":")[2])
