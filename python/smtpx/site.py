"""What a configuration describes, made: domains, accounts and keys."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from smtpx.accounts import AccountFile, LiveEnvironment
from smtpx.domain_config import build_domains

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpx.config import Config
    from smtpx.environment import DKIMOptions, Environment

__all__ = ["build_environment", "live_environment", "read_keys"]


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
