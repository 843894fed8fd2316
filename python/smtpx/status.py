"""The numbers of the protocol: reply codes and command kinds."""

from __future__ import annotations

from enum import IntEnum, IntFlag

__all__ = ["CommandKind", "Status"]


class Status(IntEnum):
    """Reply codes (RFC 5321 4.2.3 unless another RFC is named)."""

    SYSTEM = 211
    HELP = 214
    READY = 220
    CLOSING = 221
    AUTHENTICATED = 235  # RFC 4954
    OK = 250
    ADDRESS_CHANGE = 251
    VERIFY_FAILED = 252
    AUTH_READY = 334  # RFC 4954
    DATA_READY = 354
    SHUTTING_DOWN = 421
    MAILBOX_UNAVAILABLE = 450
    LOCAL_ERROR = 451
    NO_STORAGE = 452
    TEMPORARY_AUTH_FAILURE = 454  # RFC 4954
    PARAMETER_UNPROCESSABLE = 455
    CMD_UNKNOWN = 500
    CMD_TOO_LONG = 500
    CMD_SYNTAX_ERROR = 501
    CMD_NOT_IMPLEMENTED = 502
    CMD_BAD_SEQUENCE = 503
    PARAM_UNIMPLEMENTED = 504
    NOT_AUTHENTICATED = 530
    INVALID_CREDENTIAL = 535
    ENCRYPTION_REQUIRED = 538  # RFC 4954
    MAILBOX_NOT_FOUND = 550
    ADDRESS_CHANGE_ABORTED = 551
    MAIL_NO_STORAGE = 552
    MAILBOX_INCORRECT = 553
    TRANSACTION_FAILED = 554
    MAIL_RCPT_PARAM_UNKNOWN = 555
    NO_MAIL_ACCEPTED = 556  # RFC 7504


class CommandKind(IntFlag):
    """The verb of a command; a union of them says which ones a driver wants to decide.

    The numbers up to QUIT are those of the Go package ``smtp``; the rest is what ESMTP adds.
    """

    ZERO = 0
    HELO = 2
    EHLO = 4
    AUTH = 8
    MAIL = 16
    RCPT = 32
    DATA = 64
    RSET = 128
    VRFY = 256
    EXPN = 512
    HELP = 1024
    NOOP = 2048
    QUIT = 4096
    STARTTLS = 8192
    BDAT = 16384
