"""Where a caller is: nobody but a trusted proxy is believed about it."""

import pytest

from parley.auth.addresses import Addresses, is_loopback
from tests.unit.surfaces.asgi import connection

BEHIND = Addresses(["10.0.0.0/8", "fd00::/8"])


def said(*hops: str) -> dict[str, str]:
    return {"x-forwarded-for": ", ".join(hops)}


def test_without_proxies_it_is_the_peers() -> None:
    assert Addresses().of(connection(said("198.51.100.1"), peer="192.0.2.7")) == "192.0.2.7"
    assert Addresses().of(connection()) == ""
    assert Addresses().of(connection(peer="not an address")) == ""


@pytest.mark.parametrize(
    ("hops", "address"),
    [
        (("198.51.100.1",), "198.51.100.1"),
        (("1.1.1.1", "198.51.100.1"), "198.51.100.1"),
        (("1.1.1.1", "198.51.100.1", "10.2.2.2"), "198.51.100.1"),
        (("198.51.100.1", "nonsense"), "10.0.0.1"),
        (("198.51.100.1", "nonsense", "10.2.2.2"), "10.2.2.2"),
        (("::ffff:198.51.100.1",), "198.51.100.1"),
        ((), "10.0.0.1"),
    ],
)
def test_a_proxy_is_believed_from_the_right(hops: tuple[str, ...], address: str) -> None:
    assert BEHIND.of(connection(said(*hops), peer="10.0.0.1")) == address


def test_a_space_has_its_proxy_wherever_it_is() -> None:
    addresses = Addresses(behind_proxy=True)
    asked = connection(said("1.1.1.1", "198.51.100.1"), peer="172.17.0.1")
    assert addresses.of(asked) == "198.51.100.1"


@pytest.mark.parametrize(
    ("peer", "is_one"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("fd00::1", True), ("11.0.0.1", False)],
)
def test_proxies_are_known_by_their_networks(peer: str, is_one: bool) -> None:
    assert BEHIND.is_proxy(connection(peer=peer)) is is_one
    assert not BEHIND.is_proxy(connection())


def test_loopback_is_this_machine() -> None:
    assert is_loopback("127.0.0.53")
    assert is_loopback("::1")
    assert not is_loopback("192.0.2.1")
    assert not is_loopback("")
