"""Redis address: `REDIS_URL` as people write it, read once and checked before anything connects."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_EXAMPLES = {
    "redis": "redis://:password@localhost:6379/0",
    "rediss": "rediss://user:password@redis.example:6380/0?ssl_ca_certs=/etc/ssl/redis-ca.pem",
    "unix": "unix:///run/redis/redis.sock?db=0",
    "redis+sentinel": "redis+sentinel://:password@host1:26379,host2:26379/mymaster/0",
    "rediss+sentinel": "rediss+sentinel://:password@host1:26379,host2:26379/mymaster/0",
}
_PORT, _SENTINEL_PORT = 6379, 26379
_TLS = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
_SENTINEL = {"sentinel_username", "sentinel_password"}
_VERIFY = {"required": True, "none": False}
_CHECK_HOST = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_ESCAPE = "@ : / ? # % in a password are written as %40 %3A %2F %3F %23 %25"


class UnusableRedisUrl(ValueError):
    """The URL cannot be used; the message says why, gives an example, and quotes no value."""

    def __init__(self, why: str, scheme: str = "redis") -> None:
        """Add the example of the scheme to the reason."""
        super().__init__(f"{why}; for example {_EXAMPLES[scheme]}")


@dataclass(frozen=True, slots=True)
class Tls:
    """How the server's certificate is checked, and the client's own, if it wants one."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    check_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """Read the files; raises `OSError` for one that cannot be read or holds something else."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if not (self.verify and self.check_hostname):
            context.check_hostname = False
        if not self.verify:
            context.verify_mode = ssl.CERT_NONE
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context


@dataclass(frozen=True, slots=True)
class Login:
    """A user of Redis; both empty for none."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where Redis is. With a `service`, `hosts` are the sentinels that know its master."""

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    database: int = 0
    login: Login = Login()
    tls: Tls | None = None
    service: str | None = None
    sentinel_login: Login = Login()

    @property
    def shown(self) -> str:
        """The address for a log: without user, password and parameters."""
        hosts = ",".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in self.hosts)
        places = (self.path or hosts, self.service, str(self.database))
        return f"{self.scheme}://{'/'.join(filter(None, places))}"


def read_redis_url(text: str) -> RedisAddress:
    """Read the URL; raises `UnusableRedisUrl`."""
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        raise UnusableRedisUrl(f"not a URL: {_ESCAPE}") from None
    if parts.scheme not in _EXAMPLES:
        raise UnusableRedisUrl(
            f"it has to begin with one of {', '.join(f'{s}://' for s in _EXAMPLES)}"
        )
    if parts.fragment:
        raise UnusableRedisUrl(f"it has a #: {_ESCAPE}", parts.scheme)
    parameters = _parameters(parts)
    places = [unquote(place) for place in parts.path.split("/")[1:] if place]
    service, database = _service_and_database(parts.scheme, places)
    return RedisAddress(
        parts.scheme,
        () if parts.scheme == "unix" else _hosts(parts),
        _socket_path(parts) if parts.scheme == "unix" else None,
        _database(parts.scheme, parameters.get("db", database)),
        _login(parts),
        _tls(parts.scheme, parameters) if parts.scheme.startswith("rediss") else None,
        service,
        Login(parameters.get("sentinel_username"), parameters.get("sentinel_password")),
    )


def _parameters(parts: SplitResult) -> Mapping[str, str]:
    known = {"db"}
    known |= _TLS if parts.scheme.startswith("rediss") else set()
    known |= _SENTINEL if parts.scheme.endswith("sentinel") else set()
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parameters.keys() <= known:
        return parameters
    if parameters.keys() & _TLS:
        raise UnusableRedisUrl("the ssl_ parameters need TLS, which is rediss://", "rediss")
    # Not the name of the parameter: it may be a piece of a password with a ? in it.
    raise UnusableRedisUrl(
        f"a parameter behind the ? is not known; known are {', '.join(sorted(known))}. {_ESCAPE}",
        parts.scheme,
    )


def _hosts(parts: SplitResult) -> tuple[tuple[str, int], ...]:
    """Read one host, or with Sentinel several."""
    sentinel = parts.scheme.endswith("sentinel")
    names = parts.netloc.rpartition("@")[2]
    hosts = []
    for name in names.split(",") if sentinel else [names]:
        try:
            host = urlsplit(f"//{name}")
            address = (host.hostname, host.port or (_SENTINEL_PORT if sentinel else _PORT))
        except ValueError:
            raise UnusableRedisUrl(f"a port is no number: {_ESCAPE}", parts.scheme) from None
        if not address[0]:
            raise UnusableRedisUrl("it names no host", parts.scheme)
        hosts.append((address[0], address[1]))
    return tuple(hosts)


def _service_and_database(scheme: str, places: list[str]) -> tuple[str | None, str]:
    if scheme == "unix":
        return None, ""
    if not scheme.endswith("sentinel"):
        if len(places) > 1:
            raise UnusableRedisUrl("its path is the number of a database", scheme)
        return None, "".join(places)
    if not 1 <= len(places) <= 2:
        raise UnusableRedisUrl("its path is the name of the master and a number", scheme)
    return places[0], "".join(places[1:])


def _socket_path(parts: SplitResult) -> str:
    if not parts.path.strip("/"):
        raise UnusableRedisUrl("it names no socket", "unix")
    return unquote(parts.path)


def _database(scheme: str, text: str) -> int:
    if text and not (text.isascii() and text.isdigit()):
        raise UnusableRedisUrl("the database is a number from 0 on", scheme)
    return int(text or 0)


def _login(parts: SplitResult) -> Login:
    user, _, _ = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    return Login(unquote(name) or None, unquote(password) or None)


def _tls(scheme: str, parameters: Mapping[str, str]) -> Tls:
    verify = parameters.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    check = parameters.get("ssl_check_hostname", "true").lower()
    if verify not in _VERIFY:
        raise UnusableRedisUrl("ssl_cert_reqs is required or none", scheme)
    if check not in _CHECK_HOST:
        raise UnusableRedisUrl("ssl_check_hostname is true or false", scheme)
    tls = Tls(
        parameters.get("ssl_ca_certs"),
        parameters.get("ssl_certfile"),
        parameters.get("ssl_keyfile"),
        _VERIFY[verify],
        _CHECK_HOST[check],
    )
    if tls.ca_file or tls.cert_file:
        _check_files(scheme, tls)
    return tls


def _check_files(scheme: str, tls: Tls) -> None:
    try:
        tls.context()
    except ssl.SSLError:
        why = "a file of ssl_ca_certs, ssl_certfile or ssl_keyfile is not PEM, or key and certificate differ"
    except OSError as error:
        why = (
            f"a file of ssl_ca_certs, ssl_certfile or ssl_keyfile cannot be read ({error.strerror})"
        )
    else:
        return
    raise UnusableRedisUrl(why, scheme)
