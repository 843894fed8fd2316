"""The configuration file of ``smtpx serve``: TOML read into frozen dataclasses. No socket is touched here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping  # noqa: TC003 - fields are read at run time
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from smtpx._core import parse_mailbox
from smtpx.dkim import signer
from smtpx.environment import DKIMOptions
from smtpx.errors import AddressError, ConfigurationError
from smtpx.folding import fold_address, fold_domain, fold_local
from smtpx.limits import Limits
from smtpx.listener import PORTS, Listener
from smtpx.route import parse_route, read_password
from smtpx.tls import server_context
from smtpx.toml import Document, Where

if TYPE_CHECKING:
    from smtpx.environment import Environment
    from smtpx.target import Target

__all__ = [
    "DEFAULT_PATH",
    "Config",
    "DKIMConfig",
    "DomainConfig",
    "LogConfig",
    "RelayConfig",
    "RouteConfig",
    "TLSConfig",
    "check_members",
    "load",
]

DEFAULT_PATH = Path("/etc/smtpx/smtpx.toml")


@dataclass(frozen=True, slots=True)
class TLSConfig:
    """``[tls]``: PEM files; the certificate's holds its chain too."""

    certificate: Path = field(metadata={"example": '"/etc/smtpx/certificate.pem"'})
    key: Path = field(metadata={"example": '"/etc/smtpx/key.pem"'})


@dataclass(frozen=True, slots=True)
class DKIMConfig:
    """``dkim`` of a domain: what signs its mail, see `DKIMOptions`."""

    selector: str = field(metadata={"example": '"s1"'})
    key: Path = field(metadata={"example": '"/etc/smtpx/dkim/example.org.pem"'})

    def read(self, domain: str) -> DKIMOptions:
        """Return the options with the key itself.

        Raises:
            ConfigurationError: the key cannot be read, or it or the selector is not fit.

        """
        try:
            options = DKIMOptions(self.selector, self.key.read_bytes())
        except OSError as error:
            mend = f"make one with smtpx dkim new {domain}, or let the server read it"
            raise ConfigurationError(f"the DKIM key {self.key}: {error.strerror}: {mend}") from error
        signer(options, domain)
        return options


@dataclass(frozen=True, slots=True)
class DomainConfig:
    """``[domains."example.org"]``: a domain that mail is taken for."""

    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """A local part, and the addresses that it stands for."""
    dkim: DKIMConfig | None = None


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
    """``[relay]``: how mail goes to other hosts."""

    smart_host: RouteConfig | None = None
    """Takes all mail for elsewhere that has no route; without it, that goes by the MX of its domain."""
    routes: Mapping[str, RouteConfig] = field(default_factory=dict)
    """By domain, or with a dot before it by all that is below a domain."""
    tls: Literal["opportunistic", "verify"] = "opportunistic"
    concurrency: int = 20
    """Messages for one domain under way at the same time."""
    addresses: tuple[str, ...] = ()
    """Addresses at which mail comes here, where an MX record may name them otherwise than by ``hostname``."""


@dataclass(frozen=True, slots=True)
class LogConfig:
    """``[log]``."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file."""

    hostname: str = field(metadata={"example": '"mail.example.org"'})
    """What the server calls itself; also a domain that mail is taken for."""
    spool: Path = Path("/var/spool/smtp")
    accounts: Path = Path("/etc/smtpx/accounts.toml")
    tls: TLSConfig | None = None
    listeners: tuple[Listener, ...] = field(default=(), metadata={"key": "listener"})
    """Empty: smtp on 25, and submissions on 465 where there is a certificate."""
    domains: Mapping[str, DomainConfig] = field(default_factory=dict)
    relay: RelayConfig = field(default_factory=RelayConfig)
    limits: Limits = field(default_factory=Limits)
    log: LogConfig = field(default_factory=LogConfig)


def load(path: Path, *, files: bool = True) -> Config:
    """Read and check a configuration file; with ``files`` also the files that it names.

    Paths in it are relative to its own folder.

    Raises:
        ConfigurationError: a line for each fault: the file, the line, and what to write instead.

    """
    document = Document(path)
    config = document.build(Config)
    if config is not None:
        _check_names(document, config)
        _check_loops(document, config)
        _check_listeners(document, config)
        _check_relay(document, config)
        if files:
            _check_files(document, config)
    document.finish()
    assert config is not None  # noqa: S101 - else there was a fault
    return config


def check_members(path: Path, config: Config, environment: Environment) -> None:
    """Look for aliases of the configuration that lead to a mailbox that is not here.

    The server runs with such: accounts come and go while it does, and a member who is gone is no reason to
    refuse the others' mail.

    Raises:
        ConfigurationError: a line for each, as of `load`.

    """
    document = Document(path)
    for name, domain in config.domains.items():
        for local, members in domain.aliases.items():
            for index, member in enumerate(members):
                if environment.domain_of(member) is not None and not environment.knows(member):
                    mend = f"make it with smtpx account add {member}, or correct it"
                    where: Where = ("domains", name, "aliases", local, index)
                    document.fault(where, f"'{local}' leads to {member}, which is no mailbox here: {mend}")
    document.finish()


def _check_names(document: Document, config: Config) -> None:
    _check_domain(document, ("hostname",), config.hostname)
    _check_spellings(document, ("domains",), config.domains, fold_domain)
    for name, domain in config.domains.items():
        _check_domain(document, ("domains", name), name)
        _check_spellings(document, ("domains", name, "aliases"), domain.aliases, fold_local)
        for local, members in domain.aliases.items():
            where: Where = ("domains", name, "aliases", local)
            _check_address(document, where, f"{local}@{name}", "the local part of an address")
            if not members:
                document.fault(where, f"'{local}' stands for nobody: name an address, or remove it")
            for index, member in enumerate(members):
                _check_address(document, (*where, index), member, 'an address, as "joe@example.org"')


def _check_spellings(
    document: Document, where: Where, names: Iterable[str], fold: Callable[[str], str]
) -> None:
    """Refuse what is one thing to the server and two to TOML: of those only the last would be there."""
    seen: set[str] = set()
    for name in names:
        if fold(name) in seen:
            document.fault((*where, name), f"'{name}' is here twice, in another spelling: remove one")
        seen.add(fold(name))


def _check_loops(document: Document, config: Config) -> None:
    aliases = {
        fold_address(f"{local}@{name}"): [fold_address(member) for member in members]
        for name, domain in config.domains.items()
        for local, members in domain.aliases.items()
    }
    for name, domain in config.domains.items():
        for local in domain.aliases:
            if domain.aliases[local] and not _ends(fold_address(f"{local}@{name}"), aliases):
                where: Where = ("domains", name, "aliases", local)
                document.fault(
                    where, f"'{local}' leads only back to itself: name an address that is no alias"
                )


def _ends(address: str, aliases: Mapping[str, list[str]]) -> bool:
    """Tell whether mail to the address gets anywhere (HOSTILE 74)."""
    seen: set[str] = set()
    waiting = [address]
    while waiting:
        current = waiting.pop()
        if current not in aliases:
            return True
        if current not in seen:
            seen.add(current)
            waiting.extend(aliases[current])
    return False


def _check_domain(document: Document, where: Where, name: str) -> None:
    try:
        if "@" not in name and parse_mailbox(f"postmaster@{name}").count("@") == 1:
            return
    except AddressError:
        pass
    document.fault(where, f"'{name}' is not a domain name: write one like \"example.org\"")


def _check_address(document: Document, where: Where, address: str, meant: str) -> None:
    try:
        if "@" in parse_mailbox(address):
            return
        reason = "it has no domain"
    except AddressError as error:
        reason = str(error)
    document.fault(where, f"'{address}' is not {meant}: {reason}")


def _check_listeners(document: Document, config: Config) -> None:
    taken: set[object] = set()
    for index, listener in enumerate(config.listeners):
        where: Where = ("listener", index)
        if listener.service != "smtp" and config.tls is None:
            document.fault(
                (*where, "service"),
                f"'{listener.service}' needs a certificate: write [tls] certificate and key",
            )
        place = listener.path or (
            listener.host,
            PORTS[listener.service] if listener.port is None else listener.port,
        )
        if listener.port != 0 and place in taken:
            document.fault(where, "another [[listener]] has the same place: remove one, or change its port")
        taken.add(place)


def _check_relay(document: Document, config: Config) -> None:
    relay = config.relay
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
    _check_spellings(document, ("relay", "routes"), relay.routes, fold_domain)
    own = set(map(fold_domain, (config.hostname, *config.domains)))
    for name in relay.routes:
        where: Where = ("relay", "routes", name)
        _check_domain(document, where, name.removeprefix("."))
        if fold_domain(name) in own:
            document.fault(
                where, f"'{name}' is taken here, so that no mail of it goes further: remove the route"
            )
    for where, route in _routes(config):
        password = None if route.password_file is None else "read later"
        try:
            parse_route(route.url, route.username, password)
        except ConfigurationError as error:
            document.fault((*where, "url"), f"'url': {error}")


def _routes(config: Config) -> Iterator[tuple[Where, RouteConfig]]:
    if config.relay.smart_host is not None:
        yield ("relay", "smart_host"), config.relay.smart_host
    for name, route in config.relay.routes.items():
        yield ("relay", "routes", name), route


def _check_files(document: Document, config: Config) -> None:
    missing = "there is no"
    if not config.spool.is_dir():
        document.fault(
            ("spool",), f"'spool': {missing} folder {config.spool}: make it (mkdir -m 700), or correct it"
        )
    if not config.accounts.is_file():
        mend = "make it with smtpx account add, or correct it"
        document.fault(("accounts",), f"'accounts': {missing} file {config.accounts}: {mend}")
    for where, route in _routes(config):
        if route.password_file is not None:
            try:
                read_password(route.password_file)
            except ConfigurationError as error:
                document.fault((*where, "password_file"), f"'password_file': {error}")
    for name, domain in config.domains.items():
        if domain.dkim is not None:
            try:
                domain.dkim.read(name)
            except ConfigurationError as error:
                document.fault(("domains", name, "dkim"), str(error))
    if config.tls is None:
        return
    pair = {"certificate": config.tls.certificate, "key": config.tls.key}
    for name, path in pair.items():
        if not path.is_file():
            document.fault(("tls", name), f"'{name}': {missing} file {path}: put it there, or correct it")
    if all(path.is_file() for path in pair.values()):
        try:
            server_context(config.tls.certificate, config.tls.key)
        except ConfigurationError as error:
            document.fault(("tls",), str(error))
