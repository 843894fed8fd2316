"""New messages that a queue has straight from the save, without a claim and a load of their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from smtpx import Delivery, MailTx, Queue, RecipientResult, SQLiteStorage, State

from tests.queue_storages import saved, states
from tests.queueing import ACCEPTED
from tests.storage.disk import POSIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

pytestmark = POSIX


class Storage(SQLiteStorage):
    """Counts what is loaded, and tells when something is settled."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, reserve=0)
        self.loads = 0
        self.settled = asyncio.Event()

    async def mail_load(self, id: str) -> MailTx:  # noqa: A002 - its name
        self.loads += 1
        return await super().mail_load(id)

    async def settle(self, settled: Sequence[Delivery]) -> list[Delivery]:
        lost = await super().settle(settled)
        self.settled.set()
        return lost


class Transport:
    """Takes everything, once it is open; tells when it has had so many."""

    def __init__(self, expected: int) -> None:
        self.taken: list[MailTx] = []
        self.expected = expected
        self.complete, self.open = asyncio.Event(), asyncio.Event()

    def concurrency(self, destination: str) -> int:
        return 100

    async def deliver(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        await self.open.wait()
        self.taken.append(mail)
        if len(self.taken) == self.expected:
            self.complete.set()
        return {each.recipient: ACCEPTED for each in deliveries}


async def test_a_message_saved_while_the_queue_runs_is_not_loaded(tmp_path: Path) -> None:
    transport = Transport(2)
    transport.open.set()
    async with Storage(tmp_path / "queue.db") as storage:
        await saved(storage)
        async with Queue(storage, transport):
            await storage.settled.wait()  # so it has claimed what there was
            second = await saved(storage, "joe@example.org", "ann@example.org")
            await transport.complete.wait()
        assert storage.loads == 1
        assert transport.taken[1] == second
        assert set((await states(storage, second)).values()) == {State.DELIVERED}


async def test_a_large_message_is_loaded_when_its_turn_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smtpx.queue.LARGE", 1)
    transport = Transport(1)
    transport.open.set()
    async with Storage(tmp_path / "queue.db") as storage, Queue(storage, transport):
        mail = await saved(storage)
        await transport.complete.wait()
        assert storage.loads == 1
        assert [each.id for each in transport.taken] == [mail.id]


async def test_what_a_queue_cannot_hold_waits_in_the_storage(tmp_path: Path) -> None:
    transport = Transport(10)
    async with Storage(tmp_path / "queue.db") as storage:
        async with Queue(storage, transport, concurrency=1):
            mails = [await saved(storage) for _ in range(10)]
            transport.open.set()
            await transport.complete.wait()
        assert storage.loads > 0
        assert sorted(mail.id for mail in transport.taken) == [mail.id for mail in mails]
        for mail in mails:
            assert await states(storage, mail) == {"joe@example.org": State.DELIVERED}


@pytest.mark.parametrize("count", [1, 20])
async def test_what_a_stopped_queue_had_not_begun_is_due_again(tmp_path: Path, count: int) -> None:
    transport = Transport(count)
    async with Storage(tmp_path / "queue.db") as storage:
        queue = Queue(storage, transport, concurrency=1)
        await queue.start()
        mails = [await saved(storage) for _ in range(count)]
        await queue.stop(grace=0)
        transport.open.set()
        async with Queue(storage, transport):
            await transport.complete.wait()
        assert sorted(mail.id for mail in transport.taken) == [mail.id for mail in mails]
