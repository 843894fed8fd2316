"""`Relay`: takes messages to the hosts that take them for their domains, or to a smart host.

An attempt goes from host to host until one talks to us; what that one says of a recipient holds, and is no
reason to ask another (RFC 5321 5.1). Where a connection ends before anybody can have the message, it goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import replace
from ipaddress import ip_address
from random import SystemRandom
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from smtpx._core import ClientEngine, Response
from smtpx.closing import Closing
from smtpx.errors import (
    ClientError,
    CommandRefused,
    ConfigurationError,
    ConnectionLost,
    InvalidCredential,
    LoginBroken,
    LookupFailed,
    NotOffered,
    ReplyTimeout,
    TLSFailed,
)
from smtpx.folding import on_the_wire
from smtpx.handover import hand_over, plain
from smtpx.kept import Kept
from smtpx.link import Link
from smtpx.mail import MailTx
from smtpx.mx import Host, Ourselves, Resolver, find_hosts, in_version_order
from smtpx.options import Options, Timeouts
from smtpx.outcome import Outcome
from smtpx.result import RecipientResult
from smtpx.route import Routes, parse_route
from smtpx.target import Target, TLSMode
from smtpx.tls import client_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection, Mapping, Sequence
    from random import Random

    from smtpx.delivery import Delivery

__all__ = ["Relay"]

_log = logging.getLogger("smtpx.relay")

_MOST_HOSTS: Final = 5  # that an attempt tries; a domain may name hundreds that do not answer
_MOST_ADDRESSES: Final = 10
_POLICIES: Final = {"opportunistic": TLSMode.NONE, "verify": TLSMode.STARTTLS}
_LOCALHOST: Final = ("127.0.0.1", "::1")  # most of what listens there alone has the first
_TIMEOUTS: Final = Timeouts(total=3600.0)


class _Place(NamedTuple):
    """Where to connect; connections to equal places are interchangeable."""

    target: Target
    address: str


class Relay(Closing):
    """A `Transport` to other hosts.

    ::

        async with smtpx.Relay("mail.example.org", routes={".example.net": "smtp://192.0.2.1"}) as relay:
            results = await relay.deliver(mail, deliveries)

    Args:
        hostname: our name: in EHLO, and to know an MX record that leads back to us.
        resolver: answers what the DNS is asked; None: the name servers of the system.
        routes: by domain (``"example.net"``), or for all below one (``".example.net"``), the URL of the host
            that takes its mail, see `parse_route`.
        smart_host: the URL of the host that takes the mail of all other domains; None: they go by their MX.
        tls: what is done where no URL says smtps or smtp+starttls. "opportunistic": STARTTLS where it is
            offered, with any certificate, and in clear text where the handshake fails; it protects against
            those who only listen (RFC 7435). "verify": STARTTLS with a certificate for the host's name, or no
            mail.
        concurrency: how many messages for one destination may be under way at once.
        addresses: at which we take mail, where MX records may name them otherwise than by our name.
        context: for TLS that is verified; None: the system's certificates are trusted.
        timeouts: how long it waits for a host.
        patience: seconds in which an attempt must find a host that talks to it.
        kept: what keeps connections between messages.
        port: that of hosts found by MX; 25 but for tests.
        loopback: whether MX records may name loopback addresses; for tests.
        random: shuffles hosts of equal preference.

    Raises:
        ConfigurationError: arguments that cannot work.

    """

    def __init__(
        self,
        hostname: str,
        *,
        resolver: Resolver | None = None,
        routes: Mapping[str, str | Target] | None = None,
        smart_host: str | Target | None = None,
        tls: Literal["opportunistic", "verify"] = "opportunistic",
        concurrency: int = 20,
        addresses: Collection[str] = (),
        context: ssl.SSLContext | None = None,
        timeouts: Timeouts = _TIMEOUTS,
        patience: float = 600.0,
        kept: Kept | None = None,
        port: int = 25,
        loopback: bool = False,
        random: Random | None = None,
    ) -> None:
        if concurrency < 1 or patience <= 0:
            raise ConfigurationError("concurrency is 1 or more, patience more than 0 seconds")
        if tls not in _POLICIES:
            raise ConfigurationError(f"tls is {tls!r}: write {' or '.join(_POLICIES)}")
        if resolver is None:
            from smtpx.resolver import DNSResolver  # whoever relays nothing is spared the import of dnspython

            resolver = DNSResolver()
        self._hostname = on_the_wire(hostname)
        ClientEngine(self._hostname)  # refuses what no EHLO could have, before there is mail
        self._resolver = resolver
        self._routes = Routes(
            {domain: _target(route) for domain, route in (routes or {}).items()},
            None if smart_host is None else _target(smart_host),
        )
        self._tls = _POLICIES[tls]
        self._concurrency = concurrency
        self._ourselves = Ourselves([self._hostname.lower()], addresses, loopback)
        self._context = context
        self._any_certificate = client_context(verify=False)
        self._timeouts = timeouts
        self._patience = patience
        self._kept = Kept() if kept is None else kept
        self._port = port
        self._random = SystemRandom() if random is None else random

    async def close(self) -> None:
        """Say goodbye on the connections that are kept, and keep none from now on."""
        await self._kept.close()

    # -- Transport

    def concurrency(self, destination: str) -> int:  # noqa: ARG002
        """See `Transport.concurrency`."""
        return self._concurrency

    async def deliver(self, mail: MailTx, deliveries: Sequence[Delivery]) -> dict[str, RecipientResult]:
        """See `Transport.deliver`."""
        wire = {each.recipient: on_the_wire(each.recipient) for each in deliveries}
        params = {wire[each.recipient]: mail.rcpt_params[each.index] for each in deliveries}
        part = MailTx(
            on_the_wire(mail.mail_from),
            list(params),
            mail.data,
            params=mail.params,
            rcpt_params=list(params.values()),
            id=mail.id,
        )
        results = await self._attempt(part, deliveries[0].destination)
        return {recipient: results[address] for recipient, address in wire.items()}

    async def _attempt(self, mail: MailTx, domain: str) -> dict[str, RecipientResult]:
        found = await self._places(domain)
        if isinstance(found, RecipientResult):
            return dict.fromkeys(mail.recipients, found)
        results: dict[str, RecipientResult] = {}
        failures: list[RecipientResult] = []
        places = deque(found)
        deadline = asyncio.get_running_loop().time() + self._patience
        while places and mail.recipients:
            place = places.popleft()
            link = self._kept.take(place)
            if link is not None:
                places.appendleft(place)  # a kept connection may be gone before we know: then make one
            else:
                try:
                    async with asyncio.timeout_at(deadline):
                        link = await self._open(place)
                except (ClientError, ConfigurationError) as error:
                    failures.append(_failure(place, error))
                    if _of_login(error):
                        _log.error("the login at %s failed: %s", place.target, error)
                        break  # another address has the same accounts, and counts failures
                    _log.info("no session with %s [%s]: %s", place.target.host, place.address, error)
                    continue
                except TimeoutError:
                    text = f"4.4.1 no mail server of {domain} was ready in {self._patience:g} s"
                    failures.append(RecipientResult(Outcome.TEMPORARY, Response(451, text)))
                    break
            said, alive = await self._say(link, place, mail)
            results |= said
            if alive:
                break
            mail = _remaining(mail, results)
        for recipient in mail.recipients:
            if recipient not in results:
                results[recipient] = _verdict(failures)
        return results

    async def _say(self, link: Link, place: _Place, mail: MailTx) -> tuple[dict[str, RecipientResult], bool]:
        """Hand the message over; return what became of it, and whether the connection is still there."""
        link.messages += 1
        try:
            return await link.run(hand_over(link.dialogue, mail, place.target.host)), link.usable
        finally:
            self._kept.put(place, link)

    # -- where to, and how

    async def _places(self, domain: str) -> list[_Place] | RecipientResult:
        route = self._routes.of(domain)
        if route is None:
            found = await find_hosts(domain, self._resolver, self._ourselves, self._random)
            route = Target(port=self._port)
        else:
            found = await self._hosts_of(route)
        if isinstance(found, RecipientResult):
            return found
        if route.tls is TLSMode.NONE:
            route = replace(route, tls=self._tls)
        places = [
            _Place(replace(route, host=host.name.lower()), address)
            for host in found[:_MOST_HOSTS]
            for address in host.addresses
        ]
        return list(dict.fromkeys(places))[:_MOST_ADDRESSES]

    async def _hosts_of(self, route: Target) -> list[Host] | RecipientResult:
        """Look up a route; one that leads nowhere is the operator's fault, for which no mail is given up."""
        try:
            return [Host(route.host, [str(ip_address(route.host))])]
        except ValueError:
            pass
        if route.host.lower() == "localhost":  # no name for the DNS (RFC 6761 6.3), which need not know it
            return [Host(route.host, _LOCALHOST)]
        try:
            addresses = await self._resolver.addresses(route.host)
        except LookupFailed:
            text = f"4.4.3 the DNS does not tell the addresses of {route.host} now"
            return RecipientResult(Outcome.TEMPORARY, Response(451, text))
        if not addresses:
            _log.error("the route to %s leads nowhere: the DNS has no address of it", route)
            text = f"4.4.4 the DNS has no address of {route.host}"
            return RecipientResult(Outcome.TEMPORARY, Response(451, text))
        return [Host(route.host, in_version_order(addresses))]

    async def _open(self, place: _Place) -> Link:
        target, address = place
        if target.tls is not TLSMode.NONE:
            self._context = self._context or client_context(verify=True)
            return await Link.open(self._options(target, self._context), address)
        options = self._options(target, self._any_certificate)
        link = await Link.open(options, address)
        if not link.dialogue.engine.offers("STARTTLS"):
            return link
        try:
            return await _secured(link)
        except (TLSFailed, ConnectionLost) as error:
            if isinstance(error, TLSFailed) and isinstance(error.__cause__, ConnectionLost):
                raise  # somebody put octets behind the 220: that is an attack, not an old server
            _log.info("no TLS with %s [%s], so in clear text: %s", target.host, address, error)
        return await Link.open(options, address)

    def _options(self, target: Target, context: ssl.SSLContext) -> Options:
        return Options(target, self._hostname, tls=context, timeout=self._timeouts)


async def _secured(link: Link) -> Link:
    try:
        link.welcome = await link.run(link.dialogue.starttls())
    except BaseException:
        link.abort()
        raise
    return link


def _target(route: str | Target) -> Target:
    return parse_route(route) if isinstance(route, str) else route


def _remaining(mail: MailTx, results: Mapping[str, RecipientResult]) -> MailTx:
    """Return the message for those who are left for the next host."""
    left = [
        (recipient, params)
        for recipient, params in zip(mail.recipients, mail.rcpt_params, strict=True)
        if _unanswered(results[recipient])
    ]
    return MailTx(
        mail.mail_from,
        [recipient for recipient, _ in left],
        mail.data,
        params=mail.params,
        rcpt_params=[params for _, params in left],
        id=mail.id,
    )


def _unanswered(result: RecipientResult) -> bool:
    """Tell whether no host has it, and none has said so of the recipient: 421 is said of the host."""
    assert result.response is not None  # noqa: S101 - each of `hand_over` has one
    own = not result.remote or result.response.code == 421
    return own and result.outcome is Outcome.TEMPORARY


def _of_login(error: Exception) -> bool:
    # ConfigurationError: no mechanism that both sides know can carry the user name or the password.
    refused = isinstance(error, CommandRefused) and error.command.startswith("AUTH")
    return refused or isinstance(error, (InvalidCredential, LoginBroken, NotOffered, ConfigurationError))


def _failure(place: _Place, error: Exception) -> RecipientResult:
    """Return what to say of a host that did not get as far as the message."""
    host = place.target.host
    if _of_login(error):
        told = Response(451, f"4.7.8 our login at {host} failed")
    elif isinstance(error, CommandRefused):
        response = plain(error.response)
        if response.code == 521:  # it takes no mail at all (RFC 7504 3)
            return RecipientResult(Outcome.PERMANENT, response, host)
        if response.code < 500:
            return RecipientResult(Outcome.TEMPORARY, response, host)
        # Said of the session, not of the message: a later one may be welcome.
        told = Response(451, f"4.3.2 {host} wants no session: {response.code} {response.message}")
    elif isinstance(error, TLSFailed):
        told = Response(451, f"4.7.5 there is no TLS with {host} that can be trusted")
    elif isinstance(error, ReplyTimeout):
        told = Response(451, f"4.4.2 {host} [{place.address}] did not answer in time")
    else:
        told = Response(451, f"4.4.1 there is no connection to {host} [{place.address}]")
    return RecipientResult(Outcome.TEMPORARY, told)


def _verdict(failures: Sequence[RecipientResult]) -> RecipientResult:
    """Return the last of the failures, and one for good only if all are (HOSTILE 81)."""
    passing = [failure for failure in failures if failure.outcome is Outcome.TEMPORARY]
    return (passing or failures)[-1]
