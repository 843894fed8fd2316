"""What every storage promises."""

# ruff: noqa: A002 - "id" is the attribute's name

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from smtpx.delivery import State

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime, timedelta

    from smtpx.delivery import Delivery
    from smtpx.mail import MailTx

__all__ = ["Audit", "Direct", "QueueStats", "QueueStorage", "Reserving", "Storage", "Taker"]


class Storage(Protocol):
    """Keeps messages over a crash of the process, of the system and of the power.

    When `mail_save`, `mail_delete` or `mail_bounce` returns, its effect is on stable storage: no crash undoes
    it. When `mail_save` raises a `StorageError`, the message is not served from then on; after one of the
    other two, both states are possible. A failed fsync is never tried again: the system may have dropped the
    very pages that it could not write. A call that is cancelled is done whole or not at all. None blocks the
    event loop.

    Whatever a storage finds damaged it sets aside and logs, and serves the rest.
    """

    async def mail_save(self, mail: MailTx) -> None:
        """Keep the message, in place of one of the same id; a message without an id is given one.

        Raises:
            TypeError: a field of the message is not of its type; nothing of it is kept.
            StorageFull: no room for it; nothing of it is kept.
            StorageError: any other failure.

        """
        ...

    async def mail_load(self, id: str) -> MailTx:
        """Return the message.

        Raises:
            MailNotFound: there is none of that id, or it has been bounced.
            StorageError: it cannot be read, or is damaged (and has been set aside).

        """
        ...

    async def mail_load_all(self) -> list[MailTx]:
        """Return every message that is neither deleted nor bounced, oldest id first, all of it in memory.

        Raises:
            StorageError: the storage itself cannot be read.

        """
        ...

    async def mail_delete(self, id: str) -> None:
        """Forget the message.

        Raises:
            MailNotFound: there is none of that id.
            StorageError: any other failure.

        """
        ...

    async def mail_bounce(self, id: str) -> None:
        """Put the message away among the bounced ones, where no other method of this protocol sees it.

        Raises:
            MailNotFound: there is none of that id.
            StorageError: any other failure.

        """
        ...


@runtime_checkable
class Reserving(Protocol):
    """A storage that knows beforehand whether there is room: MAIL is then refused, not the content."""

    def has_room(self, octets: int = 0) -> bool:
        """Tell whether a message of so many octets leaves the reserve untouched; does not block."""
        ...


@dataclass(frozen=True, slots=True)
class QueueStats:
    """A queue at a glance.

    Attributes:
        recipients: how many there are in each state.
        messages: how many messages have a recipient that is queued or held.
        octets: their contents together.
        due: how many recipients could be tried now.
        oldest: when the oldest of those messages was received; None without one.
        destinations: the destinations with the most queued recipients, and how many.

    """

    recipients: Mapping[State, int]
    messages: int
    octets: int
    due: int
    oldest: datetime | None
    destinations: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Audit:
    """The ledger of a queue: each recipient of each message that was saved is in exactly one state.

    Attributes:
        messages: how many messages were looked at: all that wait, and the others while they are kept.
        recipients: how many recipients there are in each state.
        faults: one line for each thing that is not as it must be, which names the message.

    """

    messages: int
    recipients: Mapping[State, int]
    faults: Sequence[str]


class Taker(Protocol):
    """Takes new messages as they are saved, without having to claim and load them."""

    def wants(self, destinations: Collection[str]) -> datetime | None:
        """Return until when a message that is due now and about to be saved is to be claimed; None: not."""
        ...

    def take(self, mail: MailTx, claimed: Sequence[Delivery]) -> None:
        """Take a message that is saved, and claimed for every recipient."""
        ...


@runtime_checkable
class Direct(Protocol):
    """A queue's storage that can claim a message for a queue of the same process in the commit that saves it.

    Nothing else is different for it: a crash frees the claim as every other.
    """

    def hand_over(self, taker: Taker) -> Callable[[], None]:
        """Offer new messages to the taker, on this event loop; returns what ends that."""
        ...


@runtime_checkable
class QueueStorage(Storage, Protocol):
    """A storage that a queue can run on: it keeps a `Delivery` for each recipient of each message.

    `mail_save` queues the message for every recipient, due at ``mail.postpone`` or at once, with
    ``mail.retry`` failed attempts; the content is kept once. A message without a recipient is refused with a
    StorageError; one that is saved again begins anew, and nothing is written of what was claimed of it
    before. `mail_load` gives the message with all its recipients, whatever has become of them, as long as one
    is queued or held; ``postpone`` and ``retry`` are those of the recipient that is due first. Once every
    recipient is final the content goes, unless one is BOUNCED: then it is kept among the bounced. The records
    stay for as long as the ledger is kept, and are then removed with what is left of the message.
    `mail_delete` makes what is queued or held REMOVED, `mail_bounce` BOUNCED.

    Several processes may use one storage at the same time. Each has its leases: what it has claimed nobody
    else is given, until it is settled, the lease ends, or the process does.
    """

    async def claim(
        self, now: datetime, lease: timedelta, limit: int, busy: Collection[str] = ()
    ) -> list[Delivery]:
        """Take up to ``limit`` queued recipients that are due, none of them of a ``busy`` destination.

        What is due first comes first, among destinations as within one; a message's recipients of one
        destination stay together as far as the limit allows. Costs the same however many wait.
        """
        ...

    async def renew(self, claimed: Sequence[Delivery], until: datetime) -> None:
        """Let the leases end later; those that are already lost stay lost."""
        ...

    async def settle(self, settled: Sequence[Delivery]) -> list[Delivery]:
        """Write what became of claimed recipients, all in one commit, and return those that were not written.

        A crash of the process does not undo it. One of the system, as a power cut, may undo the last tenth of
        a second: what was delivered then is tried again, as after a crash a moment before it was settled.

        Not written is one whose lease was lost and claimed anew, or that an operator made final meanwhile. An
        operator's hold of a recipient that was under way is kept, unless the attempt made it final. The
        storage sets ``changed``.
        """
        ...

    async def next_due(self, busy: Collection[str] = ()) -> datetime | None:
        """Return when the next queued recipient of a destination that is not ``busy`` comes due."""
        ...

    async def bring_forward(self, latest: datetime) -> int:
        """Set every attempt that is due later than ``latest`` to it, and return how many there were.

        The ends of leases too: one that a clock gone wrong has given would bind for as long as it was wrong.
        """
        ...

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` on this event loop whenever something may have come due; returns what ends that.

        That is a save, a release, a retry, or a lease that came free, of this process or of another.
        """
        ...

    async def deliveries(
        self,
        *,
        mail_id: str | None = None,
        states: Collection[State] | None = None,
        destination: str | None = None,
        limit: int = 1000,
    ) -> list[Delivery]:
        """Return records for an operator to see, oldest message first."""
        ...

    async def change(
        self,
        state: State,
        ids: Collection[str] | None,
        recipient: str | None = None,
        *,
        of: Collection[State] = (State.QUEUED, State.HELD),
    ) -> int:
        """Do as an operator says with what of these messages (None: of all) is in one of the states ``of``.

        A ``recipient`` is named in any case: what a person types is not what some client wrote.
        QUEUED is due at once, whatever it was waiting for, but an attempt that is under way is left to
        itself; HELD waits for the operator; REMOVED is final.

        Returns:
            how many recipients that changed.

        Raises:
            ValueError: DELIVERED and BOUNCED are nothing that an operator can say.

        """
        ...

    async def stats(self, now: datetime) -> QueueStats:
        """Return the queue at a glance."""
        ...

    async def audit(self) -> Audit:
        """Go through the whole ledger."""
        ...
