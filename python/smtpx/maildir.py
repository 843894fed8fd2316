"""Delivery into Maildirs."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import re
from functools import partial
from typing import TYPE_CHECKING

from smtpx._core import Response
from smtpx.batches import Batches
from smtpx.closing import Closing
from smtpx.folders import FolderTemplate
from smtpx.maildir_files import Letter, MaildirFiles
from smtpx.outcome import Outcome
from smtpx.result import RecipientResult
from smtpx.stamp import stamped, was_delivered_to

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from smtpx.batches import Job
    from smtpx.delivery import Delivery
    from smtpx.mail import MailTx

__all__ = ["MaildirTransport"]

_log = logging.getLogger("smtpx.maildir")

_CONCURRENCY = 64
_ENOUGH = 1024 * 1024  # octets of a batch: to write them takes longer than the commit that more would share
_PACE = 0.005  # seconds: the sync of a folder costs as much for few letters as for many
_UNSAFE = re.compile(r"[^0-9A-Za-z-]")
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

    A thread does the work, in batches of the letters that wait at the same time: one native call has them
    written, and on the disk by the same commits of its file system, while others have the GIL.

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
        # One: several pay for each letter with a commit and hand the GIL to and fro, and deliver no more.
        self._thread: Batches[list[Letter]] = Batches(
            f"the transport to {template}", self._do, octets=_ENOUGH, pace=_PACE
        )

    def concurrency(self, destination: str) -> int:  # noqa: ARG002 - the same for all
        """See `Transport.concurrency`."""
        return _CONCURRENCY

    async def deliver(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        """See `Transport.deliver`."""
        jobs = [self._deliver(mail, delivery) for delivery in deliveries]
        results = [await jobs[0]] if len(jobs) == 1 else await asyncio.gather(*jobs)
        return {delivery.recipient: result for delivery, result in zip(deliveries, results, strict=True)}

    async def close(self) -> None:
        """Finish what was begun."""
        await self._thread.close()

    async def _deliver(self, mail: MailTx, delivery: Delivery) -> RecipientResult:
        result = await self._thread.submit(partial(self._write, mail, delivery), len(mail.data))
        assert result is not None  # noqa: S101 - `_do` gave one
        return result

    # In the thread

    def _write(self, mail: MailTx, delivery: Delivery, letters: list[Letter]) -> RecipientResult | None:
        """Add the letter, or say what becomes of it without one."""
        recipient = delivery.recipient
        if was_delivered_to(mail, recipient):
            return _LOOP
        folder = self.template.folder(self._mailbox_of(recipient))
        letters.append(Letter(folder, _name(delivery), stamped(mail, recipient), _may_be_there(delivery)))
        return None

    def _do(self, jobs: Sequence[Job[list[Letter]]]) -> None:
        letters: list[Letter] = []
        written: list[Job[list[Letter]]] = []
        for job in jobs:
            try:
                job.succeed(job.work(letters))
            except Exception as error:  # a fault of ours: its caller must hear of it
                job.fail(error)
            else:
                if len(letters) > len(written):
                    written.append(job)
        try:
            errors = self._files.deliver(letters)
        except Exception as error:  # likewise
            for job in written:
                job.fail(error)
            return
        for job, letter, failure in zip(written, letters, errors, strict=True):
            job.succeed(_DELIVERED if failure is None else _failed(letter, failure))


def _name(delivery: Delivery) -> str:
    """Return the file's name, the same for every attempt; the first part is what readers sort by."""
    mail = _UNSAFE.sub(lambda found: f"={ord(found[0]):x}.", delivery.mail_id)
    if len(mail) > _MAX_NAME:
        mail = "==" + hashlib.sha256(mail.encode()).hexdigest()
    return f"{int(delivery.received.timestamp())}.{mail}.{delivery.index}"


def _may_be_there(delivery: Delivery) -> bool:
    return delivery.token > 1 or delivery.attempts > 0


def _failed(letter: Letter, error: OSError) -> RecipientResult:
    _log.warning("nothing could be delivered to %s: %s", letter.folder, error.strerror or error)
    return _FULL if error.errno in _NO_ROOM else _FAILED
