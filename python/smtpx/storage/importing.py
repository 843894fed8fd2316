"""Moves what waits in the directory of a LocalStorage into a queue."""

from __future__ import annotations

import asyncio
import logging
from itertools import islice
from typing import TYPE_CHECKING

from smtpx.storage.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from smtpx.mail import MailTx
    from smtpx.storage.base import QueueStorage

__all__ = ["import_spool"]

_log = logging.getLogger("smtpx.storage")
_AT_ONCE = 20


async def import_spool(
    directory: Path,
    storage: QueueStorage,
    *,
    resolve: Callable[[MailTx], Sequence[MailTx]] = lambda mail: [mail],
) -> int:
    """Move every message that waits in the directory into the queue, and return how many that were.

    Each is durable in the queue before its file goes, and a file whose message the queue's ledger knows, from
    a run that was cut short, is removed without being queued again, whatever has become of the message: it
    neither gets lost nor is sent twice, as long as the next run comes before the ledger forgets (30 days).
    What a queue cannot take (a message without a recipient) stays, and is logged; so does what is bounced or
    in quarantine.

    Args:
        directory: where they wait.
        storage: the queue.
        resolve: gives what is saved for a message, the message of its id first: a queue has final recipients,
            and a directory those of the envelope; see `smtpx.envelopes`.

    Raises:
        StorageLocked: a server uses the directory: stop it first.
        StorageError: the directory or the queue cannot be used.

    """
    spool = await asyncio.to_thread(Spool, directory)
    try:
        mails = spool.read_all()
        count = 0
        while some := await asyncio.to_thread(lambda: list(islice(mails, _AT_ONCE))):
            taken = await asyncio.gather(*(_take(mail, storage, resolve) for mail in some))
            await asyncio.to_thread(
                _remove, spool, [mail.id for mail, ok in zip(some, taken, strict=True) if ok]
            )
            count += sum(taken)
    finally:
        await asyncio.to_thread(spool.close)
    return count


async def _take(mail: MailTx, storage: QueueStorage, resolve: Callable[[MailTx], Sequence[MailTx]]) -> bool:
    if not mail.recipients:
        _log.error("message %s stays in the directory: it has no recipient", mail.id)
        return False
    if not await storage.deliveries(mail_id=mail.id, limit=1):
        for each in reversed(resolve(mail)):  # by its own id it is known as taken, so that goes in last
            await storage.mail_save(each)
    return True


def _remove(spool: Spool, ids: list[str]) -> None:
    for id in ids:  # noqa: A001 - the attribute's name
        spool.remove(id)
    spool.sync()
