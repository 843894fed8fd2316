"""The storage in a directory: one file a message, docs/spool-format.md."""

# ruff: noqa: A001, A002 - "id" is the attribute's name

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Self

from smtpx.batches import Batches
from smtpx.closing import Closing
from smtpx.errors import StorageError, StorageFull
from smtpx.mail import new_id
from smtpx.storage.entry import encode_envelope
from smtpx.storage.room import FreeSpace
from smtpx.storage.spool import Spool

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from smtpx.batches import Job
    from smtpx.mail import MailTx

__all__ = ["LocalStorage"]

_DIRECTORY = "/var/spool/smtp"
_MIB = 1024 * 1024
_BATCH = 64  # how many others' fsyncs the first of a batch waits for, at most


class LocalStorage(Closing):
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
        self._batches: Batches[Spool] = Batches(
            f"the storage {self.directory}", self._do, self._end, limit=_BATCH
        )

    async def open(self) -> None:
        """Open the directory now.

        Raises:
            StorageLocked: another process, or another LocalStorage, uses it.
            StorageError: it is missing, somebody else's, or cannot be written.

        """
        self._batches.closed = False
        await self._opened()

    async def close(self) -> None:
        """Finish what was begun and unlock the directory; to close twice is nothing."""
        await self._batches.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

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

        await self._batches.submit(write, len(content))

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
        await self._batches.submit(lambda spool: spool.remove(id))

    async def mail_bounce(self, id: str) -> None:
        """See `Storage.mail_bounce`."""
        await self._batches.submit(lambda spool: spool.bounce(id))

    async def _opened(self) -> Spool:
        if self._spool is not None and not self._batches.closed:
            return self._spool
        return await self._batches.submit(lambda spool: spool)

    def _do(self, batch: Sequence[Job[Spool]]) -> None:
        """Do the jobs of a batch, and sync once; runs in the thread."""
        ready: list[Job[Spool]] = []
        for job in batch:
            try:
                if self._spool is None:
                    self._spool = Spool(self.directory)
                job.succeed(job.work(self._spool))
            except Exception as error:  # the caller's, and the thread must live
                job.fail(error)
            else:
                ready.append(job)
        if not ready or self._spool is None:
            return
        try:
            self._spool.sync()
        except StorageError as error:
            for job in ready:
                job.fail(error)

    def _end(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None
