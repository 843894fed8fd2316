"""SQLiteStorage: what shares a commit, what room it leaves, what it keeps and what it gives back."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import queue as queues
import threading
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import apsw
import pytest
from smtpx import MailTx, SQLiteStorage, State
from smtpx.errors import MailNotFound, StorageFull
from smtpx.storage import QueueStorage, Reserving, sqlite_rest, sqlite_writer
from smtpx.storage.sqlite_file import Database
from smtpx.storage.sqlite_messages import micros
from smtpx.storage.sqlite_rest import purge

from tests.queue_storages import LEASE, MINUTE, Clock, done, saved, states
from tests.storage.disk import POSIX, message

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    from smtpx import Delivery

    from tests.storage.commits import Commits

pytestmark = POSIX


def test_it_is_a_queue_storage_that_knows_its_room(tmp_path: Path) -> None:
    queue: QueueStorage = SQLiteStorage(tmp_path / "queue.db")
    assert isinstance(queue, QueueStorage)
    assert isinstance(queue, Reserving)


# Commits


async def test_saves_that_wait_at_the_same_time_share_one_commit(
    queue: SQLiteStorage, commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "_FEWEST", 101)  # whatever a sync takes here
    commits.open.clear()
    first = asyncio.create_task(queue.mail_save(message()))
    await commits.hold()
    others = [asyncio.create_task(queue.mail_save(message())) for _ in range(100)]
    await asyncio.sleep(0)  # each has put its job into the queue
    assert not first.done()
    commits.open.set()
    await asyncio.gather(first, *others)
    assert commits.durable == [True, True]


async def test_a_save_that_comes_alone_has_a_commit_of_its_own(
    queue: SQLiteStorage, commits: Commits
) -> None:
    for _ in range(3):
        await queue.mail_save(message())
    assert commits.durable == [True] * 3


async def test_a_batch_is_bounded_in_number_and_in_octets(
    queue: SQLiteStorage, commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "_FEWEST", 256)  # whatever a sync takes here
    commits.open.clear()
    first = asyncio.create_task(queue.mail_save(message()))
    await commits.hold()
    large = [asyncio.create_task(queue.mail_save(message(bytes(10_000_000)))) for _ in range(4)]
    small = [asyncio.create_task(queue.mail_save(message())) for _ in range(300)]
    await asyncio.sleep(0)
    commits.open.set()
    await asyncio.gather(first, *large, *small)
    assert len(commits.durable) == 1 + 2 + 2


async def test_neither_a_claim_nor_what_became_of_it_waits_for_a_sync(
    queue: SQLiteStorage, commits: Commits, clock: Clock
) -> None:
    await saved(queue)
    commits.durable.clear()
    (claimed,) = await queue.claim(clock.now, LEASE, 10)
    await queue.renew([claimed], clock.now + LEASE)
    assert commits.durable == [False, False]
    await queue.settle([done(claimed)])
    assert commits.durable == [False, False, False]


async def test_what_became_of_a_claim_is_synced_soon_after(
    queue: SQLiteStorage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = asyncio.Event()
    loop, real = asyncio.get_running_loop(), Database.sync

    def sync(db: Database) -> None:
        real(db)
        loop.call_soon_threadsafe(synced.set)

    monkeypatch.setattr(Database, "sync", sync)
    await saved(queue)
    (claimed,) = await queue.claim(clock.now, LEASE, 10)
    assert not synced.is_set()
    await queue.settle([done(claimed)])
    await synced.wait()


async def test_what_is_settled_just_before_a_sync_is_synced_with_it(
    queue: SQLiteStorage, commits: Commits, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsynced: list[bool] = []
    synced = asyncio.Event()
    loop = asyncio.get_running_loop()

    def sync(db: Database) -> None:
        (waiting,) = db.execute("SELECT count(*) FROM recipient WHERE state = 'queued'").fetchone()
        unsynced.append(waiting > 0)
        loop.call_soon_threadsafe(synced.set)

    monkeypatch.setattr(Database, "sync", sync)
    await saved(queue, "joe@example.org", "ann@example.org")
    first, second = await queue.claim(clock.now, LEASE, 10)
    await queue.settle([done(first)])
    # The timer of the results is longer than what is left of that of the sync.
    monkeypatch.setattr("smtpx.batches._PATIENCE", 5.0)
    settling = asyncio.create_task(queue.settle([done(second)]))
    await synced.wait()
    await settling
    assert unsynced == [False]


async def test_h91_after_that_sync_has_failed_the_file_is_opened_anew(
    queue: SQLiteStorage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = await saved(queue)
    (claimed,) = await queue.claim(clock.now, LEASE, 10)
    closed = asyncio.Event()
    loop, real = asyncio.get_running_loop(), Database.close

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    def close(db: Database) -> None:
        real(db)
        loop.call_soon_threadsafe(closed.set)

    with monkeypatch.context() as failing:
        failing.setattr("smtpx.storage.sqlite_file.os.fsync", fail)
        failing.setattr(Database, "close", close)
        await queue.settle([done(claimed)])
        await closed.wait()
    assert await states(queue, mail) == {"joe@example.org": State.DELIVERED}
    await queue.mail_save(message())


class Hands:
    """Takes what it is given, while it is open."""

    def __init__(self, until: datetime) -> None:
        self.until: datetime | None = until
        self.taken: list[tuple[MailTx, Sequence[Delivery]]] = []
        self.wanted = asyncio.Event()

    def wants(self, destinations: Collection[str]) -> datetime | None:
        self.wanted.set()
        return self.until

    def take(self, mail: MailTx, claimed: Sequence[Delivery]) -> None:
        self.taken.append((mail, claimed))


async def test_a_new_message_is_handed_over_as_it_was_saved_and_claimed(
    queue: SQLiteStorage, commits: Commits, clock: Clock
) -> None:
    hands = Hands(clock.now + LEASE)
    queue.hand_over(hands)
    mail = await saved(queue, "joe@example.org", "ann@example.net")
    ((taken, claimed),) = hands.taken
    assert commits.durable == [True]
    assert list(claimed) == await queue.deliveries(mail_id=mail.id)
    loaded = await queue.mail_load(mail.id)
    mail.recipients.clear()
    assert (taken.id, taken.recipients, taken.data) == (mail.id, loaded.recipients, loaded.data)
    assert await queue.claim(clock.now, LEASE, 10) == []
    assert await queue.settle([done(each) for each in claimed]) == []


async def test_what_is_not_wanted_or_not_due_is_not_handed_over(queue: SQLiteStorage, clock: Clock) -> None:
    hands = Hands(clock.now + LEASE)
    end = queue.hand_over(hands)
    await saved(queue, postpone=clock.now + MINUTE)
    hands.until = None
    await saved(queue)
    hands.until = clock.now + LEASE
    end()
    await saved(queue)
    assert hands.taken == []
    assert len(await queue.claim(clock.now, LEASE, 10)) == 2


@pytest.mark.parametrize("how", ["cancelled", "ended"])
async def test_what_is_claimed_for_a_taker_that_cannot_have_it_comes_free(
    queue: SQLiteStorage, commits: Commits, clock: Clock, how: str
) -> None:
    hands = Hands(clock.now + LEASE)
    end = queue.hand_over(hands)
    commits.open.clear()
    saving = asyncio.create_task(queue.mail_save(message()))
    await commits.hold()
    if how == "cancelled":
        saving.cancel()
    else:
        end()
    commits.open.set()
    await asyncio.wait([saving])
    assert hands.taken == []
    await queue.stats(clock.now)
    assert len(await queue.claim(clock.now, LEASE, 10)) == 1


async def test_what_is_cancelled_before_its_claim_is_made_comes_free(
    queue: SQLiteStorage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.hand_over(Hands(clock.now + LEASE))
    reached, cancelled, real = threading.Event(), threading.Event(), Database.begin

    def begin(db: Database, *, durable: bool, single: bool = False) -> None:  # waits for another process, say
        reached.set()
        assert cancelled.wait(30)
        real(db, durable=durable, single=single)

    monkeypatch.setattr(Database, "begin", begin)
    saving = asyncio.create_task(queue.mail_save(message()))
    assert await asyncio.to_thread(reached.wait, 30)
    saving.cancel()
    await asyncio.wait([saving])
    cancelled.set()
    assert len(await queue.claim(clock.now, LEASE, 10)) == 1


async def test_what_a_process_that_died_was_handed_comes_free(tmp_path: Path, clock: Clock) -> None:
    first = SQLiteStorage(tmp_path / "queue.db", reserve=0, clock=clock)
    async with SQLiteStorage(tmp_path / "queue.db", reserve=0, clock=clock) as second:
        async with first:
            first.hand_over(Hands(clock.now + LEASE))
            await saved(first)
            assert await second.claim(clock.now, LEASE, 10) == []
        assert len(await second.claim(clock.now, LEASE, 10)) == 1


async def test_one_that_cannot_be_saved_fails_none_of_its_batch(
    queue: SQLiteStorage, commits: Commits
) -> None:
    commits.open.clear()
    first = asyncio.create_task(queue.mail_save(message()))
    await commits.hold()
    unwritable = MailTx("a@b.org", ["joe@example.org"], b"x", retry=1 << 70)
    batch = [message(name="1"), unwritable, message(name="2")]
    saves = [asyncio.create_task(queue.mail_save(mail)) for mail in batch]
    missing = asyncio.create_task(queue.mail_delete("none"))
    await asyncio.sleep(0)
    commits.open.set()
    results = await asyncio.gather(first, *saves, missing, return_exceptions=True)
    assert [type(result) for result in results] == [
        type(None),
        type(None),
        OverflowError,
        type(None),
        MailNotFound,
    ]
    assert {"1", "2"} < {mail.id for mail in await queue.mail_load_all()}
    assert (await queue.audit()).faults == []


async def test_h91_a_commit_that_fails_is_451_to_all_of_its_batch_and_the_file_is_opened_and_checked_anew(
    queue: SQLiteStorage, commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
    checks: list[Database] = []
    monkeypatch.setattr(Database, "_check", lambda database: checks.append(database))
    commits.failures = [None, failure]
    commits.open.clear()
    first = asyncio.create_task(queue.mail_save(message(name="1")))
    await commits.hold()
    saves = [asyncio.create_task(queue.mail_save(message())) for _ in range(3)]
    await asyncio.sleep(0)
    commits.open.set()
    await first
    results = await asyncio.gather(*saves, return_exceptions=True)
    assert [getattr(result, "code", None) for result in results] == [451, 451, 451]
    assert checks == []
    await queue.mail_save(message(name="2"))
    assert len(checks) == 1
    assert [mail.id for mail in await queue.mail_load_all()] == ["1", "2"]
    assert (await queue.audit()).faults == []


async def test_a_save_cancelled_before_it_begins_is_not_done_and_one_in_the_middle_is_finished(
    queue: SQLiteStorage, commits: Commits
) -> None:
    commits.open.clear()
    begun = asyncio.create_task(queue.mail_save(mail := message(name="1")))
    await commits.hold()
    waiting = asyncio.create_task(queue.mail_save(message(name="2")))
    await asyncio.sleep(0)
    waiting.cancel()
    begun.cancel()
    await asyncio.gather(begun, waiting, return_exceptions=True)
    mail.reset()  # what the caller does with its message then does not tear it
    commits.open.set()
    await queue.open()  # a job of the thread that writes, behind what it has begun
    assert await queue.mail_load_all() == [message(name="1")]


async def test_the_loop_runs_while_the_disk_is_slow(queue: SQLiteStorage, commits: Commits) -> None:
    commits.open.clear()
    save = asyncio.create_task(queue.mail_save(message()))
    await commits.hold()  # the loop waits for this, so it runs; the save cannot be done
    assert not save.done()
    commits.open.set()
    await save


async def test_the_content_is_kept_once_however_many_recipients(queue: SQLiteStorage, tmp_path: Path) -> None:
    await saved(queue, *[f"u{number}@example.org" for number in range(500)], content=bytes(1_000_000))
    await queue.close()
    assert (tmp_path / "queue.db").stat().st_size < 1_500_000


# Room


async def test_h92_under_the_reserve_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=100_000)
    monkeypatch.setattr("smtpx.storage.spool.shutil.disk_usage", lambda _: usage)
    async with SQLiteStorage(tmp_path / "queue.db", reserve=90_000) as queue:
        assert queue.has_room(10_000)
        assert not queue.has_room(10_001)
        with pytest.raises(StorageFull) as caught:
            await queue.mail_save(message(b"x" * 10_001))
        assert (caught.value.code, caught.value.enhanced) == (452, "4.3.1")
        assert await queue.mail_load_all() == []
        await queue.mail_save(message(b"x" * 100))


async def test_h92_those_of_a_batch_for_which_there_is_room_are_saved(
    queue: SQLiteStorage, commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smtpx.storage.spool.shutil.disk_usage", lambda _: SimpleNamespace(free=100_000))
    commits.open.clear()
    first = asyncio.create_task(queue.mail_save(message()))
    await commits.hold()
    saves = [asyncio.create_task(queue.mail_save(message(b"x" * size))) for size in (60_000, 60_000, 10_000)]
    await asyncio.sleep(0)
    commits.open.set()
    results = await asyncio.gather(first, *saves, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), type(None), StorageFull, type(None)]


async def test_pages_that_are_free_within_the_file_are_room(
    queue: SQLiteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue.mail_save(message(bytes(1_000_000), "1"))
    await queue.mail_delete("1")
    await queue.close()
    await queue.open()  # brings it home, so that the file has those pages
    monkeypatch.setattr("smtpx.storage.spool.shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    await queue.mail_save(message(bytes(900_000)))
    with pytest.raises(StorageFull):
        await queue.mail_save(message(bytes(900_000)))


async def test_h99_what_the_log_holds_is_room_that_its_checkpoint_will_take(
    queue: SQLiteStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(_: object) -> SimpleNamespace:
        return SimpleNamespace(free=10_000_000 - sum(path.stat().st_size for path in tmp_path.iterdir()))

    monkeypatch.setattr("smtpx.storage.spool.shutil.disk_usage", usage)
    queue.reserve = 2_000_000
    with contextlib.suppress(StorageFull):
        while usage(0).free > 1_000_000:
            await queue.mail_save(message(bytes(100_000)))
    with contextlib.closing(apsw.Connection(str(queue.path))) as other:
        other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        assert usage(0).free >= queue.reserve - 250_000  # the last one came just so


# What is old


async def test_the_ledger_forgets_a_message_so_long_after_its_end(
    queue: SQLiteStorage, tmp_path: Path, clock: Clock
) -> None:
    waits, removed, bounced = [await saved(queue) for _ in range(3)]
    await queue.mail_delete(removed.id)
    await queue.mail_bounce(bounced.id)
    with contextlib.closing(Database(tmp_path / "queue.db")) as db:
        assert not purge(db, micros(clock.now))
        assert len(await queue.deliveries()) == 3
        assert not purge(db, micros(clock.now + timedelta(seconds=1)))
    assert [each.mail_id for each in await queue.deliveries()] == [waits.id]
    assert (await queue.audit()).faults == []


async def test_a_message_that_is_said_to_have_ended_while_its_recipient_waits_is_kept_for_the_audit_to_name(
    queue: SQLiteStorage, tmp_path: Path, clock: Clock
) -> None:
    waits = await saved(queue)
    with contextlib.closing(Database(tmp_path / "queue.db")) as db:
        db.begin(durable=True)
        db.execute("UPDATE message SET finished = 1")
        db.commit()
        assert not purge(db, micros(clock.now))
    (fault,) = (await queue.audit()).faults
    assert waits.id in fault


async def test_what_is_old_goes_in_small_steps(queue: SQLiteStorage, tmp_path: Path, clock: Clock) -> None:
    await asyncio.gather(*(saved(queue) for _ in range(120)))
    await queue.change(State.REMOVED, None)
    with contextlib.closing(Database(tmp_path / "queue.db")) as db:
        steps = [purge(db, micros(clock.now) + 1) for _ in range(4)]
    assert steps == [True, True, False, False]
    assert await queue.deliveries() == []


async def test_it_looks_for_what_is_old_when_it_has_opened_and_nobody_waits(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: queues.SimpleQueue[int] = queues.SimpleQueue()
    monkeypatch.setattr(sqlite_writer, "purge", lambda _, before: looked.put(before))
    async with SQLiteStorage(tmp_path / "queue.db", keep=timedelta(days=7), clock=clock):
        before = await asyncio.to_thread(looked.get, timeout=30)
    assert before == micros(clock.now - timedelta(days=7))


async def test_the_file_shrinks_when_much_of_it_is_free(
    queue: SQLiteStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_rest, "_SPARE", 1_000_000)
    path = tmp_path / "queue.db"
    gone = [await saved(queue, content=bytes(2_000_000)) for _ in range(5)]
    kept = await saved(queue)
    await queue.close()
    assert path.stat().st_size > 8_000_000
    await queue.open()
    await queue.change(State.REMOVED, [mail.id for mail in gone])
    await queue.close()
    with contextlib.closing(Database(path)) as db:
        while sqlite_rest.shrink(db):
            pass
    assert path.stat().st_size < 2_000_000
    await queue.open()
    assert [mail.id for mail in await queue.mail_load_all()] == [kept.id]
    assert (await queue.audit()).faults == []
