"""The one exception tree of smtpx.

::

    SMTPError
    ├── SyntaxRefused (ValueError)      something read does not follow the grammar: .code .enhanced .offset
    │   ├── AddressError                a path or a mailbox
    │   ├── CommandError                a command line or one of its parameters
    │   └── ResponseError               a reply of a server
    ├── EngineError (RuntimeError)      the driver of an engine called it out of turn
    ├── InvalidCredential               the user name or the password is wrong: 535 5.7.8
    ├── ConfigurationError (ValueError) a setting that cannot work; the message says the mend
    ├── ClientError                     what a client met: .result where a message was under way
    │   ├── CommandRefused              the server refused a command: .command .response
    │   │   └── LoginRefused            (InvalidCredential) the server refused the user name and the password
    │   ├── LoginBroken                 the server's part of a login is malformed, or proves nothing
    │   ├── MessageRefused              no recipient was accepted: .result says why
    │   ├── ConnectionLost              (ConnectionError) it could not be made, or it broke
    │   ├── ReplyTimeout (TimeoutError) the server did not answer in time
    │   ├── TLSFailed (ConnectionError) no STARTTLS, a handshake that failed, octets ahead of it
    │   ├── MessageTooLarge (ValueError) more octets than the server takes, found before any was sent
    │   └── NotOffered                  the server lacks what is needed: .extension
    ├── NoSuchDomain (LookupError)      the DNS knows no such name: 550 5.1.2
    ├── LookupFailed                    the DNS gave no answer: 451 4.4.3
    └── StorageError (OSError)          a message could not be stored or read
        ├── MailNotFound (LookupError)  no message of that id
        ├── StorageFull                 no space, or less than the reserve: 452 4.3.1
        └── StorageLocked               another process owns the directory

A peer never sees the text of an exception: what it is sent is the reply of ``code`` and ``enhanced``.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smtpx._core import Response
    from smtpx.result import Result

__all__ = [
    "AddressError",
    "ClientError",
    "CommandError",
    "CommandRefused",
    "ConfigurationError",
    "ConnectionLost",
    "EngineError",
    "InvalidCredential",
    "LoginBroken",
    "LoginRefused",
    "LookupFailed",
    "MailNotFound",
    "MessageRefused",
    "MessageTooLarge",
    "NoSuchDomain",
    "NotOffered",
    "ReplyTimeout",
    "ResponseError",
    "SMTPError",
    "StorageError",
    "StorageFull",
    "StorageLocked",
    "SyntaxRefused",
    "TLSFailed",
]


class SMTPError(Exception):
    """The root of every exception that smtpx raises on purpose.

    ``code`` and ``enhanced`` are the reply (RFC 5321 4.2, RFC 3463) that a server gives where the exception
    ends a command.
    """

    code: int = 451
    enhanced: str = "4.3.0"


class SyntaxRefused(SMTPError, ValueError):
    """What was read does not follow its grammar.

    Attributes:
        code: the suggested reply code (RFC 5321 4.2.3).
        enhanced: the suggested enhanced status code (RFC 3463).
        offset: where in the input the fault is, in octets from 0.

    """

    code = 501
    enhanced = "5.5.2"

    def __init__(
        self, message: str, code: int | None = None, enhanced: str | None = None, offset: int = 0
    ) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        if enhanced is not None:
            self.enhanced = enhanced
        self.offset = offset

    def __reduce__(self) -> tuple[type[SyntaxRefused], tuple[object, ...]]:
        return type(self), (*self.args, self.code, self.enhanced, self.offset)


class AddressError(SyntaxRefused):
    """A path or a mailbox is not one (RFC 5321 4.1.2)."""

    enhanced = "5.1.3"


class CommandError(SyntaxRefused):
    """A command line is not one, or a parameter has a bad value (RFC 5321 4.1.1)."""


class ResponseError(SyntaxRefused):
    """A server's reply is not one (RFC 5321 4.2)."""


class EngineError(SMTPError, RuntimeError):
    """The driver of an engine called it out of turn: a fault of the program, not of the peer."""


class InvalidCredential(SMTPError):
    """The user name or the password is wrong (RFC 4954 6)."""

    code = 535
    enhanced = "5.7.8"

    def __init__(self, message: str = "authentication credentials invalid") -> None:
        super().__init__(message)


class ConfigurationError(SMTPError, ValueError):
    """A setting that cannot work; the message names it and says what to write instead."""


class ClientError(SMTPError):
    """What a client met.

    Attributes:
        result: what became of the message for each recipient, where one was under way.

    """

    result: Result | None = None


class CommandRefused(ClientError):
    """The server refused a command.

    Attributes:
        command: the command as sent, secrets left out.
        response: the server's reply.
        code: the reply's code.
        enhanced: the reply's enhanced code, or the class alone ("5.0.0") where it has none.

    """

    def __init__(self, command: str, response: Response) -> None:
        self.args = (command, response)  # not by super(): LoginRefused's next would take them for a message
        self.command = command
        self.response = response
        self.code = response.code
        self.enhanced = response.enhanced or f"{response.code // 100}.0.0"

    def __str__(self) -> str:
        return f"{self.command}: {_one_line(self.response)}"


class LoginRefused(CommandRefused, InvalidCredential):
    """The server refused the user name and the password, or the token (RFC 4954 6)."""


class LoginBroken(ClientError):
    """The server's part of a login is malformed, or does not prove that it knows the password (RFC 5802)."""


class MessageRefused(ClientError):
    """No recipient was accepted; ``result`` says why, recipient by recipient."""

    result: Result

    def __init__(self, result: Result) -> None:
        super().__init__(result)
        self.result = result

    def __str__(self) -> str:
        shown = [
            f"{address}: {each.outcome.value if each.response is None else _one_line(each.response)}"
            for address, each in islice(self.result.items(), _SHOWN)
        ]
        if len(self.result) > _SHOWN:
            shown.append(f"and {len(self.result) - _SHOWN} more")
        return f"no recipient was accepted ({'; '.join(shown)})"


class ConnectionLost(ClientError, ConnectionError):
    """The connection could not be made, or it broke."""


class ReplyTimeout(ClientError, TimeoutError):
    """The server did not answer in time (RFC 5321 4.5.3.2)."""


class TLSFailed(ClientError, ConnectionError):
    """There is no TLS: no STARTTLS, a handshake that failed, or octets ahead of it (RFC 3207)."""


class MessageTooLarge(ClientError, ValueError):
    """The message has more octets than the server takes (RFC 1870 6.1); nothing of it was sent."""

    code = 552
    enhanced = "5.3.4"


class NotOffered(ClientError):
    """The server lacks what is needed.

    Attributes:
        extension: the keyword that its answer to EHLO lacks, in upper case.

    """

    def __init__(self, extension: str, message: str | None = None) -> None:
        super().__init__(extension, message)
        self.extension = extension

    def __str__(self) -> str:
        return _plain(self.args[1] or f"the server does not offer {self.extension}")


class NoSuchDomain(SMTPError, LookupError):
    """The DNS knows no such name (NXDOMAIN), or it is none that the DNS could know."""

    code = 550
    enhanced = "5.1.2"


class LookupFailed(SMTPError):
    """The DNS gave no answer in time, or none that can be used: ask again later."""

    enhanced = "4.4.3"


class StorageError(SMTPError, OSError):
    """A message could not be stored, read or moved."""


class MailNotFound(StorageError, LookupError):
    """The storage has no message of that id."""


class StorageFull(StorageError):
    """No space is left on the device, or less than the reserve."""

    code = 452
    enhanced = "4.3.1"


class StorageLocked(StorageError):
    """Another process owns the storage's directory."""


_SHOWN = 3  # recipients that the text of a MessageRefused names


def _one_line(response: Response) -> str:
    return _plain(f"{response.code} {' / '.join([response.message, *response.body])}")


def _plain(text: str) -> str:
    # A server may send what a terminal obeys, and exceptions end on terminals.
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
