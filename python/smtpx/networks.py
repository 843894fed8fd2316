"""Which clients' addresses are of networks that the configuration names."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from smtpx.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpx.session import Peer

__all__ = ["Networks"]


class Networks:
    """Ranges of addresses: ``session.peer in networks``.

    An IPv4 address that comes mapped into IPv6 (RFC 4291 2.5.5.2), as on a socket for both, is the IPv4
    address. A client on a unix socket is in none.

    Args:
        networks: as "10.0.0.0/8", "2001:db8::/32" or "192.0.2.1", or made by `ipaddress`.

    Raises:
        ConfigurationError: one is no network, or is everybody's.

    """

    def __init__(self, networks: Iterable[str | IPv4Network | IPv6Network]) -> None:
        self._v4: list[IPv4Network] = []
        self._v6: list[IPv6Network] = []
        for network in map(_checked, networks):
            if isinstance(network, IPv4Network):
                self._v4.append(network)
            else:
                self._v6.append(network)

    def __contains__(self, peer: Peer) -> bool:
        if isinstance(peer, str) or not (self._v4 or self._v6):
            return False
        try:
            address = ip_address(peer[0].partition("%")[0])  # a zone is the name of an interface of ours
        except ValueError:
            return False
        address = _unmapped(address)
        if isinstance(address, IPv4Address):
            return any(address in network for network in self._v4)
        return any(address in network for network in self._v6)

    def __repr__(self) -> str:
        return f"Networks({[str(network) for network in [*self._v4, *self._v6]]})"


def _checked(given: str | IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(given)
    except ValueError as error:
        raise ConfigurationError(
            f'\'{given}\' is not a network: {error}; write one like "192.0.2.0/24" or "2001:db8::/32"'
        ) from None
    if (
        isinstance(network, IPv6Network)
        and network.prefixlen >= _MAPPED
        and network.network_address.ipv4_mapped
    ):
        network = ip_network(f"{network.network_address.ipv4_mapped}/{network.prefixlen - _MAPPED}")
    if network.prefixlen == 0:  # an open relay is found within hours, and on every block list the day after
        raise ConfigurationError(f"'{given}' is the whole internet: name the networks of your own machines")
    return network


_MAPPED = 96  # ::ffff:0:0/96


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
