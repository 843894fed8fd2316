"""The storage in one SQLite file, docs/queue-format.md: the queue of a single machine."""

# ruff: noqa: A001, A002, A006 - "id" is the attribute's name

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from smtpx.batches import Batches
from smtpx.closing import Closing
from smtpx.delivery import State
from smtpx.errors import StorageError
from smtpx.mail import MailTx, new_id
from smtpx.storage import sqlite_audit, sqlite_claims, sqlite_messages, sqlite_operator
from smtpx.storage.entry import EntryError
from smtpx.storage.room import FreeSpace
from smtpx.storage.sqlite_file import FAILURES, Reader, failure
from smtpx.storage.sqlite_messages import NewMail, micros, moment
from smtpx.storage.sqlite_writer import Writer

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Sequence

    from smtpx.batches import Job
    from smtpx.delivery import Delivery
    from smtpx.storage.base import Audit, QueueStats, Taker
    from smtpx.storage.sqlite_file import Database

__all__ = ["SQLiteStorage"]

_log = logging.getLogger("smtpx.storage")
_T = TypeVar("_T")
_MIB = 1024 * 1024
_IDS = 100  # messages that one transaction changes


def _now() -> datetime:
    return datetime.now(UTC)


class SQLiteStorage(Closing):
    """A `QueueStorage` in a file of a local disk, whose directory exists and belongs to the process's user.

    Several processes may use the file, and several SQLiteStorage of one; the sockets beside it (``-wake-``)
    are theirs. Within a process it may be opened by apsw alone: Python's sqlite3 has a SQLite of its own,
    which does not see our locks. It opens at its first use, or by `open` or ``async with``, which tell at
    start what is wrong with the file. Several event loops may use it.

    Changes are made by one thread in batches: what waits at the same time shares one commit (WAL, synchronous
    = FULL), and what comes alone waits for nothing. After a commit that failed the file is opened and checked
    again before the next. Two more threads read, one of them for operators.

    Pages that become free are used again, and given back to the file system while there is nothing else to
    do. On Windows processes do not wake each other.

    Args:
        path: the file; it is made where there is none.
        reserve: octets of the disk that must stay free; a save that would take of them is a StorageFull.
        keep: for how long the ledger knows what has become of a message, from its end.
        clock: gives the time, aware.

    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        reserve: int = 100 * _MIB,
        keep: timedelta = timedelta(days=30),
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.path = Path(path)
        self._clock = clock
        self._writer = Writer(self.path, reserve, keep, clock, FreeSpace(self.path.parent))
        self._loads = _reading(self.path)
        self._reports = _reading(self.path)
        self._taker: Taker | None = None
        self._taker_loop: asyncio.AbstractEventLoop | None = None

    @property
    def reserve(self) -> int:
        """Octets of the disk that must stay free; may be changed at any time."""
        return self._writer.reserve

    @reserve.setter
    def reserve(self, octets: int) -> None:
        self._writer.reserve = octets

    @property
    def keep(self) -> timedelta:
        """How long the ledger knows of a message that is at its end; may be changed at any time."""
        return self._writer.keep

    @keep.setter
    def keep(self, time: timedelta) -> None:
        self._writer.keep = time

    async def open(self) -> None:
        """Open the file now.

        Raises:
            StorageError: it cannot be used; the message says the mend.

        """
        for batches in (self._writer.batches, self._loads, self._reports):
            batches.closed = False
        await self._writer.opened()

    async def close(self) -> None:
        """Finish what was begun, let go of what is claimed, and close the file; to close twice is nothing."""
        for batches in (self._loads, self._reports, self._writer.batches):
            await batches.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    # Storage

    def has_room(self, octets: int = 0) -> bool:
        """Tell whether a message of so many octets left the reserve untouched, a second ago.

        Raises:
            StorageError: the directory is missing.

        """
        if self._writer.room() - octets >= self._writer.reserve:
            return True
        self._writer.count_soon()
        return False

    async def mail_save(self, mail: MailTx) -> None:
        """See `Storage.mail_save` and `QueueStorage`; a message needs a recipient here."""
        if not mail.id:
            mail.id = new_id()
        new = NewMail(mail, self._clock())
        taker = self._taker_of(new)
        if taker is None:
            await self._writer.save(new)
            return
        copied = _copied(mail)
        try:
            await self._writer.save(new)
        except asyncio.CancelledError:
            self._give_back(new)  # it may have been saved
            raise
        if taker is self._taker:
            taker.take(copied, new.deliveries())
        else:
            self._give_back(new)

    def _taker_of(self, new: NewMail) -> Taker | None:
        """Return who takes the message as soon as it is saved, and then have it claimed."""
        if self._taker is None or new.due > new.saved or self._taker_loop is not asyncio.get_running_loop():
            return None
        until = self._taker.wants(new.destinations)
        if until is None:
            return None
        new.claim(until)
        return self._taker

    def _give_back(self, new: NewMail) -> None:
        """Let others claim what nobody took."""
        now = self._micros()

        def give_back(db: Database) -> None:  # in the thread: before, the claim may not have its token yet
            back = [replace(each, next_attempt=moment(now)) for each in new.deliveries()]
            sqlite_claims.settle(db, back, now)

        self._writer.soon(give_back)

    async def mail_load(self, id: str) -> MailTx:
        """See `Storage.mail_load`."""
        try:
            return await self._read(self._loads, lambda reader: sqlite_messages.load(reader, id))
        except EntryError as error:
            await self._set_aside([id])
            raise StorageError(f"message {id} is damaged and held: {error}") from None

    async def mail_load_all(self) -> list[MailTx]:
        """See `Storage.mail_load_all`."""
        damaged: list[str] = []
        mails = await self._read(
            self._reports, lambda reader: list(sqlite_messages.load_all(reader, damaged))
        )
        await self._set_aside(damaged)
        return mails

    async def mail_delete(self, id: str) -> None:
        """See `Storage.mail_delete` and `QueueStorage`."""
        await self._take_out(id, State.REMOVED)

    async def mail_bounce(self, id: str) -> None:
        """See `Storage.mail_bounce` and `QueueStorage`."""
        await self._take_out(id, State.BOUNCED)

    # What a queue needs

    async def claim(
        self, now: datetime, lease: timedelta, limit: int, busy: Collection[str] = ()
    ) -> list[Delivery]:
        """See `QueueStorage.claim`."""
        moments, others = (micros(now), micros(now + lease)), frozenset(busy)
        return await self._writer.lightly(
            lambda db: sqlite_claims.claim(db, *moments, limit, others, self._writer.owner(db))
        )

    async def renew(self, claimed: Sequence[Delivery], until: datetime) -> None:
        """See `QueueStorage.renew`."""
        end = micros(until)
        await self._writer.lightly(lambda db: sqlite_claims.renew(db, claimed, end, self._writer.owner(db)))

    async def settle(self, settled: Sequence[Delivery]) -> list[Delivery]:
        """See `QueueStorage.settle`."""
        return await self._writer.settle(settled)

    async def next_due(self, busy: Collection[str] = ()) -> datetime | None:
        """See `QueueStorage.next_due`."""
        due = await self._read(self._loads, lambda reader: sqlite_claims.next_due(reader, busy))
        return None if due is None else moment(due)

    async def bring_forward(self, latest: datetime) -> int:
        """See `QueueStorage.bring_forward`; in steps of 1,000 recipients: saves do not wait for all."""
        end = micros(latest)
        return await self._in_steps(lambda db, name, most: sqlite_operator.bring_forward(db, name, end, most))

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See `QueueStorage.watch`."""
        return self._writer.watch(changed)

    def hand_over(self, taker: Taker) -> Callable[[], None]:
        """See `Direct.hand_over`; the last taker of several is the one."""
        self._taker, self._taker_loop = taker, asyncio.get_running_loop()

        def end() -> None:
            if self._taker is taker:
                self._taker = None

        return end

    # What an operator asks

    async def deliveries(
        self,
        *,
        mail_id: str | None = None,
        states: Collection[State] | None = None,
        destination: str | None = None,
        limit: int = 1000,
    ) -> list[Delivery]:
        """See `QueueStorage.deliveries`."""
        return await self._read(
            self._reports,
            lambda reader: sqlite_operator.deliveries(reader, mail_id, states, destination, limit),
        )

    async def change(
        self,
        state: State,
        ids: Collection[str] | None,
        recipient: str | None = None,
        *,
        of: Collection[State] = (State.QUEUED, State.HELD),
    ) -> int:
        """See `QueueStorage.change`; in steps, as `bring_forward`.

        Raises:
            ValueError: DELIVERED and BOUNCED are nothing that an operator can say.

        """
        if state not in (State.QUEUED, State.HELD, State.REMOVED):
            raise ValueError(f"{state} cannot be ordered: QUEUED, HELD or REMOVED can")
        now = self._micros()
        if ids is not None:
            names, count = list(dict.fromkeys(ids)), 0  # one that is named twice is counted once
            for start in range(0, len(names), _IDS):
                some = names[start : start + _IDS]
                count += await self._writer.do(
                    lambda db, some=some: sqlite_operator.change_messages(  # type: ignore[misc]
                        db, some, state, recipient, now, of
                    )
                )
            return count
        count = 0
        if State.QUEUED in of:
            count = await self._in_steps(
                lambda db, name, most: sqlite_operator.change_queued(db, name, state, recipient, now, most)
            )
        if state is State.HELD or State.HELD not in of:
            return count
        while done := await self._writer.do(
            lambda db: sqlite_operator.change_held(db, state, recipient, now)
        ):
            count += done
        return count

    async def stats(self, now: datetime) -> QueueStats:
        """See `QueueStorage.stats`."""
        return await self._read(self._reports, lambda reader: sqlite_operator.stats(reader, micros(now)))

    async def audit(self) -> Audit:
        """See `QueueStorage.audit`; with SQLite's own check of the whole file."""
        return await self._read(self._reports, sqlite_audit.audit)

    def _micros(self) -> int:
        return micros(self._clock())

    async def _take_out(self, id: str, state: State) -> None:
        await self._writer.do(lambda db: sqlite_messages.take_out(db, id, state, self._micros()))

    async def _set_aside(self, ids: Sequence[str]) -> None:
        for id in ids:
            _log.error("%s: message %s is damaged; held, for an operator to look at", self.path, id)
            await self._writer.do(lambda db, id=id: sqlite_messages.set_aside(db, id, self._micros()))  # type: ignore[misc]

    async def _in_steps(self, change: Callable[[Database, str, int], int]) -> int:
        count, name = 0, ""
        while True:
            done, following = await self._writer.do(
                lambda db, name=name: sqlite_operator.step(db, name, change)  # type: ignore[misc]
            )
            count += done
            if following is None:
                return count
            name = following

    async def _read(self, batches: Batches[Reader], work: Callable[[Reader], _T]) -> _T:
        if not self._writer.is_open:
            await self._writer.opened()
        return await batches.submit(work)


def _copied(mail: MailTx) -> MailTx:
    """Return a message that is the taker's: what its owner does to the other then is not in it."""
    session = mail.session
    return MailTx(
        mail.mail_from,
        list(mail.recipients),
        mail.data,
        params=dict(mail.params),
        rcpt_params=[dict(params) for params in mail.rcpt_params],
        id=mail.id,
        received=mail.received,
        retry=mail.retry,
        session=None if session is None else session.copied(),
    )


def _reading(path: Path) -> Batches[Reader]:
    reader = Reader(path)

    def do(jobs: Sequence[Job[Reader]]) -> None:
        for job in jobs:
            try:
                job.succeed(job.work(reader))
            except FAILURES as error:
                job.fail(failure(error, path, "the queue cannot be read"))
                reader.close()
            except Exception as error:  # the caller's, and the thread must live
                job.fail(error)

    return Batches(f"the storage {path}", do, reader.close)
