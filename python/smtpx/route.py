"""Where mail goes that does not go by the MX records of its domain: routes by domain, and the smart host."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from smtpx.errors import ConfigurationError
from smtpx.folding import fold_domain
from smtpx.target import Target, TLSMode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Routes", "parse_route", "read_password"]


def parse_route(url: str, username: str | None = None, password: str | None = None) -> Target:
    """Read the URL of a host that takes mail for others; its MX records are not looked up.

    It is ``smtp://host`` (port 25, TLS as the relay is told), ``smtps://host`` (465) or
    ``smtp+starttls://host`` (587). User name and password may be in it, percent-encoded, or beside it.

    Raises:
        ConfigurationError: it is none of these; or one of user name and password is missing, is there twice,
            or would go without TLS.

    """
    target = Target.parse(url)
    if target.lmtp:
        raise ConfigurationError("the URL is one of LMTP: write smtp://, smtps:// or smtp+starttls://")
    for name, given in (("username", username), ("password", password)):
        if given is not None and getattr(target, name) is not None:
            raise ConfigurationError(f"the URL has a {name} already: leave one of them out")
    username, password = username or target.username, password or target.password
    if (username is None) != (password is None):
        raise ConfigurationError("to log in takes a username and a password")
    if username is not None and target.tls is TLSMode.NONE:
        raise ConfigurationError(
            "smtp:// may go without TLS, and show the password: write smtp+starttls:// or smtps://"
        )
    return replace(target, username=username, password=password)


def read_password(path: Path) -> str:
    """Return the first line of a file that only its owner, and his group, can read.

    Raises:
        ConfigurationError: it cannot be read, others can read it too, it is empty, or no login can carry it.

    """
    try:
        with path.open(encoding="utf-8") as file:
            if sys.platform != "win32" and os.fstat(file.fileno()).st_mode & 0o007:
                raise ConfigurationError(f"{path}: others can read the password: chmod 600 {path}")
            password = file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{path}: the password cannot be read: {told}") from error
    if not password:
        raise ConfigurationError(f"{path}: the first line is empty: write the password there")
    if "\0" in password:
        raise ConfigurationError(f"{path}: the first line has a NUL: write the password there as UTF-8 text")
    return password


@dataclass(frozen=True, slots=True)
class Routes:
    """The route of each domain.

    Attributes:
        by_domain: routes by domain, or, with a dot before it, by all that is below a domain: ".example.org".
        smart_host: the route of all other domains; None: they go by their MX records.

    """

    by_domain: Mapping[str, Target] = field(default_factory=dict)
    smart_host: Target | None = None
    _folded: Mapping[str, Target] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        folded = {fold_domain(domain): route for domain, route in self.by_domain.items()}
        object.__setattr__(self, "_folded", folded)

    def of(self, domain: str) -> Target | None:
        """Return the route of a domain, folded; what is named most exactly holds."""
        if route := self._folded.get(domain):
            return route
        below = domain
        while below:
            _, dot, below = below.partition(".")
            if route := self._folded.get(dot + below):
                return route
        return self.smart_host
