"""What a configuration describes, made: domains, accounts, keys, and the ways that mail goes."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from smtpx.accounts import AccountFile, LiveEnvironment
from smtpx.domain_config import build_domains
from smtpx.local_delivery import LocalTransport
from smtpx.relay import Relay
from smtpx.routing import RoutingTransport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smtpx.config import Config
    from smtpx.delivery import Delivery
    from smtpx.environment import DKIMOptions, Environment
    from smtpx.mail import MailTx
    from smtpx.relay_config import RelayConfig
    from smtpx.result import RecipientResult

__all__ = ["Ways", "build_environment", "live_environment", "read_keys"]


def read_keys(config: Config) -> dict[str, DKIMOptions]:
    """Read what signs the mail of the domains that have such.

    Raises:
        ConfigurationError: a key cannot be read, or is not fit.

    """
    return {name: domain.dkim.read(name) for name, domain in config.domains.items() if domain.dkim}


def build_environment(config: Config, keys: Mapping[str, DKIMOptions]) -> Environment:
    """Make the environment of a configuration and of the account file that it names.

    Raises:
        ConfigurationError: the account file has a fault, or an account's domain is not configured.

    """
    environment = build_domains(config.hostname, config.domains)
    for name, options in keys.items():
        domain = environment.domain_of(f"postmaster@{name}")
        assert domain is not None  # noqa: S101 - it was made of the same configuration
        domain.dkim = options
    AccountFile(config.accounts).fill(environment)
    return environment


def live_environment(config: Config) -> LiveEnvironment:
    """Make an environment that follows the account file.

    Raises:
        ConfigurationError: as of `read_keys` and `build_environment`.

    """
    # The keys are read once: that one is unreadable later does not hold up a change of the accounts.
    return LiveEnvironment(config.accounts, partial(build_environment, config, read_keys(config)))


class Ways:
    """A `Transport`, `Parted`, of all that a configuration says about where mail goes.

    Raises:
        ConfigurationError: a way cannot work, or a password cannot be read.

    """

    def __init__(self, config: Config, environment: Environment) -> None:
        domains = {name: domain.deliver for name, domain in config.domains.items() if domain.deliver}
        self._local = LocalTransport(environment, config.deliver, domains)
        self._relay = _relay(config.hostname, config.relay)
        self._both = RoutingTransport(
            self._local, self._relay, lambda recipient: environment.domain_of(recipient) is not None
        )
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def concurrency(self, destination: str) -> int:
        """See `Transport.concurrency`."""
        return self._both.concurrency(destination)

    def is_remote(self, destination: str) -> bool:
        """See `Parted.is_remote`."""
        return self._both.is_remote(destination)

    async def deliver(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        """See `Transport.deliver`."""
        self._under_way += 1
        self._idle.clear()
        try:
            return await self._both.deliver(mail, deliveries)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def close(self) -> None:
        """Let what is under way finish, and close."""
        await self._idle.wait()
        await self._local.close()
        await self._relay.close()


def _relay(hostname: str, config: RelayConfig) -> Relay:
    return Relay(
        hostname,
        routes={domain: route.target() for domain, route in config.routes.items()},
        smart_host=None if config.smart_host is None else config.smart_host.target(),
        tls=config.tls,
        concurrency=config.concurrency,
        addresses=config.addresses,
    )
