"""A server session in pure Python on the reference parsers: octets in, the replies out, no I/O.

It answers what a pipelined group of envelope commands needs, with the replies of ``smtpx.ServerEngine``, and
takes no content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpx.errors import CommandError
from smtpx.status import CommandKind

from benches.reference import Command, parse_command

if TYPE_CHECKING:
    from collections.abc import Iterable

_OK = b"250 2.0.0 OK\r\n"
_SENDER_OK = b"250 2.1.0 Sender OK\r\n"
_RECIPIENT_OK = b"250 2.1.5 Recipient OK\r\n"
_BYE = b"221 2.0.0 Bye\r\n"
_BAD_SEQUENCE = b"503 5.5.1 Bad sequence of commands\r\n"
_NOT_IMPLEMENTED = b"502 5.5.1 Command not implemented\r\n"
_TOO_LARGE = b"552 5.3.4 Message size exceeds the limit\r\n"
_TOO_MANY = b"452 4.5.3 Too many recipients\r\n"
_BAD_VALUE = b"501 5.5.4 bad value of a parameter\r\n"
_UNKNOWN_PARAMETER = b"555 5.5.4 parameter not recognized\r\n"

_MAIL, _RCPT, _RSET, _NOOP = CommandKind.MAIL, CommandKind.RCPT, CommandKind.RSET, CommandKind.NOOP
_EHLO, _QUIT = CommandKind.EHLO, CommandKind.QUIT
_BODIES = frozenset(("7BIT", "8BITMIME", "BINARYMIME"))


class Session:
    """One session; the listener's lines of EHLO are framed once and shared."""

    def __init__(self, hostname: str, extensions: Iterable[str], size: int, recipients: int) -> None:
        lines = [hostname, *extensions]
        self._ehlo = (
            "".join(f"250-{line}\r\n" for line in lines[:-1]).encode() + f"250 {lines[-1]}\r\n".encode()
        )
        self._size = size
        self._most = recipients
        self._rest = b""
        self.helo = ""
        self.mail_from: str | None = None
        self.params: dict[str, str] = {}
        self.recipients: list[str] = []
        self.rcpt_params: list[dict[str, str]] = []

    def receive_data(self, data: bytes) -> bytes:
        """Run the whole lines; return the replies to send."""
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        return b"".join([self._run(line) for line in lines])

    def _run(self, line: bytes) -> bytes:
        try:
            command = parse_command(line)
        except CommandError as error:
            return f"{error.code} {error.enhanced} {error}\r\n".encode()
        kind = command.kind
        if kind is _RCPT:
            return self._rcpt(command)
        if kind is _MAIL:
            return self._mail(command)
        if kind is _RSET:
            self._reset()
            return _OK
        if kind is _NOOP:
            return _OK
        if kind is _EHLO:
            self._reset()
            self.helo = command.arg
            return self._ehlo
        return _BYE if kind is _QUIT else _NOT_IMPLEMENTED

    def _mail(self, command: Command) -> bytes:
        if not self.helo or self.mail_from is not None:
            return _BAD_SEQUENCE
        for key, value in command.params.items():
            if key == "SIZE":
                if not (value.isdigit() and value.isascii() and len(value) <= 20):
                    return _BAD_VALUE
                if int(value) > self._size:
                    return _TOO_LARGE
            elif key == "BODY":
                if value.upper() not in _BODIES:
                    return _BAD_VALUE
            elif key != "SMTPUTF8":
                return _UNKNOWN_PARAMETER
        self.mail_from = command.arg
        self.params = command.params
        return _SENDER_OK

    def _rcpt(self, command: Command) -> bytes:
        if self.mail_from is None:
            return _BAD_SEQUENCE
        if command.params:
            return _UNKNOWN_PARAMETER
        if len(self.recipients) >= self._most:
            return _TOO_MANY
        self.recipients.append(command.arg)
        self.rcpt_params.append(command.params)
        return _RECIPIENT_OK

    def _reset(self) -> None:
        self.mail_from = None
        self.params = {}
        self.recipients = []
        self.rcpt_params = []
