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
    └── StorageError (OSError)          a message could not be stored or read
        ├── MailNotFound (LookupError)  no message of that id
        ├── StorageFull                 no space, or less than the reserve: 452 4.3.1
        └── StorageLocked               another process owns the directory

A peer never sees the text of an exception: what it is sent is the reply of ``code`` and ``enhanced``.
"""

from __future__ import annotations

__all__ = [
    "AddressError",
    "CommandError",
    "ConfigurationError",
    "EngineError",
    "InvalidCredential",
    "MailNotFound",
    "ResponseError",
    "SMTPError",
    "StorageError",
    "StorageFull",
    "StorageLocked",
    "SyntaxRefused",
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
