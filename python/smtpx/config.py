"""The configuration file of ``smtpx serve``: TOML read into frozen dataclasses. No socket is touched here."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - its fields are read at run time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from smtpx.domain_config import DomainConfig, check_deliveries, check_folders, check_keys, check_names
from smtpx.errors import ConfigurationError
from smtpx.limits import Limits
from smtpx.listener import PORTS, Listener
from smtpx.places import NO_FOLDER, check_place
from smtpx.relay_config import RelayConfig, check_passwords, check_relay
from smtpx.schedule import Schedule
from smtpx.tls import server_context
from smtpx.toml import Document, Where

__all__ = ["DEFAULT_PATH", "Config", "LogConfig", "QueueConfig", "TLSConfig", "load"]

DEFAULT_PATH = Path("/etc/smtpx/smtpx.toml")


@dataclass(frozen=True, slots=True)
class TLSConfig:
    """``[tls]``: PEM files; the certificate's holds its chain too."""

    certificate: Path = field(metadata={"example": '"/etc/smtpx/certificate.pem"'})
    key: Path = field(metadata={"example": '"/etc/smtpx/key.pem"'})


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """``[queue]``: the times are those of `Schedule`, in seconds."""

    gaps: tuple[float, ...] = Schedule().gaps
    jitter: float = Schedule().jitter
    lifetime: float = Schedule().lifetime
    warn_after: float = Schedule().warn_after
    concurrency: int = 100
    """Attempts under way at once to other hosts, and as many to mailboxes here."""
    keep_days: int = 30
    """How long the ledger tells what became of a message."""

    def __post_init__(self) -> None:
        self.schedule()  # checks its fields
        if self.concurrency < 1:
            raise ConfigurationError("concurrency must be 1 or more")
        if self.keep_days < 1:
            raise ConfigurationError("keep_days must be 1 or more")

    def schedule(self) -> Schedule:
        """Return when a message is tried again, and for how long."""
        return Schedule(
            gaps=self.gaps, jitter=self.jitter, lifetime=self.lifetime, warn_after=self.warn_after
        )


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
    deliver: str = "maildir:/var/mail/{domain}/{local}"
    """Where mail goes of domains that do not say; see `LocalTransport`."""
    domains: Mapping[str, DomainConfig] = field(default_factory=dict)
    relay: RelayConfig = field(default_factory=RelayConfig)
    limits: Limits = field(default_factory=Limits)
    queue: QueueConfig = field(default_factory=QueueConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def database(self) -> Path:
        """The file of the queue."""
        return self.spool / "queue.db"


def load(path: Path, *, files: bool = True) -> Config:
    """Read and check a configuration file; with ``files`` also the files that it names.

    Paths in it are relative to its own folder.

    Raises:
        ConfigurationError: a line for each fault: the file, the line, and what to write instead.

    """
    document = Document(path)
    config = document.build(Config)
    if config is not None:
        check_names(document, config.hostname, config.domains)
        check_deliveries(document, config.hostname, config.deliver, config.domains)
        _check_listeners(document, config)
        check_relay(document, config.relay, (config.hostname, *config.domains))
        if files:
            _check_files(document, config)
    document.finish()
    assert config is not None  # noqa: S101 - else there was a fault
    return config


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


def _check_files(document: Document, config: Config) -> None:
    check_place(document, ("spool",), config.spool, NO_FOLDER, folder=True)
    check_folders(document, config.deliver, config.domains)
    mend = "make it with smtpx account add, or correct it"
    check_place(document, ("accounts",), config.accounts, mend)
    check_passwords(document, config.relay)
    check_keys(document, config.domains)
    if config.tls is None:
        return
    pair = {"certificate": config.tls.certificate, "key": config.tls.key}
    mend = "put it there, or correct it"
    found = [check_place(document, ("tls", name), path, mend) for name, path in pair.items()]
    if all(found):
        try:
            server_context(config.tls.certificate, config.tls.key)
        except ConfigurationError as error:
            document.fault(("tls",), str(error))
