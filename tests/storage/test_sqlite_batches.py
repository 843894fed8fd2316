"""SQLiteStorage: what one statement writes, how much is in a batch, and when the disk is asked for room."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from smtpx import MailTx, SQLiteStorage, State
from smtpx.storage.sqlite_file import Database

from tests.queue_storages import LEASE, MINUTE, Clock, again, done, saved, states
from tests.storage.disk import POSIX, message

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from smtpx import Delivery
    from smtpx.storage.sqlite_file import Row

    from tests.storage.commits import Commits

pytestmark = POSIX


@pytest.fixture
def promptly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results do not wait for others."""
    monkeypatch.setattr("smtpx.batches._PATIENCE", 0.0)


async def settled_with(
    queue: SQLiteStorage, commits: Commits, settled: list[Delivery], *mails: MailTx
) -> list[list[Delivery] | BaseException | None]:
    """Settle and save in one batch."""
    commits.open.clear()
    commits.reached.clear()
    first = asyncio.create_task(queue.mail_save(message()))
    await commits.hold()
    commits.durable.clear()
    settling = asyncio.create_task(queue.settle(settled))
    saving = [asyncio.create_task(queue.mail_save(mail)) for mail in mails]
    await asyncio.sleep(0.05)  # the timer of the results has gone off
    commits.open.set()
    await first
    return await asyncio.gather(settling, *saving, return_exceptions=True)


@pytest.mark.usefixtures("promptly")
async def test_what_became_of_claims_is_in_one_durable_commit_with_what_is_saved(
    queue: SQLiteStorage, commits: Commits, clock: Clock
) -> None:
    mail = await saved(queue, "joe@example.org", "ann@example.net")
    claimed = await queue.claim(clock.now, LEASE, 10)
    results = [done(claimed[0]), again(claimed[1], clock.now + MINUTE)]
    new = message()
    assert await settled_with(queue, commits, results, new) == [[], None]
    assert commits.durable == [True]
    assert set((await states(queue, mail)).values()) == {State.DELIVERED, State.QUEUED}
    assert (await queue.mail_load(new.id)).data == new.data
    assert (await queue.audit()).faults == []


@pytest.mark.usefixtures("promptly")
async def test_what_cannot_be_settled_is_told_though_all_else_is_written(
    queue: SQLiteStorage, commits: Commits, clock: Clock
) -> None:
    lost, kept = await saved(queue), await saved(queue)
    claimed = await queue.claim(clock.now, LEASE, 10)
    stale, good = (
        next(each for each in claimed if each.mail_id == lost.id),
        next(each for each in claimed if each.mail_id == kept.id),
    )
    (newer,) = await queue.claim(clock.go_on(2 * LEASE), LEASE, 1)
    assert newer.mail_id == stale.mail_id
    assert await settled_with(queue, commits, [done(stale), done(good)], message()) == [[done(stale)], None]
    assert await states(queue, lost) == {"joe@example.org": State.QUEUED}
    assert await states(queue, kept) == {"joe@example.org": State.DELIVERED}


@pytest.mark.usefixtures("promptly")
async def test_a_message_that_is_there_already_undoes_nothing_of_its_batch(
    queue: SQLiteStorage, commits: Commits, clock: Clock
) -> None:
    mail = await saved(queue)
    claimed = await queue.claim(clock.now, LEASE, 10)
    twice = message(b"first", "twice")
    await queue.mail_save(twice)
    new = message()
    results = await settled_with(queue, commits, [done(claimed[0])], message(b"second", "twice"), new)
    assert results == [[], None, None]
    assert await states(queue, mail) == {"joe@example.org": State.DELIVERED}
    assert (await queue.mail_load("twice")).data == b"second"
    assert (await queue.mail_load(new.id)).data == new.data
    assert (await queue.audit()).faults == []


@pytest.mark.usefixtures("promptly")
async def test_a_result_that_cannot_be_written_fails_nothing_else_of_its_batch(
    queue: SQLiteStorage, commits: Commits, clock: Clock
) -> None:
    await saved(queue)
    (claimed,) = await queue.claim(clock.now, LEASE, 10)
    new = message()
    wrong = again(claimed, clock.now.replace(tzinfo=None))
    failure, saving = await settled_with(queue, commits, [wrong], new)
    assert isinstance(failure, TypeError)
    assert saving is None
    assert (await queue.mail_load(new.id)).data == new.data
    assert await queue.settle([done(claimed)]) == []


async def test_thousands_of_results_are_one_statement(
    queue: SQLiteStorage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    real = Database.write

    def write(db: Database, rows: Sequence[Row], octets: int = 0) -> list[int]:
        written.append(len(rows))
        return real(db, rows, octets)

    await saved(queue, *(f"u{number}@example.org" for number in range(5000)))
    claimed = await queue.claim(clock.now, LEASE, 10_000)
    monkeypatch.setattr(Database, "write", write)
    assert await queue.settle([done(each) for each in claimed]) == []
    assert written == [1]
    assert (await queue.stats(clock.now)).messages == 0


async def test_what_is_settled_twice_counts_once(queue: SQLiteStorage, clock: Clock) -> None:
    mail = await saved(queue, "joe@example.org", "ann@example.org")
    first, second = await queue.claim(clock.now, LEASE, 10)
    assert await queue.settle([done(first), done(first)]) == [done(first)]
    assert await queue.settle([done(first)]) == [done(first)]
    assert (await queue.stats(clock.now)).messages == 1
    assert (await queue.mail_load(mail.id)).recipients == mail.recipients
    await queue.settle([done(second)])
    assert (await queue.stats(clock.now)).messages == 0
    assert (await queue.audit()).faults == []


# How much


@pytest.mark.parametrize(
    ("took", "jobs"),
    [((0.0,), 32), ((0.004,), 191), ((1.0,), 256), ((0.004,) * 50, 191), ((0.0,) + (0.004,) * 50, 191)],
    ids=["at once", "4 ms", "1 s", "4 ms each time", "slow only then"],
)
async def test_a_batch_has_as_many_jobs_as_make_good_for_a_sync(
    queue: SQLiteStorage, monkeypatch: pytest.MonkeyPatch, took: tuple[float, ...], jobs: int
) -> None:
    now, coming = 0.0, iter(took)
    real = Database.commit

    def commit(db: Database, octets: int = 0) -> None:
        nonlocal now
        real(db, octets)
        now += next(coming)

    monkeypatch.setattr(Database, "commit", commit)
    monkeypatch.setattr("smtpx.storage.sqlite_writer.monotonic", lambda: now)
    for _ in took:
        await queue.mail_save(message())
    assert queue._writer.batches.limit == pytest.approx(jobs, abs=1)


async def test_what_is_settled_does_not_count_as_the_time_of_a_sync(
    queue: SQLiteStorage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await saved(queue)
    claimed = await queue.claim(clock.now, LEASE, 10)
    limit = queue._writer.batches.limit
    monkeypatch.setattr("smtpx.storage.sqlite_writer.monotonic", iter(range(1000)).__next__)
    await queue.settle([done(each) for each in claimed])
    assert queue._writer.batches.limit == limit


# Room


async def test_a_disk_with_much_room_is_asked_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def usage(_: object) -> SimpleNamespace:
        nonlocal asked
        asked += 1
        return SimpleNamespace(free=1 << 40)

    monkeypatch.setattr("smtpx.storage.spool.shutil.disk_usage", usage)
    monkeypatch.setattr("smtpx.storage.sqlite_writer._RECOUNT", 3600.0)
    async with SQLiteStorage(tmp_path / "queue.db") as queue:
        for _ in range(10):
            await queue.mail_save(message())
        assert asked == 1
        monkeypatch.setattr("smtpx.storage.sqlite_writer._RECOUNT", 0.0)
        await queue.mail_save(message())
        assert asked == 2


async def test_it_is_asked_again_after_what_could_matter_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=1 << 40)
    monkeypatch.setattr("smtpx.storage.spool.shutil.disk_usage", lambda _: usage)
    monkeypatch.setattr("smtpx.storage.sqlite_writer._RECOUNT", 3600.0)
    monkeypatch.setattr("smtpx.storage.sqlite_writer._AMPLE", 80_000)  # an eighth is 10,000
    async with SQLiteStorage(tmp_path / "queue.db", reserve=50_000) as queue:
        await queue.mail_save(message(bytes(6_000)))
        usage.free = 0
        await queue.mail_save(message(bytes(3_000)))
        with pytest.raises(OSError, match="less than 50000 octets would be left"):
            await queue.mail_save(message(bytes(8_000)))


async def test_results_are_written_though_the_disk_cannot_be_asked(
    queue: SQLiteStorage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = await saved(queue)
    claimed = await queue.claim(clock.now, LEASE, 10)

    def fail(_: object) -> SimpleNamespace:
        raise OSError("the network is away")

    monkeypatch.setattr("smtpx.storage.spool.shutil.disk_usage", fail)
    monkeypatch.setattr("smtpx.storage.sqlite_writer._RECOUNT", 0.0)
    assert await queue.settle([done(each) for each in claimed]) == []
    assert await states(queue, mail) == {"joe@example.org": State.DELIVERED}
