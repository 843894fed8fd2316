"""``[relay]`` of the configuration: for whom mail goes to other hosts, and how."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping  # noqa: TC003 - fields are read at run time
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path  # noqa: TC003 - likewise
from typing import TYPE_CHECKING, Literal

from smtpx.domain_config import check_domain, check_spellings
from smtpx.errors import ConfigurationError
from smtpx.folding import fold_domain
from smtpx.networks import Networks
from smtpx.route import parse_route, read_password

if TYPE_CHECKING:
    from smtpx.target import Target
    from smtpx.toml import Document, Where

__all__ = ["RelayConfig", "RouteConfig", "check_passwords", "check_relay"]


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """``[relay.smart_host]`` or ``[relay.routes."example.net"]``: a host that takes mail for others."""

    url: str = field(metadata={"example": '"smtp+starttls://smtp.example.net"'})
    username: str | None = None
    password_file: Path | None = None
    """Its first line is the password; others must not be able to read it."""

    def target(self) -> Target:
        """Return the route with its password, which is read now.

        Raises:
            ConfigurationError: as of `parse_route` and `read_password`.

        """
        password = None if self.password_file is None else read_password(self.password_file)
        return parse_route(self.url, self.username, password)


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """``[relay]``: for whom mail goes to other hosts, and how."""

    networks: tuple[str, ...] = ()
    """Whose clients may send to anybody by the smtp service, without a login."""
    smart_host: RouteConfig | None = None
    """Takes all mail for elsewhere that has no route; without it, that goes by the MX of its domain."""
    routes: Mapping[str, RouteConfig] = field(default_factory=dict)
    """By domain, or with a dot before it by all that is below a domain."""
    tls: Literal["opportunistic", "verify"] = "opportunistic"
    concurrency: int = 20
    """Messages for one domain under way at the same time."""
    addresses: tuple[str, ...] = ()
    """Addresses at which mail comes here, where an MX record may name them otherwise than by ``hostname``."""


def check_relay(document: Document, relay: RelayConfig, own: Collection[str]) -> None:
    """Look for what cannot work; ``own`` are the domains that mail is taken for."""
    for index, network in enumerate(relay.networks):
        try:
            Networks([network])
        except ConfigurationError as error:
            document.fault(("relay", "networks", index), str(error))
    if relay.concurrency < 1:
        document.fault(("relay", "concurrency"), "'concurrency' must be 1 or more: leave it out for 20")
    for index, address in enumerate(relay.addresses):
        try:
            ip_address(address)
        except ValueError:
            document.fault(
                ("relay", "addresses", index),
                f"'{address}' is no address of IPv4 or IPv6: write \"192.0.2.1\"",
            )
    check_spellings(document, ("relay", "routes"), relay.routes, fold_domain)
    here = set(map(fold_domain, own))
    for name in relay.routes:
        where: Where = ("relay", "routes", name)
        check_domain(document, where, name.removeprefix("."))
        if fold_domain(name) in here:
            document.fault(
                where, f"'{name}' is taken here, so that no mail of it goes further: remove the route"
            )
    for where, route in _routes(relay):
        password = None if route.password_file is None else "read later"
        try:
            parse_route(route.url, route.username, password)
        except ConfigurationError as error:
            document.fault((*where, "url"), f"'url': {error}")


def check_passwords(document: Document, relay: RelayConfig) -> None:
    """Look for password files that cannot be used."""
    for where, route in _routes(relay):
        if route.password_file is not None:
            try:
                read_password(route.password_file)
            except ConfigurationError as error:
                document.fault((*where, "password_file"), f"'password_file': {error}")


def _routes(relay: RelayConfig) -> Iterator[tuple[Where, RouteConfig]]:
    if relay.smart_host is not None:
        yield ("relay", "smart_host"), relay.smart_host
    for name, route in relay.routes.items():
        yield ("relay", "routes", name), route
