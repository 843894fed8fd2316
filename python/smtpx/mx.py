"""Which hosts take the mail of a domain (RFC 5321 5.1, RFC 7505), and in which order they are tried."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Protocol, TypeAlias

from smtpx._core import Response
from smtpx.errors import ConfigurationError, LookupFailed, NoSuchDomain
from smtpx.outcome import Outcome
from smtpx.result import RecipientResult

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from random import Random

__all__ = ["Host", "Ourselves", "Resolver", "find_hosts", "hosts_of", "in_order", "in_version_order"]

_MOST_RECORDS = 20  # a domain may have thousands, and each costs two lookups
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.IGNORECASE)


class Resolver(Protocol):
    """What a relay asks the DNS."""

    async def mx(self, domain: str) -> list[tuple[int, str]]:
        """Return the MX records of a domain in A-labels: preferences and hosts; the null MX has the host ".".

        Returns:
            the records; none where the domain is there, and has none.

        Raises:
            NoSuchDomain: there is no such domain.
            LookupFailed: that cannot be told now.

        """
        ...

    async def addresses(self, host: str) -> list[str]:
        """Return the IPv6 and IPv4 addresses of a host; none where it has none, or does not exist.

        Raises:
            LookupFailed: there may be some, and they cannot be told now.

        """
        ...


@dataclass(frozen=True, slots=True)
class Host:
    """A host that takes mail, and its addresses in the order in which they are tried."""

    name: str
    addresses: Sequence[str]


@dataclass(frozen=True, slots=True)
class Ourselves:
    """How to know an MX record that leads back here.

    Attributes:
        names: what we are called, in lower case.
        addresses: those at which we take mail.
        loopback: whether addresses that lead nowhere but to ourselves are tried all the same; for tests.

    Raises:
        ConfigurationError: an address is none.

    """

    names: Collection[str] = ()
    addresses: Collection[str] = ()
    loopback: bool = False
    _parsed: frozenset[IPv4Address | IPv6Address] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            parsed = frozenset(map(_parsed, self.addresses))
        except ValueError as error:
            raise ConfigurationError(
                f"an address of ours: {error}: write 192.0.2.1 or 2001:db8::1"
            ) from error
        object.__setattr__(self, "_parsed", parsed)

    def are(self, host: Host) -> bool:
        """Tell whether the host is this one."""
        return host.name.lower() in self.names or any(
            _parsed(address) in self._parsed for address in host.addresses
        )

    def reach(self, address: str) -> bool:
        """Tell whether the address can be another host's (HOSTILE 77)."""
        known = _parsed(address)
        here = known.is_loopback or known.is_unspecified or known.is_link_local
        return self.loopback or not (here or known.is_multicast or known == _BROADCAST)


_BROADCAST = IPv4Address("255.255.255.255")


def _parsed(address: str) -> IPv4Address | IPv6Address:
    known = ip_address(address.partition("%")[0])
    # ::ffff:127.0.0.1 is connected to as 127.0.0.1 is.
    return known.ipv4_mapped or known if isinstance(known, IPv6Address) else known


Found: TypeAlias = "Sequence[Host] | RecipientResult"


async def find_hosts(domain: str, resolver: Resolver, ourselves: Ourselves, random: Random) -> Found:
    """Return the hosts that take the mail of a domain, best first, or what becomes of its mail without any.

    An address literal, ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]``, is a host itself (RFC 5321 4.1.3).
    """
    if domain.startswith("["):
        return _literal(domain, ourselves)
    if not _HOST.fullmatch(domain):
        return _never(550, "5.1.2", "the address has no domain that could be looked up")
    try:
        records = await resolver.mx(domain)
        if records and all(host in ("", ".") for _, host in records):
            return _never(556, "5.1.10", f"{domain} takes no mail (null MX)")
        if not records:
            host = Host(domain, in_version_order(await resolver.addresses(domain)))
            if not host.addresses:
                raise NoSuchDomain(domain)
            return hosts_of(domain, [(0, host)], ourselves)
    except NoSuchDomain:
        return _never(550, "5.1.2", f"{domain} has neither a mail server nor an address")
    except LookupFailed:
        return _later(domain)
    lookups = [_looked_up(*each, resolver) for each in in_order(records, random)[:_MOST_RECORDS]]
    return hosts_of(domain, await asyncio.gather(*lookups), ourselves)


def in_order(records: Sequence[tuple[int, str]], random: Random) -> list[tuple[int, str]]:
    """Return the records by preference, lowest first, those of one in random order (RFC 5321 5.1).

    What is no name of a host is left out; nobody could verify, log or report it.
    """
    sound = sorted({(preference, host) for preference, host in records if _HOST.fullmatch(host)})
    random.shuffle(sound)
    return sorted(sound, key=lambda record: record[0])


def hosts_of(domain: str, ranked: Sequence[tuple[int, Host | None]], ourselves: Ourselves) -> Found:
    """Return the hosts that may be tried, of those in their order, each with its preference.

    Where we are one of them, what is not preferred to us is left out: it would send the mail back to us
    (RFC 5321 5.1). None is a host whose addresses could not be told.
    """
    ours = min((preference for preference, host in ranked if host and ourselves.are(host)), default=None)
    hosts: list[Host] = []
    unknown = looped = False
    for preference, host in ranked:
        if ours is not None and preference >= ours:
            looped = True
        elif host is None:
            unknown = True
        elif addresses := tuple(filter(ourselves.reach, host.addresses)):
            hosts.append(Host(host.name, addresses))
        else:
            looped = looped or bool(host.addresses)
    if hosts:
        return hosts
    if unknown:
        return _later(domain)
    if looped:
        return _never(550, "5.4.6", f"the mail servers of {domain} lead back to this one")
    return _never(550, "5.4.4", f"no mail server of {domain} has an address")


async def _looked_up(preference: int, name: str, resolver: Resolver) -> tuple[int, Host | None]:
    try:
        return preference, Host(name, in_version_order(await resolver.addresses(name)))
    except LookupFailed:
        return preference, None


def in_version_order(addresses: Sequence[str]) -> Sequence[str]:
    """Return the addresses with those of IPv6 first."""
    return sorted(addresses, key=lambda address: ":" not in address)


def _literal(domain: str, ourselves: Ourselves) -> Found:
    address = re.sub(r"\A\[(?:ipv6:)?|\]\Z", "", domain, flags=re.IGNORECASE)
    try:
        literal = str(ip_address(address))
    except ValueError:
        return _never(550, "5.1.2", "the address literal is none of IPv4 or IPv6")
    return hosts_of(domain, [(0, Host(literal, [literal]))], ourselves)


def _never(code: int, enhanced: str, text: str) -> RecipientResult:
    return RecipientResult(Outcome.PERMANENT, Response(code, f"{enhanced} {text}"))


def _later(domain: str) -> RecipientResult:
    text = f"4.4.3 the DNS does not tell the mail servers of {domain} now"
    return RecipientResult(Outcome.TEMPORARY, Response(451, text))
