"""The thread that writes a SQLiteStorage's file: batches, commits, and whom they wake."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from smtpx.batches import Batches
from smtpx.errors import StorageError, StorageFull
from smtpx.storage.sqlite_claims import SETTLED, free_leases, settle, settlement
from smtpx.storage.sqlite_file import FAILURES, Database, error_code, failure
from smtpx.storage.sqlite_messages import arrival, micros, save_anew
from smtpx.storage.sqlite_rest import purge, shrink
from smtpx.storage.wake import Wake

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from smtpx.batches import Job
    from smtpx.delivery import Delivery
    from smtpx.storage.room import FreeSpace
    from smtpx.storage.sqlite_messages import NewMail

__all__ = ["Writer"]

_log = logging.getLogger("smtpx.storage")
_T = TypeVar("_T")
_FEWEST, _MOST = 32, 256  # jobs that a batch may have
_JOB = 25e-6  # seconds that one takes, about: a save, or what became of a recipient
_MICROSECOND = timedelta(microseconds=1)
_PAUSE = 10.0  # seconds from the end of a purge to the next
_SHORTLY = 0.1  # seconds until what was not durable at once is
_RECOUNT = 1.0  # seconds
_AMPLE = 1 << 30  # octets beyond the reserve: nothing needs to be counted
_UNSOUND = {
    apsw.SQLITE_BUSY,
    apsw.SQLITE_CANTOPEN,
    apsw.SQLITE_CORRUPT,
    apsw.SQLITE_IOERR,
    apsw.SQLITE_NOMEM,
    apsw.SQLITE_NOTADB,
}


class _Save:
    """What a job does that only saves: those of a batch go in together."""

    __slots__ = ("mail", "owner")

    def __init__(self, mail: NewMail, owner: Callable[[Database], str]) -> None:
        self.mail = mail
        self.owner = owner

    def __call__(self, db: Database) -> None:
        save_anew(db, self.mail, "" if self.mail.until is None else self.owner(db))


class _Light:
    """What a job does that may be lost with the power."""

    __slots__ = ("work",)

    def __init__(self, work: Callable[[Database], Any]) -> None:
        self.work = work

    def __call__(self, db: Database) -> Any:
        return self.work(db)


class _Settle:
    """What a job does that writes what became of claimed recipients: it may be lost likewise."""

    __slots__ = ("now", "settled")

    def __init__(self, settled: Sequence[Delivery], now: int) -> None:
        self.settled = settled
        self.now = now

    def __call__(self, db: Database) -> list[Delivery]:
        return settle(db, self.settled, self.now)


_PASSING = (_Light, _Settle)


class Writer:
    """The one connection of a storage that writes, and its thread."""

    def __init__(
        self, path: Path, reserve: int, keep: timedelta, clock: Callable[[], datetime], free: FreeSpace
    ) -> None:
        self._path = path
        self.reserve = reserve
        self.keep = keep
        self._clock = clock
        self._free = free
        self._spare = 0
        self._counted = -_RECOUNT
        self._asked = -_RECOUNT
        self._unasked = 0  # octets that may be written before the disk is asked again
        self._db: Database | None = None
        self._wake: Wake | None = None
        self._watchers: list[tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = []
        self._named = False  # whether other processes know our name
        self._must_tell = False  # whether other processes are to hear of what was claimed
        self._rested = -_PAUSE
        self._syncing: asyncio.AbstractEventLoop | None = None  # the loop that will see to it
        self.batches: Batches[Database] = Batches(
            f"the storage {path}", self._do, self._end, rest=self._rest, limit=_MOST
        )
        self._syncs: float | None = None  # seconds that a sync takes, of late

    @property
    def is_open(self) -> bool:
        """Whether the file is open."""
        return self._db is not None and not self.batches.closed

    async def opened(self) -> None:
        """Have the file open."""
        await self.batches.submit(_Light(lambda _: None))

    async def do(self, work: Callable[[Database], _T]) -> _T:
        """Have it done, durable when this returns."""
        return await self.batches.submit(work)

    async def lightly(self, work: Callable[[Database], _T]) -> _T:
        """Have it done; a crash of the process cannot undo it, but one of the system can."""
        result: _T = await self.batches.submit(_Light(work))
        return result

    async def settle(self, settled: Sequence[Delivery]) -> list[Delivery]:
        """Have it written in some milliseconds, with what is saved then; durable a tenth of a second on."""
        self._sync_later()
        work = _Settle(settled, self._micros())
        lost: list[Delivery] = await self.batches.submit_patiently(work)
        return lost

    def _sync_later(self) -> None:
        if self._syncing is None or self._syncing.is_closed():
            self._syncing = asyncio.get_running_loop()
            self._syncing.call_later(_SHORTLY, self._sync_soon)

    def _sync_soon(self) -> None:
        self._syncing = None
        self.batches.soon(_Light(self._sync))

    async def save(self, mail: NewMail) -> None:
        """Have it saved, durable when this returns; other processes hear of what is claimed shortly after."""
        if mail.until is not None:
            self._sync_later()
        await self.batches.submit(_Save(mail, self.owner), mail.octets)

    def soon(self, work: Callable[[Database], object]) -> None:
        """Have it done, see `lightly`; nobody waits for it."""
        self.batches.soon(_Light(work))

    def room(self) -> int:
        """Return the octets that were free a second ago, those within the file too, and not spoken for."""
        return self._free.lately() + self._spare

    def count_soon(self) -> None:
        """Have the room within the file counted anew: who is refused saves nothing, which would count it."""
        if monotonic() - self._counted >= _RECOUNT:
            self._counted = monotonic()
            with contextlib.suppress(RuntimeError):  # no event loop runs
                self.batches.soon(_Light(self._count))

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See `QueueStorage.watch`."""
        watcher = asyncio.get_running_loop(), changed
        self._watchers.append(watcher)
        self.batches.soon(_Light(self.owner))

        def end() -> None:
            with contextlib.suppress(ValueError):
                self._watchers.remove(watcher)

        return end

    def owner(self, db: Database) -> str:
        """Return the name that our leases are under, and by which others wake us; within a transaction."""
        if self._wake is None:
            self._wake = Wake(self._path, self._call_watchers)
        if not self._named:
            db.execute("INSERT OR IGNORE INTO owner VALUES (?)", (self._wake.name,))
        return self._wake.name

    # In the thread

    def _sync(self, db: Database) -> None:
        db.sync()
        self._must_tell = True

    def _measure(self, took: float, jobs: Sequence[Job[Database]]) -> None:
        """Have the next batches of the size that fits this disk, by how long a durable one took.

        While a batch is written, the event loop goes on with those whom the one before has answered: were all
        in one batch, the two would take turns. So it has 32, and as many more as take the time of its sync.
        """
        count = sum(len(job.work.settled) if isinstance(job.work, _Settle) else 1 for job in jobs)
        sync = max(took - count * _JOB, 0.0)
        self._syncs = sync if self._syncs is None else self._syncs + (sync - self._syncs) / 8
        self.batches.limit = min(_FEWEST + int(self._syncs / _JOB), _MOST)

    def _do(self, jobs: Sequence[Job[Database]]) -> None:
        try:
            db = self._opened()
            if db.log_is_too_long:
                db.checkpoint()
            durable, began = any(type(job.work) not in _PASSING for job in jobs), monotonic()
            if not self._write_at_once(db, jobs):
                db.begin(durable=durable)
                self._work(db, jobs)
            db.commit(sum(job.octets for job in jobs))
            if durable:
                self._measure(monotonic() - began, jobs)
        except StorageError as error:
            self._close()
            _fail(jobs, error)
        except FAILURES as error:
            # Which of the log's pages a failed sync has left on the disk nobody knows (HOSTILE 91).
            self._close()
            _fail(jobs, failure(error, self._path, "it was not committed"))
        except Exception as error:  # a clock's, say; the thread must live
            self._close()
            _fail(jobs, error)
        else:
            if db.stirred or (db.handed and self._must_tell):
                self._stir(db)

    def _write_at_once(self, db: Database, jobs: Sequence[Job[Database]]) -> bool:
        """Save and settle by one statement, where they do nothing else; False where nothing was done.

        To begin and to commit are statements too, and with each the thread gives the interpreter's lock away.
        """
        saves = [job for job in jobs if type(job.work) is _Save]
        settles = [job for job in jobs if type(job.work) is _Settle]
        if len(saves) + len(settles) < len(jobs) or len(settles) > 1:
            return False
        some = self._with_room(db, saves) if saves else []
        db.begin(durable=bool(some), single=True)
        return not (some or settles) or self._write(db, some, settles)

    def _work(self, db: Database, jobs: Sequence[Job[Database]]) -> None:
        for are_saves, group in itertools.groupby(jobs, lambda job: type(job.work) is _Save):
            some = list(group)
            if are_saves:
                some = self._with_room(db, some)
            if are_saves and (not some or self._write(db, some)):
                continue
            for job in some:
                self._do_one(db, job)

    def _do_one(self, db: Database, job: Job[Database]) -> None:
        try:
            with db.part():
                job.succeed(job.work(db))
        except FAILURES as error:
            if _is_unsound(db, error):
                raise
            job.fail(failure(error, self._path, "it was not done"))
        except Exception as error:  # the caller's, and the thread must live
            job.fail(error)

    def _with_room(self, db: Database, jobs: Sequence[Job[Database]]) -> list[Job[Database]]:
        # What the log holds takes its room a second time, in the file itself, and that is spoken for.
        self._spare, octets = -db.log_octets, sum(job.octets for job in jobs)
        self._unasked -= octets
        if self._unasked > 0 and monotonic() - self._asked < _RECOUNT:
            return list(jobs)
        free, self._asked = self._free.now(), monotonic()
        if free + self._spare - octets > self.reserve + _AMPLE:
            self._unasked = _AMPLE // 8  # which is written several times, here and into mailboxes
            return list(jobs)
        self._unasked = 0
        self._count(db)
        room = free + self._spare - self.reserve
        some = []
        for job in jobs:
            if job.octets > room:
                job.fail(
                    StorageFull(f"less than {self.reserve} octets would be left free beside {self._path}")
                )
            else:
                some.append(job)
                room -= job.octets
        return some

    def _count(self, db: Database) -> None:
        self._spare = db.free() - db.growth()

    def _write(
        self, db: Database, saves: Sequence[Job[Database]], settles: Sequence[Job[Database]] = ()
    ) -> bool:
        """Write them together; False where one of them is no ordinary one, and nothing was written."""
        begun = db.in_transaction
        mails = [job.work.mail for job in saves if isinstance(job.work, _Save)]
        settlements = [job.work for job in settles if isinstance(job.work, _Settle)]
        try:
            owner = self.owner(db) if any(mail.until is not None for mail in mails) else ""
            rows = [arrival(db, mail, owner) for mail in mails]
            octets = sum(mail.octets for mail in mails)
            for each in settlements:
                row = settlement(db, each.settled, each.now)
                rows.append(row)
                octets += len(row[SETTLED])
            lost = db.write(rows, octets)
        except Exception as error:  # of one, whoever's it is: what the others want is done by itself
            if isinstance(error, FAILURES) and _is_unsound(db, error, begun=begun):
                raise
            return False
        for job in saves:
            job.succeed(None)
        for job, each in zip(settles, settlements, strict=True):
            job.succeed([each.settled[number] for number in lost])
        return True

    def _opened(self) -> Database:
        if self._db is None:
            db = Database(self._path)
            try:
                self._bury(db, [name for name in _owners(db) if not Wake.call(self._path, name)])
                if self._watchers:
                    self.owner(db)  # they watched before it was closed
            except BaseException:
                db.close()
                raise
            self._db, self._unasked = db, 0
        return self._db

    def _stir(self, db: Database) -> None:
        """Wake who waits for something to come due, here and elsewhere."""
        if db.stirred:
            self._call_watchers()
        db.stirred = db.handed = False
        self._must_tell = False
        own = None if self._wake is None else self._wake.name
        try:
            names = _owners(db)
            self._named = own in names
            gone = [name for name in names if name != own and not Wake.call(self._path, name)]
            self._bury(db, gone)
        except Exception as error:  # what was committed is committed
            self._fail_aside(error, "the leases of a process that is gone are not free")

    def _bury(self, db: Database, names: Sequence[str]) -> None:
        """Free what is claimed by those that are gone."""
        if not names:
            return
        db.begin(durable=False)
        for name in names:
            free_leases(db, name, self._micros())
        db.commit()
        self._call_watchers()

    def _call_watchers(self) -> None:
        for loop, changed in tuple(self._watchers):
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(changed)

    def _rest(self) -> bool:
        db = self._db
        if db is None:
            return False
        try:
            if db.log_is_long:
                db.checkpoint()
                return True
            if monotonic() - self._rested < _PAUSE:
                return False
            if purge(db, self._micros() - self.keep // _MICROSECOND) or shrink(db):
                return True
        except Exception as error:
            self._fail_aside(error, "what is old is not removed")
        self._rested = monotonic()
        return False

    def _fail_aside(self, error: Exception, what: str) -> None:
        """Go on after a failure that nobody waits for: a clock's too, for the thread must live."""
        if isinstance(error, FAILURES):
            error = failure(error, self._path, what)
        _log.error("%s", error if isinstance(error, StorageError) else f"{what}: {error!r}")
        self._close()

    def _end(self) -> None:
        if self._db is not None and self._wake is not None:
            with contextlib.suppress(*FAILURES):  # others see that we are gone
                self._bury(self._db, [self._wake.name])
                self._db.sync()
                self._stir(self._db)
        self._close()
        if self._wake is not None:
            self._wake.close()
            self._wake = None

    def _close(self) -> None:
        if self._db is not None:
            with contextlib.suppress(*FAILURES):
                self._db.rollback()
            self._db.close()
            self._db = None
            self._named = False

    def _micros(self) -> int:
        return micros(self._clock())


def _is_unsound(db: Database, error: Exception, *, begun: bool = True) -> bool:
    """Whether nothing of the transaction can be trusted, or there is none any more, or none to be had."""
    return db.in_transaction is not begun or error_code(error) in _UNSOUND


def _owners(db: Database) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM owner").fetchall()]


def _fail(jobs: Sequence[Job[Database]], error: Exception) -> None:
    for job in jobs:
        if job.error is None:
            job.fail(error)
