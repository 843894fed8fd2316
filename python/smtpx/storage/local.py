"""The storage in a directory: one file a message, docs/spool-format.md."""

# ruff: noqa: A001, A002 - "id" is the attribute's name

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

from smtpx.errors import StorageError, StorageFull
from smtpx.mail import new_id
from smtpx.storage.entry import encode_envelope
from smtpx.storage.room import FreeSpace
from smtpx.storage.spool import Spool

if TYPE_CHECKING:
    import os
    from types import TracebackType

    from smtpx.mail import MailTx

__all__ = ["LocalStorage"]

_DIRECTORY = "/var/spool/smtp"
_MIB = 1024 * 1024
_BATCH = 64  # how many others' fsyncs the first of a batch waits for, at most


class LocalStorage:
    """A `Storage` in a directory of its own, which must exist and belong to the process's user.

    Messages are files of mode 0600; bounced ones are in ``bounce/``, damaged ones in ``quarantine/``. One
    `LocalStorage` at a time uses a directory, over all processes. It opens at its first use, or by `open` or
    ``async with``, which tell at start what is wrong with the directory. Several event loops may use it.

    Changes are made by one thread in batches: what waits at the same time shares one sync of the directory,
    and what comes alone waits for nothing. The contract of `Storage` holds on POSIX systems; macOS may keep
    data that is fsynced in the drive's cache. On Windows neither the lock nor the sync of directories exists:
    the class works there, but without that contract.

    Args:
        directory: "" is /var/spool/smtp too.
        reserve: octets of the disk that must stay free; a save that would take of them is a StorageFull.

    """

    def __init__(self, directory: str | os.PathLike[str] = _DIRECTORY, *, reserve: int = 100 * _MIB) -> None:
        self.directory = Path(directory or _DIRECTORY)
        self.reserve = reserve
        self._free = FreeSpace(self.directory)
        self._spool: Spool | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self._jobs: _Jobs = queue.SimpleQueue()
        self._guard = threading.Lock()  # no job may follow the None that ends the thread

    async def open(self) -> None:
        """Open the directory now.

        Raises:
            StorageLocked: another process, or another LocalStorage, uses it.
            StorageError: it is missing, somebody else's, or cannot be written.

        """
        self._closed = False
        await self._opened()

    async def close(self) -> None:
        """Finish what was begun and unlock the directory; to close twice is nothing."""
        with self._guard:
            self._closed = True
            self._jobs.put(None)
            thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.to_thread(thread.join)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def has_room(self, octets: int = 0) -> bool:
        """Tell whether a message of so many octets left the reserve untouched, a second ago.

        Raises:
            StorageError: the directory is missing.

        """
        return self._free.lately() - octets >= self.reserve

    async def mail_save(self, mail: MailTx) -> None:
        """See `Storage.mail_save`."""
        if not mail.id:
            mail.id = new_id()
        # Encoded here, so that nothing the caller does to the message meanwhile can tear the file.
        id, envelope, content = mail.id, encode_envelope(mail), mail.data

        def write(spool: Spool) -> None:
            if self._free.now() - len(content) < self.reserve:
                raise StorageFull(f"less than {self.reserve} octets would be left free on {self.directory}")
            spool.write(id, envelope, content)

        await self._commit(write)

    async def mail_load(self, id: str) -> MailTx:
        """See `Storage.mail_load`."""
        spool = await self._opened()
        return await asyncio.to_thread(spool.read, id)

    async def mail_load_all(self) -> list[MailTx]:
        """See `Storage.mail_load_all`."""
        spool = await self._opened()
        return await asyncio.to_thread(lambda: list(spool.read_all()))

    async def mail_delete(self, id: str) -> None:
        """See `Storage.mail_delete`."""
        await self._commit(lambda spool: spool.remove(id))

    async def mail_bounce(self, id: str) -> None:
        """See `Storage.mail_bounce`."""
        await self._commit(lambda spool: spool.bounce(id))

    async def _opened(self) -> Spool:
        if self._spool is not None and not self._closed:
            return self._spool
        opened: list[Spool] = []
        await self._commit(opened.append)
        return opened[0]

    async def _commit(self, work: _Work) -> None:
        job = _Job(work)
        with self._guard:
            if self._closed:
                raise StorageError(f"the storage {self.directory} is closed: open it again")
            if self._thread is None:
                self._jobs = queue.SimpleQueue()
                # A daemon: a program that forgets close() still ends; what it did not await was not promised.
                self._thread = threading.Thread(target=self._run, args=(self._jobs,), daemon=True)
                self._thread.start()
            self._jobs.put(job)
        await asyncio.wrap_future(job.done)

    def _run(self, jobs: _Jobs) -> None:
        """Do the jobs, a batch at a time, until told to end; runs in the thread."""
        while self._do_batch(jobs):
            pass
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _do_batch(self, jobs: _Jobs) -> bool:
        """Do what waits, waiting for the first; False when told to end."""
        # A function of its own: while the thread waits, nothing may hold on to the last batch's messages.
        batch = [jobs.get()]
        while len(batch) < _BATCH and not jobs.empty():
            batch.append(jobs.get())
        self._do([job for job in batch if job is not None])
        return None not in batch

    def _do(self, batch: list[_Job]) -> None:
        ready: list[_Job] = []
        for job in batch:
            # What was cancelled while it waited is not begun; what has begun is finished.
            if not job.done.set_running_or_notify_cancel():
                continue
            try:
                if self._spool is None:
                    self._spool = Spool(self.directory)
                job.work(self._spool)
            except Exception as error:  # the caller's, and the thread must live
                job.done.set_exception(error)
            else:
                ready.append(job)
        if not ready or self._spool is None:
            return
        try:
            self._spool.sync()
        except StorageError as error:
            for job in ready:
                job.done.set_exception(error)
        else:
            for job in ready:
                job.done.set_result(None)


_Work: TypeAlias = Callable[[Spool], None]


@dataclass(slots=True)
class _Job:
    work: _Work
    done: Future[None] = field(default_factory=Future)


_Jobs: TypeAlias = "queue.SimpleQueue[_Job | None]"
