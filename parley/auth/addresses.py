"""Addresses: where a caller is, as far as it can be known through the proxies that are trusted."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.requests import HTTPConnection

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


class Addresses:
    """Knows which peers are proxies: only those are believed about whom they speak for."""

    def __init__(self, proxies: Sequence[str] = (), *, behind_proxy: bool = False) -> None:
        """Trust the proxies of these CIDRs; `behind_proxy` says that every peer is one."""
        self._proxies: tuple[Network, ...] = tuple(ip_network(cidr) for cidr in proxies)
        self._behind_proxy = behind_proxy

    def is_proxy(self, connection: HTTPConnection) -> bool:
        """Whether the connection itself comes from one of the proxies of the CIDRs."""
        peer = _parsed(_peer(connection))
        return peer is not None and self._is_proxy(peer)

    def of(self, connection: HTTPConnection) -> str:
        """Give the caller's address: of the peer, or the last that a trusted proxy did not make up.

        Empty where it cannot be known, as on a Unix socket.
        """
        peer = _parsed(_peer(connection))
        if peer is None:
            return ""
        if not (self._behind_proxy or self._is_proxy(peer)):
            return str(peer)
        # From the right: what stands further left was written by whoever called.
        said = ",".join(connection.headers.getlist("x-forwarded-for")).split(",")
        for text in reversed(said):
            hop = _parsed(text.strip())
            if hop is None:
                break
            peer = hop
            if not self._is_proxy(hop):
                break
        return str(peer)

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self._proxies)


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own, as a proxy's beside it or a developer's is."""
    parsed = _parsed(address)
    return parsed is not None and parsed.is_loopback


def household(address: str) -> str:
    """Give what stands for an address where it is counted: who has one of IPv6 has its whole /64."""
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, 64), strict=False))
    return address


def _peer(connection: HTTPConnection) -> str:
    client = connection.scope.get("client")
    return str(client[0]) if client else ""


@lru_cache(4096)  # several times for each request, and mostly the same
def _parsed(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # An IPv4 peer of a socket that speaks both.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
