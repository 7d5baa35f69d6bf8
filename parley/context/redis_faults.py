"""Redis faults: what a driver says of a Redis that is away, full or not ours to use, in our words."""

import ssl
from enum import StrEnum

from redis import exceptions as redis
from redis.asyncio.sentinel import MasterNotFoundError


class Trouble(StrEnum):
    """What is wrong with Redis. The values are labels of metrics."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    LOADING = "loading"
    CREDENTIALS = "credentials"
    TLS = "tls"
    NO_MASTER = "no_master"
    FULL = "full"
    READ_ONLY = "read_only"
    NOT_ALLOWED = "not_allowed"
    TOO_OLD = "too_old"
    CLUSTER = "cluster"
    REFUSED = "refused"
    # Not a fault of the server: another type under the key; more commands here than may wait.
    WRONG_TYPE = "wrong_type"
    BUSY = "busy"

    @property
    def is_away(self) -> bool:
        """Whether no command can succeed until something changes at the server."""
        return self in _AWAY

    @property
    def words(self) -> str:
        """What to tell an operator."""
        return _WORDS[self]


_AWAY = {
    Trouble.UNREACHABLE,
    Trouble.TIMEOUT,
    Trouble.LOADING,
    Trouble.CREDENTIALS,
    Trouble.TLS,
    Trouble.NO_MASTER,
}
_WORDS = {
    Trouble.UNREACHABLE: "Redis cannot be reached.",
    Trouble.TIMEOUT: "Redis does not answer in time.",
    Trouble.LOADING: "Redis is loading its data.",
    Trouble.CREDENTIALS: "Redis refuses the user or the password: set them in REDIS_URL.",
    Trouble.TLS: "TLS with Redis fails: name its authority by ssl_ca_certs in REDIS_URL.",
    Trouble.NO_MASTER: "No sentinel of REDIS_URL names a master that is up.",
    Trouble.FULL: "Redis is full: raise its maxmemory, or set its maxmemory-policy to allkeys-lru.",
    Trouble.READ_ONLY: "Redis is a read-only replica: name the master, or its sentinels, in REDIS_URL.",
    Trouble.NOT_ALLOWED: "The user of REDIS_URL may not do all it has to on the keys chat:session:* and parley:*.",
    Trouble.TOO_OLD: "Redis does not know GETEX: it has to be 6.2 or later.",
    Trouble.CLUSTER: "REDIS_URL names a Redis Cluster: a single Redis or Sentinel is needed.",
    Trouble.REFUSED: "Redis refuses commands: its own log says why.",
    Trouble.WRONG_TYPE: "The key holds another type.",
    Trouble.BUSY: "Too many commands wait for Redis.",
}
# The first that fits says it.
_KINDS: tuple[tuple[type[Exception], Trouble], ...] = (
    (redis.AuthenticationError, Trouble.CREDENTIALS),
    (redis.AuthorizationError, Trouble.CREDENTIALS),
    (redis.AuthenticationWrongNumberOfArgsError, Trouble.CREDENTIALS),
    (redis.BusyLoadingError, Trouble.LOADING),
    (MasterNotFoundError, Trouble.NO_MASTER),
    (redis.TimeoutError, Trouble.TIMEOUT),
    (TimeoutError, Trouble.TIMEOUT),
    (redis.ConnectionError, Trouble.UNREACHABLE),
    (OSError, Trouble.UNREACHABLE),
    (redis.OutOfMemoryError, Trouble.FULL),
    (redis.ReadOnlyError, Trouble.READ_ONLY),
    (redis.NoPermissionError, Trouble.NOT_ALLOWED),
    (redis.AskError, Trouble.CLUSTER),
    (redis.ClusterDownError, Trouble.CLUSTER),
)
_SAID = {
    "WRONGTYPE": Trouble.WRONG_TYPE,
    "unknown command": Trouble.TOO_OLD,
    "ERR unknown command": Trouble.TOO_OLD,
}


def trouble_of(error: Exception) -> Trouble:
    """Say which trouble an error of the driver is; its own words may quote keys and texts."""
    if _is_tls(error):
        return Trouble.TLS
    for kind, trouble in _KINDS:
        if isinstance(error, kind):
            return trouble
    return next((t for said, t in _SAID.items() if str(error).startswith(said)), Trouble.REFUSED)


def _is_tls(error: BaseException) -> bool:
    """Whether a handshake is what failed: the driver makes it a connection error of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
