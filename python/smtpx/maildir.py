"""Delivery into Maildirs."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import re
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpx._core import Response
from smtpx.closing import Closing
from smtpx.folders import FolderTemplate
from smtpx.maildir_files import Letter, MaildirFiles
from smtpx.outcome import Outcome
from smtpx.result import RecipientResult
from smtpx.stamp import stamped, was_delivered_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from smtpx.delivery import Delivery
    from smtpx.mail import MailTx

__all__ = ["MaildirTransport"]

_log = logging.getLogger("smtpx.maildir")

_THREADS = 4  # what syncs at the same time shares the disk's work; more than this only wait for each other
_BATCH = 16  # how many others' syncs the first of a batch waits for, at most
_CONCURRENCY = 64
_MAX_NAME = 200  # octets; readers put flags behind it
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE}

_DELIVERED = RecipientResult(Outcome.ACCEPTED, Response(250, "2.0.0 Delivered"))
_FULL = RecipientResult(Outcome.TEMPORARY, Response(452, "4.3.1 Not enough storage for the mailbox"))
_FAILED = RecipientResult(Outcome.TEMPORARY, Response(451, "4.3.0 The mailbox could not be written"))
_LOOP = RecipientResult(
    Outcome.PERMANENT, Response(554, "5.4.6 Mail loop: it has been delivered to this mailbox before")
)


class MaildirTransport(Closing):
    """Puts messages into Maildirs: what it says is delivered is on stable storage.

    A file has LF line ends, as other software keeps them (but BINARYMIME stays as it is), Return-Path and
    Delivered-To on top, and a name made of the message's id and the recipient's place in it: what a crash has
    delivered and not recorded is found again, and not delivered twice. A mailbox is made, of mode 0700, when
    it gets its first message; the folder of all of them must exist. Files in tmp/ that are 36 hours old go.

    Threads do the work; letters for one mailbox that wait at the same time share the sync of its folder.

    Args:
        template: where an address has its Maildir, as ``/var/mail/{domain}/{local}``; see `FolderTemplate`.
        mailbox_of: the address whose folder it is for a recipient; by default the recipient itself.

    Raises:
        ConfigurationError: the template cannot work.

    """

    def __init__(self, template: str, *, mailbox_of: Callable[[str], str] | None = None) -> None:
        self.template = FolderTemplate(template)
        self._mailbox_of = mailbox_of or str
        self._files = MaildirFiles(self.template.root)
        self._waiting: deque[_Job] = deque()
        self._working = 0
        self._guard = threading.Lock()  # a thread that ends must not overlook what just came
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="smtpx-maildir")

    def concurrency(self, destination: str) -> int:  # noqa: ARG002 - the same for all
        """See `Transport.concurrency`."""
        return _CONCURRENCY

    async def deliver(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        """See `Transport.deliver`."""
        loop = asyncio.get_running_loop()
        jobs = [_Job(mail, delivery, loop.create_future()) for delivery in deliveries]
        with self._guard:
            self._waiting.extend(jobs)
            more = min(len(jobs), _THREADS - self._working)
            for _ in range(more):
                self._threads.submit(self._work)
            self._working += more
        return {job.delivery.recipient: await job.done for job in jobs}

    async def close(self) -> None:
        """Finish what was begun."""
        await asyncio.to_thread(self._threads.shutdown)

    def _work(self) -> None:
        """Do what waits, batch after batch, until nothing does. Runs in a thread."""
        while batch := self._next_batch():
            try:
                self._do(batch)
            except Exception as error:  # a fault of ours: their callers must hear of it
                _finish([(job, error) for job in batch])
            del batch  # else its messages were held for as long as the thread

    def _next_batch(self) -> list[_Job]:
        with self._guard:
            share = -(-len(self._waiting) // _THREADS)  # the threads' syncs share the disk's work too
            batch = [self._waiting.popleft() for _ in range(min(share, _BATCH))]
            if not batch:
                self._working -= 1
            return batch

    def _do(self, batch: Iterable[_Job]) -> None:
        results: list[tuple[_Job, RecipientResult | Exception]] = []
        jobs: list[_Job] = []
        letters: list[Letter] = []
        for job in batch:
            recipient = job.delivery.recipient
            if was_delivered_to(job.mail, recipient):
                results.append((job, _LOOP))
                continue
            folder = self.template.folder(self._mailbox_of(recipient))
            content = stamped(job.mail, recipient)
            jobs.append(job)
            letters.append(Letter(folder, _name(job.delivery), content, _may_be_there(job.delivery)))
        for job, letter, error in zip(jobs, letters, self._files.deliver(letters), strict=True):
            results.append((job, _DELIVERED if error is None else _failed(letter, error)))
        _finish(results)


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    mail: MailTx
    delivery: Delivery
    done: asyncio.Future[RecipientResult]


def _finish(results: list[tuple[_Job, RecipientResult | Exception]]) -> None:
    """Wake the tasks that wait, each loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Job, RecipientResult | Exception]]] = {}
    for job, result in results:
        by_loop.setdefault(job.done.get_loop(), []).append((job, result))
    for loop, finished in by_loop.items():
        try:
            loop.call_soon_threadsafe(_set, finished)
        except RuntimeError:
            _log.debug("the event loop that asked for a delivery is closed")


def _set(finished: list[tuple[_Job, RecipientResult | Exception]]) -> None:
    for job, result in finished:
        if job.done.done():  # cancelled: the queue will ask again, and find it
            continue
        if isinstance(result, Exception):
            job.done.set_exception(result)
        else:
            job.done.set_result(result)


def _name(delivery: Delivery) -> str:
    """Return the file's name, the same for every attempt; the first part is what readers sort by."""
    mail = re.sub(r"[^0-9A-Za-z-]", lambda found: f"={ord(found[0]):x}.", delivery.mail_id)
    if len(mail) > _MAX_NAME:
        mail = "==" + hashlib.sha256(mail.encode()).hexdigest()
    return f"{int(delivery.received.timestamp())}.{mail}.{delivery.index}"


def _may_be_there(delivery: Delivery) -> bool:
    return delivery.token > 1 or delivery.attempts > 0


def _failed(letter: Letter, error: OSError) -> RecipientResult:
    _log.warning("nothing could be delivered to %s: %s", letter.folder, error.strerror or error)
    return _FULL if error.errno in _NO_ROOM else _FAILED
