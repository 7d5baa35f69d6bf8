"""`REDIS_URL`: what is understood, and what is said of the rest."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.context.redis_address import (
    Login,
    RedisAddress,
    Tls,
    UnusableRedisUrl,
    read_redis_url,
)

SENTINELS = (("a", 26379), ("::1", 5))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", RedisAddress("redis", (("h", 6379),))),
        ("redis://h:1/2", RedisAddress("redis", (("h", 1),), database=2)),
        ("redis://[::1]:7?db=3", RedisAddress("redis", (("::1", 7),), database=3)),
        (
            "redis://ada:p%40ss%3A%2F@h",
            RedisAddress("redis", (("h", 6379),), login=Login("ada", "p@ss:/")),
        ),
        ("redis://:p@h", RedisAddress("redis", (("h", 6379),), login=Login(None, "p"))),
        ("rediss://h", RedisAddress("rediss", (("h", 6379),), tls=Tls())),
        (
            "rediss://h?ssl_cert_reqs=CERT_NONE&ssl_check_hostname=False",
            RedisAddress("rediss", (("h", 6379),), tls=Tls(verify=False, check_hostname=False)),
        ),
        (
            "unix://:p@/run/redis.sock?db=4",
            RedisAddress("unix", path="/run/redis.sock", database=4, login=Login(None, "p")),
        ),
        (
            "redis+sentinel://u:p@a,[::1]:5/mymaster/6?sentinel_password=s",
            RedisAddress(
                "redis+sentinel",
                SENTINELS,
                database=6,
                login=Login("u", "p"),
                service="mymaster",
                sentinel_login=Login(None, "s"),
            ),
        ),
        (
            "rediss+sentinel://a,[::1]:5/m",
            RedisAddress("rediss+sentinel", SENTINELS, tls=Tls(), service="m"),
        ),
    ],
)
def test_every_kind_is_understood(url: str, address: RedisAddress) -> None:
    assert read_redis_url(url) == address


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("hunter2", "has to begin with"),
        ("http://:hunter2@h", "has to begin with"),
        ("redis://", "names no host"),
        ("redis://:hunter2@", "names no host"),
        ("redis://:hun/ter2@h", "no number"),
        ("redis://:hunter2@h:hunter2", "no number"),
        ("redis://:hunter2@h:99999", "no number"),
        ("redis://:hunter2@[h", "not a URL"),
        ("redis://:p#hunter2@h", "%23"),
        ("redis://:p@h?hunter2=1", "known are db"),
        ("redis://:hunter2@h/zero", "number from 0"),
        ("redis://:hunter2@h/0/1", "number of a database"),
        ("redis://h?ssl_cert_reqs=none", "rediss://"),
        ("rediss://h?ssl_cert_reqs=hunter2", "required or none"),
        ("rediss://h?ssl_check_hostname=hunter2", "true or false"),
        ("rediss://h?ssl_ca_certs=/hunter2", "cannot be read"),
        ("unix://", "no socket"),
        ("redis+sentinel://a:1,b:2", "name of the master"),
        ("redis+sentinel://a:1,,b:2/m", "no host"),
    ],
)
def test_what_is_wrong_is_said_with_an_example(url: str, why: str) -> None:
    with pytest.raises(UnusableRedisUrl) as caught:
        read_redis_url(url)
    said = str(caught.value)
    assert why in said
    assert "for example " in said
    assert "hunter2" not in said


def test_a_ca_file_is_one(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    with pytest.raises(UnusableRedisUrl, match="not PEM"):
        read_redis_url(f"rediss://h?ssl_ca_certs={tmp_path}/ca.pem")


@settings(deadline=None)
@given(st.text() | st.text().map("redis://".__add__) | st.text().map("redis+sentinel://".__add__))
def test_any_text_is_a_url_or_explained(text: str) -> None:
    try:
        address = read_redis_url(text)
    except UnusableRedisUrl:
        return
    assert address.hosts or address.path


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://ada:hunter2@h:1/2", "redis://h:1/2"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock/0"),
        (
            "redis+sentinel://:hunter2@a,b:5/m?sentinel_password=hunter2",
            "redis+sentinel://a:26379,b:5/m/0",
        ),
    ],
)
def test_a_log_shows_no_secret(url: str, shown: str) -> None:
    address = read_redis_url(url)
    assert address.shown == shown
    assert "hunter2" not in repr(address)
