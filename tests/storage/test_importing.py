"""What waits in a LocalStorage's directory moves into a queue: nothing is lost, nothing is sent twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from smtpx import MailTx, SQLiteStorage, State
from smtpx.errors import StorageFull, StorageLocked
from smtpx.storage import LocalStorage, import_spool

from tests.storage.disk import POSIX, message, names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = POSIX


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[SQLiteStorage]:
    async with SQLiteStorage(tmp_path / "queue.db", reserve=0) as queue:
        yield queue


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool"


async def put(spool: Path, *mails: MailTx) -> None:
    async with LocalStorage(spool, reserve=0) as storage:
        await asyncio.gather(*map(storage.mail_save, mails))


async def test_every_message_is_in_the_queue_and_no_more_in_the_directory(
    queue: SQLiteStorage, spool: Path
) -> None:
    mails = [message(b"%d" % number, f"{number:03}") for number in range(50)]
    await put(spool, *mails)
    assert await import_spool(spool, queue) == 50
    assert await queue.mail_load_all() == mails
    assert names(spool) == []


async def test_a_message_is_known_as_taken_only_once_all_that_it_became_is_in_the_queue(
    queue: SQLiteStorage, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(spool, message(name="1"))
    save = queue.mail_save

    async def save_all_but_the_last(mail: MailTx) -> None:
        if mail.id == "1":
            raise StorageFull("for now")
        await save(mail)

    def two(mail: MailTx) -> list[MailTx]:
        return [mail, message(name=f"{mail.id}-list")]

    with monkeypatch.context() as patch:
        patch.setattr(queue, "mail_save", save_all_but_the_last)
        with pytest.raises(StorageFull):
            await import_spool(spool, queue, resolve=two)
    assert names(spool) == ["1.mail"]
    assert await import_spool(spool, queue, resolve=two) == 1
    assert [mail.id for mail in await queue.mail_load_all()] == ["1", "1-list"]


async def test_what_is_bounced_or_damaged_stays(queue: SQLiteStorage, spool: Path) -> None:
    async with LocalStorage(spool, reserve=0) as storage:
        await storage.mail_save(message(name="1"))
        await storage.mail_bounce("1")
    (spool / "2.mail").write_bytes(b"garbage")
    assert await import_spool(spool, queue) == 0
    assert names(spool) == ["bounce/1.mail", "quarantine/2.mail"]


async def test_a_message_without_a_recipient_stays(queue: SQLiteStorage, spool: Path) -> None:
    await put(spool, MailTx("a@b.org", [], b"x", id="1"), message(name="2"))
    assert await import_spool(spool, queue) == 1
    assert names(spool) == ["1.mail"]


async def test_a_directory_that_a_server_uses_is_refused(queue: SQLiteStorage, spool: Path) -> None:
    async with LocalStorage(spool, reserve=0):
        with pytest.raises(StorageLocked):
            await import_spool(spool, queue)


async def test_what_a_run_that_was_killed_had_saved_is_not_queued_again(
    queue: SQLiteStorage, spool: Path
) -> None:
    await put(spool, message(name="waits"), message(name="delivered"), message(name="new"))
    await queue.mail_save(message(name="waits"))
    await queue.mail_save(message(name="delivered"))
    claimed = await queue.claim(datetime.now(UTC), timedelta(minutes=5), 10)
    (delivered,) = [each for each in claimed if each.mail_id == "delivered"]
    await queue.settle([replace(delivered, state=State.DELIVERED)])
    assert await import_spool(spool, queue) == 3
    assert names(spool) == []
    assert sorted(mail.id for mail in await queue.mail_load_all()) == ["new", "waits"]
    (waits,) = await queue.deliveries(mail_id="waits")
    assert waits.token == 1


async def test_what_the_queue_has_no_room_for_stays(tmp_path: Path, spool: Path) -> None:
    await put(spool, message(name="1"))
    async with SQLiteStorage(tmp_path / "full.db", reserve=1 << 60) as queue:
        with pytest.raises(StorageFull):
            await import_spool(spool, queue)
    assert names(spool) == ["1.mail"]
