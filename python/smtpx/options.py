"""What a client is told once: where to, as whom, how long to wait."""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

from smtpx._core import ClientEngine
from smtpx.errors import ConfigurationError
from smtpx.target import Target
from smtpx.tls import client_context

if TYPE_CHECKING:
    import ssl
    from typing import Unpack

    from smtpx.sasl import Mechanism

__all__ = ["Options", "Settings", "Timeouts", "Token", "Trace"]

Token: TypeAlias = "str | Callable[[], str | Awaitable[str]]"  # noqa: S105 - a type
Trace: TypeAlias = Callable[[str, str], object]

_log = logging.getLogger("smtpx.client")
_YEAR = 366 * 86_400.0  # more than any wait; less than what a system's clocks can count


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a client waits, in seconds; the defaults are those of RFC 5321 4.5.3.2.

    Raises:
        ConfigurationError: a time is 0 or less.

    """

    connect: float = 30.0
    """For the connection, and again for a TLS handshake."""
    banner: float = 300.0
    """For the server's first words."""
    command: float = 300.0
    """For the reply to a command, MAIL and RCPT too."""
    data_init: float = 120.0
    """For the reply to DATA."""
    data_block: float = 180.0
    """For the server to take a piece of the content."""
    data_end: float = 600.0
    """For the reply to the end of the content: to give up sooner is to send twice (RFC 1047)."""
    total: float | None = None
    """For a whole verb, a message with its content too, and for all of connecting, as far as the login; None:
    as long as the others let it. `SyncClient` cannot end a token function or the read of a pipe; it looks
    after them."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 0 < value <= _YEAR:
                raise ConfigurationError(f"Timeouts.{field.name} must be more than 0, and at most a year")

    @classmethod
    def of(cls, timeout: Timeouts | float | None) -> Timeouts:
        """Take a number for the most that any wait may last; None for the defaults."""
        if isinstance(timeout, Timeouts):
            return timeout
        waits = cls()
        if timeout is None:
            return waits
        names = (field.name for field in fields(cls) if field.name != "total")
        return replace(waits, **{name: min(timeout, getattr(waits, name)) for name in names})

    @property
    def shortest(self) -> float:
        """The shortest time after which a server can be over time, and an hour at most."""
        return min(
            self.banner,
            self.command,
            self.data_init,
            self.data_block,
            self.data_end,
            self.total or self.command,
            3600.0,
        )

    def patience(self, elapsed: float) -> float:
        """Return the time for a connection, or a handshake, so many seconds after the verb has begun."""
        return min(self.connect, self.left(elapsed))

    def left(self, elapsed: float) -> float:
        """Return what is left of the total then: never nothing, so that what waits for it runs out of it."""
        return math.inf if self.total is None else max(self.total - elapsed, 1e-3)


class Settings(TypedDict, total=False):
    """The keyword arguments of `Client`, `SyncClient` and `Pool`; each may be left out."""

    insecure: bool
    """Take any certificate."""
    username: str | None
    """Log in as this user, with the password or the token."""
    password: str | None
    token: Token | None
    """An OAuth token, or a function that gives or awaits one for each login."""
    cleartext_auth: bool
    """Show a password, or a token, without TLS too."""
    mechanisms: Iterable[Mechanism] | None
    """Choose among these alone; CRAM-MD5 is not used unless it is named here."""
    tls: ssl.SSLContext | None
    """The context for TLS; by default the system's certificates are trusted."""
    timeout: Timeouts | float | None
    """`Timeouts`, or the most seconds that any wait may last; by default RFC 5321's."""
    source_address: tuple[str, int] | None
    """The (host, port) to connect from; port 0 is any."""
    newlines: Literal["fix", "strict"]
    """What becomes of a bare CR or LF in content: a CRLF, or a `ValueError`."""
    trace: Trace | None
    """Called with ">" or "<" and each line sent or read, without secrets and content; what it raises ends the
    verb, and the connection."""


class Options:
    """The arguments of a client, checked; shared by all connections of a pool.

    Raises:
        ConfigurationError: one of them cannot work; the message says the mend.

    """

    def __init__(self, url: str | Target, local_name: str | None, **settings: Unpack[Settings]) -> None:
        unknown = settings.keys() - Settings.__annotations__.keys()
        if unknown:
            raise TypeError(f"no such argument: {', '.join(sorted(unknown))}")
        self.target = url if isinstance(url, Target) else Target.parse(url)
        self.local_name = local_name
        self.username = settings.get("username") or self.target.username
        self.password = settings.get("password")
        if self.password is None and not settings.get("username"):
            self.password = self.target.password
        self.token = settings.get("token")
        if self.password is not None and self.token is not None:
            raise ConfigurationError("password and token: give one of them")
        if (self.password is None and self.token is None) != (not self.username):
            raise ConfigurationError("to log in takes a username, and a password or a token")
        self.cleartext_auth = settings.get("cleartext_auth", False)
        mechanisms = settings.get("mechanisms")
        self.mechanisms = None if mechanisms is None else tuple(mechanisms)
        self.timeouts = Timeouts.of(settings.get("timeout"))
        self.source_address = settings.get("source_address")
        self.newlines = settings.get("newlines", "fix")
        self.trace = settings.get("trace")
        if self.trace is None and _log.isEnabledFor(logging.DEBUG):
            self.trace = _to_log
        self._context = settings.get("tls")
        self._verify = not settings.get("insecure", False)
        # Whatever the engine of a connection would refuse.
        ClientEngine("localhost" if local_name is None else local_name, newlines=self.newlines)
        if self.target.path and not hasattr(socket, "AF_UNIX"):
            raise ConfigurationError("lmtp+unix: this system has no unix sockets: write lmtp://host:port")
        if self._context is not None and not self._verify:
            raise ConfigurationError("insecure=True and tls= contradict each other: leave one out")

    @property
    def context(self) -> ssl.SSLContext:
        """The context for TLS; the default one, which reads many files, is made when it is asked for."""
        if self._context is None:
            self._context = client_context(verify=self._verify)
        return self._context


def _to_log(direction: str, line: str) -> None:
    _log.debug("%s %s", direction, line)
