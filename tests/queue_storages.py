"""The storages that a queue can run on, each put through the same tests, and what those share.

A new storage passes them by one more line in ``QUEUE_STORAGES``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import pytest
from smtpx import Delivery, MailTx, QueueStorage, SQLiteStorage, State
from smtpx.mail import new_id

from tests.memory_storage import Disk, MemoryStorage

MINUTE = timedelta(minutes=1)
LEASE = 10 * MINUTE


class Clock:
    """The time, which stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, by: timedelta) -> datetime:
        self.now += by
        return self.now


Opened: TypeAlias = Callable[[Path, Clock], AbstractAsyncContextManager[QueueStorage]]


@dataclass(frozen=True)
class Kind:
    """How one kind of storage is opened in a folder, and whether several may be open on one at a time."""

    opened: Opened
    shared: bool


QUEUE_STORAGES: dict[str, Kind] = {
    "sqlite": Kind(
        lambda folder, clock: SQLiteStorage(folder / "queue.db", reserve=0, clock=clock), shared=True
    ),
    "memory": Kind(lambda folder, clock: MemoryStorage(Disk(now=clock)), shared=False),
}

each_storage = pytest.mark.parametrize("kind", QUEUE_STORAGES.values(), ids=list(QUEUE_STORAGES))
each_shared = pytest.mark.parametrize(
    "kind",
    [kind for kind in QUEUE_STORAGES.values() if kind.shared],
    ids=[name for name, kind in QUEUE_STORAGES.items() if kind.shared],
)


async def saved(
    storage: QueueStorage, *recipients: str, content: bytes = b"Subject: x\r\n\r\nhi\r\n", **fields: object
) -> MailTx:
    """Save a message to these, by default to joe@example.org."""
    mail = MailTx("a@b.org", list(recipients) or ["joe@example.org"], content, id=new_id())
    for name, value in fields.items():
        setattr(mail, name, value)
    await storage.mail_save(mail)
    return mail


def addresses(deliveries: list[Delivery]) -> list[str]:
    return [each.recipient for each in deliveries]


def done(delivery: Delivery, state: State = State.DELIVERED, reply: str = "250 2.0.0 OK") -> Delivery:
    return replace(delivery, state=state, reply=reply)


def again(delivery: Delivery, at: datetime) -> Delivery:
    """An attempt that failed for now."""
    return replace(
        delivery, next_attempt=at, attempts=delivery.attempts + 1, reply="451 4.3.0 Not now", warned=True
    )


async def states(storage: QueueStorage, mail: MailTx) -> dict[str, State]:
    return {each.recipient: each.state for each in await storage.deliveries(mail_id=mail.id)}
