"""Addresses: nothing in the house is reached, in whatever notation it is written."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.tools.addresses import is_public, may_connect, read_networks

INSIDE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.255",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2600::5efe:127.0.0.1",
    "2606:4700::1%eth0",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "2606:4700::1111",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
]
V4_INSIDE = st.sampled_from([a for a in INSIDE if ":" not in a]).map(IPv4Address)


@pytest.mark.parametrize("address", INSIDE)
def test_house_is_not_public(address: str) -> None:
    assert not may_connect(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_internet_is_public(address: str) -> None:
    assert may_connect(address)


@given(st.ip_addresses(v=4).map(IPv4Address))
def test_nothing_is_public_that_python_knows_to_be_private(address: IPv4Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=6).map(IPv6Address))
def test_of_ipv6_only_global_unicast_is_public(address: IPv6Address) -> None:
    if is_public(address) and not address.ipv4_mapped:
        assert address.is_global
        assert int(address) >> 125 == 1 or address in ip_network("64:ff9b::/96")


@given(V4_INSIDE, st.sampled_from(["::ffff:0:0", "64:ff9b::"]))
def test_inside_is_inside_in_every_disguise(inside: IPv4Address, prefix: str) -> None:
    assert not is_public(IPv6Address(int(IPv6Address(prefix)) + int(inside)))


@given(st.ip_addresses(v=4).map(IPv4Address), st.sampled_from(["::ffff:0:0", "64:ff9b::"]))
def test_disguise_changes_nothing(address: IPv4Address, prefix: str) -> None:
    assert is_public(IPv6Address(int(IPv6Address(prefix)) + int(address))) == is_public(address)


@given(st.text(max_size=30))
def test_what_is_no_address_is_not_connected_to(text: str) -> None:
    assert may_connect(text) in {True, False}
    assert not may_connect(f"{text}x")


def test_named_networks_are_reached() -> None:
    allowed = read_networks("10.1.0.0/16, fd00::/8")
    assert may_connect("10.1.2.3", allowed)
    assert may_connect("::ffff:10.1.2.3", allowed)
    assert may_connect("fd00::1", allowed)
    assert not may_connect("10.2.0.1", allowed)
