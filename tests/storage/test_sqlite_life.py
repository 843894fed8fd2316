"""SQLiteStorage: its life from open to close, and what it leaves in its folder."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import stat
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from smtpx import MailTx, SQLiteStorage
from smtpx.errors import StorageError, StorageFull
from smtpx.storage.sqlite_file import Database
from smtpx.storage.sqlite_messages import NewMail, arrival, moment

from tests.queue_storages import LEASE, Clock, done, saved
from tests.storage.disk import POSIX, message

if TYPE_CHECKING:
    from pathlib import Path

    from smtpx import Delivery

pytestmark = POSIX


async def test_a_closed_queue_is_not_used_by_accident(tmp_path: Path) -> None:
    queue = SQLiteStorage(tmp_path / "queue.db")
    async with queue:
        pass
    for attempt in (queue.mail_save(message()), queue.mail_load("1"), queue.mail_load_all(), queue.audit()):
        with pytest.raises(StorageError, match="closed"):
            await attempt
    await queue.close()
    async with queue:
        assert await queue.mail_load_all() == []


def test_several_event_loops_may_use_one_queue(tmp_path: Path) -> None:
    queue = SQLiteStorage(tmp_path / "queue.db", reserve=0)
    asyncio.run(queue.mail_save(message(name="1")))
    asyncio.run(queue.mail_save(message(name="2")))
    assert [mail.id for mail in asyncio.run(queue.mail_load_all())] == ["1", "2"]
    asyncio.run(queue.close())


def test_an_event_loop_that_ends_while_a_result_waits_holds_up_no_other(tmp_path: Path, clock: Clock) -> None:
    queue = SQLiteStorage(tmp_path / "queue.db", reserve=0, clock=clock)

    async def begin() -> list[Delivery]:
        await saved(queue, "joe@example.org", "ann@example.org")
        claimed = await queue.claim(clock.now, LEASE, 10)
        forgotten = asyncio.create_task(queue.settle([done(claimed[0])]))
        await asyncio.sleep(0)
        assert not forgotten.done()
        return claimed

    async def go_on(claimed: list[Delivery]) -> bool:
        synced, real = asyncio.Event(), Database.sync
        loop = asyncio.get_running_loop()

        def sync(db: Database) -> None:
            real(db)
            loop.call_soon_threadsafe(synced.set)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Database, "sync", sync)
            async with asyncio.timeout(10):
                assert await queue.settle([done(claimed[1])]) == []
                await synced.wait()
        await queue.close()
        return True

    assert asyncio.run(go_on(asyncio.run(begin())))


async def test_who_watched_before_it_was_closed_is_woken_after_it_is_open_again(
    queue: SQLiteStorage, tmp_path: Path
) -> None:
    woken = asyncio.Event()
    queue.watch(woken.set)
    await queue.close()
    await queue.open()
    async with SQLiteStorage(tmp_path / "queue.db", reserve=0) as other, asyncio.timeout(30):
        await saved(other)
        await woken.wait()


async def test_a_clock_that_fails_fails_what_asks_it_and_nothing_else(
    queue: SQLiteStorage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = await saved(queue)
    with monkeypatch.context() as patch:
        patch.setattr(queue, "_clock", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await queue.mail_delete(mail.id)
    assert [each.id for each in await queue.mail_load_all()] == [mail.id]


async def test_a_clock_that_fails_while_nobody_waits_ends_no_thread(
    queue: SQLiteStorage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = threading.Event()

    def broken() -> float:
        asked.set()
        return 1 / 0

    with monkeypatch.context() as patch:
        patch.setattr("smtpx.storage.sqlite_writer._PAUSE", 0.0)
        patch.setattr(queue._writer, "_clock", broken)
        await queue.open()
        assert await asyncio.to_thread(asked.wait, 10)
        await queue.close()
    assert "what is old is not removed: ZeroDivisionError" in caplog.text
    await queue.open()
    async with asyncio.timeout(10):
        await saved(queue)


async def test_h92_room_within_the_file_is_seen_though_nothing_is_saved_on_a_full_disk(
    queue: SQLiteStorage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=2_000_000)
    monkeypatch.setattr("smtpx.storage.spool.shutil.disk_usage", lambda _: usage)
    await queue.mail_save(message(bytes(1_000_000), "1"))
    usage.free = 0
    with pytest.raises(StorageFull):
        await queue.mail_save(message(bytes(1_000_000)))
    await queue.mail_delete("1")
    await queue.close()
    await queue.open()  # brings it home, so that the file has those pages
    assert not queue.has_room(900_000)
    await queue.claim(clock.now, LEASE, 1)
    assert queue.has_room(900_000)
    assert not queue.has_room(1_100_000)


async def test_files_are_for_their_owner_only_and_none_is_left_but_the_queue(
    tmp_path: Path, clock: Clock
) -> None:
    async with SQLiteStorage(tmp_path / "queue.db", reserve=0, clock=clock) as queue:
        await saved(queue)
        await queue.claim(clock.now, LEASE, 1)
        modes = modes_in(tmp_path)
        assert len(modes) == 4  # the queue, its log, the log's index, and the socket
        assert set(modes.values()) == {0o600}
    assert list(modes_in(tmp_path)) == ["queue.db"]


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_a_message_without_a_recipient_is_refused(queue: SQLiteStorage) -> None:
    with pytest.raises(StorageError, match="no recipient"):
        await queue.mail_save(MailTx("a@b.org", []))


async def test_a_recipient_with_a_nul_is_refused_and_not_cut_short_there(queue: SQLiteStorage) -> None:
    with pytest.raises(StorageError, match="NUL"):
        await saved(queue, "joe@example.com\0@example.org")
    assert await queue.deliveries() == []


async def test_addresses_and_replies_are_kept_whatever_their_characters(
    queue: SQLiteStorage, clock: Clock
) -> None:
    odd = "\x01\x1f\x7f\x85\u2028\ufffe\U0001f600\\u0000'\"[$]"
    mail = await saved(queue, f"{odd}@{odd}", odd, "")
    claimed = await queue.claim(clock.now, LEASE, 10)
    assert {each.index: each.recipient for each in claimed} == dict(enumerate(mail.recipients))
    assert await queue.settle([done(each, reply=odd * 60) for each in claimed]) == []
    assert {each.reply for each in await queue.deliveries()} == {odd * 60}
    assert (await queue.audit()).faults == []


class Counters(ctypes.Structure):
    """What mallinfo2(3) gives."""

    _fields_ = (
        ("before", ctypes.c_size_t * 4),
        ("hblkhd", ctypes.c_size_t),
        ("between", ctypes.c_size_t * 2),
        ("uordblks", ctypes.c_size_t),
        ("behind", ctypes.c_size_t * 2),
    )


def test_what_was_saved_does_not_stay_in_memory(tmp_path: Path) -> None:
    count = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if count is None:
        pytest.skip("needs the counters of glibc's malloc")
    count.restype = Counters

    def used() -> int:
        counters = count()
        return int(counters.hblkhd + counters.uordblks)

    with contextlib.closing(Database(tmp_path / "queue.db")) as db:
        before = used()
        for many in range(1, 9):
            db.begin(durable=False)
            mails = [NewMail(message(bytes(1_500_000), f"{many}-{n}"), moment(0)) for n in range(many)]
            db.write([arrival(db, mail, "") for mail in mails], sum(mail.octets for mail in mails))
            mails.clear()
            db.commit()
            db.checkpoint()
        assert used() - before < 24_000_000  # of 54 MB; the cache of pages has 16


async def test_a_commit_fails_where_something_has_ended_its_transaction(queue: SQLiteStorage) -> None:
    with pytest.raises(StorageError, match="no transaction is active"):
        await queue._writer.do(lambda db: [db.execute(end) for end in ("ROLLBACK", "SAVEPOINT part")])
