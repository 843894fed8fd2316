"""A message and its envelope."""

# ruff: noqa: A002 - "id" is the attribute's name

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from smtpx.session import Session

__all__ = ["MailTx", "new_id"]


class MailTx:
    """A mail transaction: an envelope (RFC 5321 2.3.1) and its content.

    Attributes:
        mail_from: the reverse-path without its brackets; "" is the null one, never bounced to.
        recipients: the forward-paths without their brackets.
        data: the content (header and body), CRLF line ends, no dot-stuffing, no final dot.
        params: the parameters of MAIL; keys in upper case, values as sent, "" for one without a value.
        rcpt_params: the parameters of each RCPT, parallel to ``recipients``.
        id: the message's id, see `new_id`; "" until it has one.
        received: when the content was received, aware and in UTC, or None.
        postpone: the next attempt is not before this moment, aware and in UTC, or None.
        retry: how many attempts have failed.
        session: the session that brought it, or None.

    """

    __slots__ = (
        "data",
        "id",
        "mail_from",
        "params",
        "postpone",
        "rcpt_params",
        "received",
        "recipients",
        "retry",
        "session",
    )
    __hash__ = None  # type: ignore[assignment]  # mutable, and compared by value

    def __init__(
        self,
        mail_from: str,
        recipients: list[str],
        data: bytes = b"",
        *,
        params: dict[str, str] | None = None,
        rcpt_params: list[dict[str, str]] | None = None,
        id: str = "",
        received: datetime | None = None,
        postpone: datetime | None = None,
        retry: int = 0,
        session: Session | None = None,
    ) -> None:
        # The lists are kept, not copied, and nothing is checked one by one: this runs once a message.
        if isinstance(recipients, str):  # type: ignore[unreachable]
            raise TypeError("recipients is a list of addresses: write [address]")
        self.mail_from = mail_from
        self.recipients = recipients
        self.data = data
        self.params: dict[str, str] = {} if params is None else params
        self.rcpt_params: list[dict[str, str]] = (
            [{} for _ in recipients] if rcpt_params is None else rcpt_params
        )
        self.id = id
        self.received = received
        self.postpone = postpone
        self.retry = retry
        self.session = session

    def reset(self) -> None:
        """Set every attribute to its zero value."""
        self.mail_from = ""
        self.recipients = []
        self.data = b""
        self.params = {}
        self.rcpt_params = []
        self.id = ""
        self.received = None
        self.postpone = None
        self.retry = 0
        self.session = None

    def __eq__(self, other: object) -> bool:
        """Compare everything but the session, which is about the connection, not the message."""
        if not isinstance(other, MailTx):
            return NotImplemented
        return all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__ if name != "session"
        )

    def __repr__(self) -> str:
        # Never the content: reprs end in logs.
        return (
            f"<MailTx {self.id!r} from {self.mail_from!r} to {len(self.recipients)} recipients,"
            f" {len(self.data)} octets>"
        )


_counter = itertools.count()
_process = ""


def _name_process() -> None:
    global _process
    _process = os.urandom(4).hex()


_name_process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_name_process)  # else parent and child give the same ids


def new_id() -> str:
    """Return an id for a message: unique over processes, sorted by time, made of ``[0-9a-f-]`` only."""
    return f"{time.time_ns():016x}-{_process}-{next(_counter):08x}"
