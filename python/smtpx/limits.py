"""Every limit of the server, in one typed object."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from smtpx.errors import ConfigurationError

__all__ = ["Limits"]

_MOST = 2**32 - 1  # the engine counts in 32 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a session may use. Sizes are octets, times seconds; each must be more than 0.

    A time may be ``math.inf``; all else but ``disk_reserve`` has 32 bits.

    Raises:
        ConfigurationError: a limit is 0 or less, not a number, or too large.

    """

    message_size: int = 32 << 20
    """Content of a message (SIZE, RFC 1870)."""
    recipients: int = 1000
    """Recipients of a message; each further one is answered 452 4.5.3 (RFC 5321 4.5.3.1.10)."""
    command_line: int = 2048
    """A command line with its CRLF."""
    auth_line: int = 12_288
    """An AUTH line, or an answer to its challenge (RFC 4954 4)."""
    errors: int = 20
    """Refused commands of a connection before it is closed."""
    idle_commands: int = 100
    """NOOP, RSET, VRFY and the like in a row, without a message, before a connection is closed."""
    refused_recipients: int = 1000
    """Refused recipients of a connection before it is closed."""
    auth_failures: int = 3
    """Failed logins of a connection before it is closed."""
    connections: int = 1000
    """Connections in all."""
    connections_per_address: int = 100
    """Connections from one address; unix sockets are not counted."""
    password_checks: int = 2
    """bcrypt checks at the same time, each on a thread of its own."""
    write_buffer: int = 256 << 10
    """Replies that wait for a client to read them; beyond it the client is not read from."""
    disk_reserve: int = 100 << 20
    """Free space to leave on the device of the spool; below it MAIL is answered 452 4.3.1."""
    command_timeout: float = 300.0
    """From a reply to the end of the next command (RFC 5321 4.5.3.2.7)."""
    data_timeout: float = 180.0
    """Between two reads of a message's content."""
    hook_timeout: float = 60.0
    """A handler's ``check_``, ``serve_verify``, ``serve_expand`` or ``serve_auth``."""
    message_timeout: float = 300.0
    """A handler's ``serve_mail_tx``."""
    handshake_timeout: float = 30.0
    """A TLS handshake; also how long a client may take over the last octets before it is cut off."""
    transaction_timeout: float = 1200.0
    """From MAIL to the final dot."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value <= 0 or math.isnan(value):
                raise ConfigurationError(f"Limits.{field.name} must be more than 0")
            if value > _MOST and isinstance(value, int) and field.name != "disk_reserve":
                raise ConfigurationError(f"Limits.{field.name} must be at most {_MOST}")

    @property
    def shortest_timeout(self) -> float:
        """The shortest time after which a session can be over time."""
        return min(self.command_timeout, self.data_timeout, self.transaction_timeout)
