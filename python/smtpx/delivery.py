"""What the queue knows of a message for one recipient, and what it asks of whoever takes it further."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from smtpx.folding import fold_domain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from smtpx._core import Response
    from smtpx.mail import MailTx
    from smtpx.result import RecipientResult

__all__ = ["Delivery", "Parted", "State", "Transport", "destination_of", "reply_text"]

_MAX_REPLY = 1024  # characters of a reply that are kept; a host may send 10 MiB (HOSTILE 81)


class State(Enum):
    """Where a message stands for one recipient; it is always in exactly one of these."""

    QUEUED = "queued"
    """It waits for its next attempt, or one is under way."""
    HELD = "held"
    """It is queued, and an operator said that nothing is to be tried."""
    DELIVERED = "delivered"
    """A mailbox or the next host has it."""
    BOUNCED = "bounced"
    """It was given up; whom that concerns has been told."""
    REMOVED = "removed"
    """An operator took it out of the queue."""

    @property
    def final(self) -> bool:
        """Whether nothing more will be tried."""
        return self not in (State.QUEUED, State.HELD)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message for one recipient: the record that the queue's storage keeps.

    What became of an attempt is said by the record with its new values (`dataclasses.replace`), handed to
    `QueueStorage.settle`.

    Attributes:
        mail_id: the message's id.
        index: the recipient's place in ``MailTx.recipients``.
        recipient: its address as there.
        destination: what is tried together, see `destination_of`.
        state: where it stands.
        attempts: how many attempts have failed.
        next_attempt: nothing is tried before this moment; while it is claimed, the end of the lease.
        received: when the message was saved or, where it says so, received.
        changed: when the record was last written.
        warned: whether the sender has been told that it takes long.
        reply: the last answer that it had, see `reply_text`, "" before the first.
        token: counts its claims; a storage writes nothing of a claim that another one has followed.

    """

    mail_id: str
    index: int
    recipient: str
    destination: str
    state: State
    attempts: int
    next_attempt: datetime
    received: datetime
    changed: datetime
    warned: bool = False
    reply: str = ""
    token: int = 0


def destination_of(recipient: str) -> str:
    """Return what recipients are grouped by: the domain, folded; "" for an address without one."""
    _, at, domain = recipient.rpartition("@")
    return fold_domain(domain) if at else ""


def reply_text(response: Response | None) -> str:
    """Return a reply as one line, as it is kept and logged: bounded, and nothing in it steers a terminal."""
    if response is None:
        return ""
    text = f"{response.code} {' / '.join([response.message, *response.body])}"[:_MAX_REPLY]
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


class Transport(Protocol):
    """Takes messages further: into mailboxes, or to another host."""

    def concurrency(self, destination: str) -> int:
        """Return how many messages for the destination may be under way at once."""
        ...

    async def deliver(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        """Try the message for some of its recipients, all of one destination, and say what became of each.

        Other attempts may have the same ``mail`` in their hands: it is not to be changed. Every result has a
        Response: the one that was given, or one of our own that says what went wrong. UNKNOWN is tried again.
        TEMPORARY for all of them, without a ``remote`` and with the enhanced code 4.4.1 or 4.4.3 (no answer
        from the host, or none about where it is, RFC 3463 3.5), says that the destination cannot be reached:
        the queue then leaves it alone for a while. An exception is a failed attempt for all of them, logged.
        """
        ...


@runtime_checkable
class Parted(Protocol):
    """A transport to mailboxes here and to other hosts, which may keep an attempt for minutes.

    The queue counts the two apart: hosts that hang, however many, do not hold up the mail for here.
    """

    def is_remote(self, destination: str) -> bool:
        """Tell whether the destination's mail goes to another host."""
        ...
