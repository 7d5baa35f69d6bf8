"""Addresses: which ones are on the public internet, in whatever notation they come. Pure.

Everything is refused that is not known to be public: the special-purpose registries of IANA, what
lies in no registry, and IPv4 addresses that hide in IPv6 ones.
"""

from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# https://www.iana.org/assignments/iana-ipv4-special-registry, multicast, and 240.0.0.0/4.
_NOT_PUBLIC_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            # Azure's own service for what runs in it, on an address that looks public.
            "168.63.129.16/32",
        ),
    )
)
# Only here are addresses of single hosts on the internet; of them not these:
# https://www.iana.org/assignments/iana-ipv6-special-registry.
_PUBLIC_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # Teredo, ORCHID, benchmarks
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address is in it, and nobody runs it any more
            "2620:4f:8000::/48",
            "3fff::/20",
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


def is_public(address: Address) -> bool:
    """Whether the address is one of a host on the internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    if inside := _v4_inside(address):
        return is_public(inside)
    if (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return False
    in_range = address in _PUBLIC_V6 and address.scope_id is None
    return in_range and not any(address in network for network in _NOT_PUBLIC_V6)


def may_connect(host: str, allowed: Sequence[Network] = ()) -> bool:
    """Whether a connection to an address, as `getaddrinfo` gives it, may be made."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    plain = _v4_inside(address) if isinstance(address, IPv6Address) else None
    return is_public(address) or any((plain or address) in network for network in allowed)


def read_networks(value: str) -> tuple[Network, ...]:
    """Read networks, comma-separated; raises `ValueError`."""
    return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())


def _v4_inside(address: IPv6Address) -> IPv4Address | None:
    """Give the IPv4 address that the network makes of a mapped or translated one."""
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None
