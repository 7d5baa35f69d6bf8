"""Operators: who may have the server fetch what fills its disk.

Its administrators, and on a server for oneself whoever sits at the machine. To everybody else a
server is somebody else's, also where its only guest so far is they.
"""

from dataclasses import dataclass

from starlette.requests import HTTPConnection

from parley.auth.addresses import is_loopback
from parley.auth.principal import Principal, Scope

# Where one of these is, somebody else called, and a proxy beside us passed it on.
_PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


@dataclass(frozen=True, slots=True)
class Operators:
    """Whom a server obeys.

    `everyone` is what the setting says, None where it says nothing. `is_for_oneself`: nobody can
    sign in, and no address is known that people use.
    """

    everyone: bool | None = None
    is_for_oneself: bool = False

    def include(self, principal: Principal, connection: HTTPConnection) -> bool:
        """Whether who calls is one of them."""
        if self.everyone is not None:
            return self.everyone
        at_the_machine = self.is_for_oneself and _is_from_here(connection)
        return at_the_machine or Scope.ADMIN in principal.scopes


def _is_from_here(connection: HTTPConnection) -> bool:
    """Whether a browser of this machine calls, by a name of this machine, and no proxy for it."""
    host = connection.url.hostname or ""
    return (
        connection.client is not None
        and is_loopback(connection.client.host)
        and (host == "localhost" or is_loopback(host))
        and not any(header in connection.headers for header in _PASSED_ON)
    )
