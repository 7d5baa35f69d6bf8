"""Who may have a model fetched: administrators, and whoever sits at a machine of their own."""

from uuid import uuid4

import pytest
from starlette.requests import HTTPConnection

from parley.auth.operators import Operators
from parley.auth.principal import CHATTING, Kind, Principal, Scope
from parley.chat.turns import Owner

GUEST = Principal(Owner(str(uuid4()), "guest"), Kind.GUEST)
ADMIN = Principal(Owner(str(uuid4()), "admin"), Kind.USER, CHATTING | {Scope.ADMIN})
AT_HOME = Operators(is_for_oneself=True)


def call(
    peer: str | None = "127.0.0.1", host: str = "localhost:8000", **more: str
) -> HTTPConnection:
    headers = {"host": host, **{name.replace("_", "-"): value for name, value in more.items()}}
    return HTTPConnection(
        {
            "type": "websocket",
            "scheme": "ws",
            "path": "/ws/socket.io/",
            "query_string": b"",
            "client": (peer, 50_000) if peer else None,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("127.0.0.1", "localhost:8000"),
        ("127.0.0.1", "127.0.0.1:8000"),
        ("127.1.2.3", "localhost"),
        ("::1", "[::1]:8000"),
        ("::ffff:127.0.0.1", "localhost:8000"),
    ],
)
def test_browser_of_the_machine_is_obeyed(peer: str, host: str) -> None:
    assert AT_HOME.include(GUEST, call(peer, host))
    assert not Operators(is_for_oneself=False).include(GUEST, call(peer, host))
    assert not Operators(everyone=False, is_for_oneself=True).include(GUEST, call(peer, host))


@pytest.mark.parametrize(
    "connection",
    [
        call("192.168.1.7"),
        call("172.17.0.1"),
        call(None),
        call(host="demo.example"),
        call(host="localhost.example"),
        call(host="192.168.1.2:8000"),
        call(host=""),
        call(x_forwarded_for="203.0.113.9"),
        call(forwarded="for=203.0.113.9"),
        call(x_real_ip="203.0.113.9"),
        call(x_forwarded_host="demo.example"),
        call(via="1.1 proxy"),
    ],
    ids=lambda connection: str((connection.client, dict(connection.headers))),
)
def test_others_are_obeyed_where_the_setting_says_so(connection: HTTPConnection) -> None:
    assert not AT_HOME.include(GUEST, connection)
    assert Operators(everyone=True).include(GUEST, connection)


def test_administrators_are_obeyed_from_anywhere() -> None:
    far_away = call("203.0.113.9", "chat.example")
    assert Operators().include(ADMIN, far_away)
    assert not Operators(everyone=False).include(ADMIN, far_away)
