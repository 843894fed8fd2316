"""The queue's life: its start and end, its leases, storages that fail, and clocks that leap."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from smtpx import ConfigurationError, MailTx, Queue, Schedule, State, StorageError

from tests.memory_storage import MemoryStorage
from tests.queueing import ACCEPTED, TEMPORARY, FakeTransport, Site, settled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpx import RecipientResult

YEAR = timedelta(days=365)


@pytest.fixture
def site() -> Site:
    return Site()


class FailingStorage(MemoryStorage):
    """Fails in the calls that are named, again and again or so many times."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.disk)
        self.failing: dict[str, float] = {}

    async def _asked(self, what: str) -> None:
        await super()._asked(what)
        if self.failing.get(what, 0) > 0:
            self.failing[what] -= 1
            raise StorageError("the disk is on fire")


@pytest.fixture
def failing(site: Site) -> FailingStorage:
    storage = FailingStorage(site)
    site.storage = storage
    return storage


# Its end


async def test_a_stop_lets_the_attempts_under_way_finish(site: Site) -> None:
    gate = site.transport.gate("example.org")
    queue = site.queue()
    await queue.start()
    await site.save("joe@example.org")
    stopping = asyncio.ensure_future(queue.stop(30))
    await settled()
    assert not stopping.done()
    gate.set()
    await stopping
    assert site.states() == {"joe@example.org": State.DELIVERED}


async def test_a_stop_cancels_after_its_grace_and_gives_back_what_is_not_done(site: Site) -> None:
    site.transport.gate("example.org")
    queue = site.queue()
    await queue.start()
    await site.save("joe@example.org")
    stopping = asyncio.ensure_future(queue.stop(30))
    await site.clock.advance(seconds=29)
    assert not stopping.done()
    await site.clock.advance(seconds=1)
    await stopping
    record = site.record("joe@example.org")
    assert (record.state, record.attempts, record.next_attempt) == (State.QUEUED, 0, site.clock.now())
    assert site.transport.running["example.org"] == 0


async def test_a_stop_takes_nothing_new_and_gives_back_what_has_not_begun(site: Site) -> None:
    gate = site.transport.gate("example.org")
    queue = site.queue(concurrency=1)
    await queue.start()
    await site.save("joe@example.org")
    await site.save("ann@example.org")
    stopping = asyncio.ensure_future(queue.stop(30))
    await site.save("max@example.org")
    gate.set()
    await stopping
    assert site.transport.tried == ["joe@example.org"]
    assert [site.record(name).state for name in ("ann@example.org", "max@example.org")] == [State.QUEUED] * 2
    async with site.running():
        assert set(site.states().values()) == {State.DELIVERED}


async def test_a_stop_does_not_cancel_a_report_and_so_no_delivery_is_made_twice(site: Site) -> None:
    reporting = asyncio.Event()

    async def tell(mail: MailTx, outcomes: Mapping[str, RecipientResult]) -> None:
        await reporting.wait()
        site.tell(mail, outcomes)

    queue = site.queue(on_outcomes=tell)
    await queue.start()
    await site.save("joe@example.org", rcpt_params=[{"NOTIFY": "SUCCESS"}])
    stopping = asyncio.ensure_future(queue.stop(0))
    await settled()
    reporting.set()
    await stopping
    assert site.states() == {"joe@example.org": State.DELIVERED}
    assert len(site.told) == 1


async def test_a_stopped_queue_watches_no_longer_and_may_be_started_again(site: Site) -> None:
    queue = site.queue()
    for name in ("joe@example.org", "ann@example.org"):
        async with queue:
            await site.save(name)
        assert site.disk.watchers == []
    assert set(site.states().values()) == {State.DELIVERED}


async def test_to_stop_a_queue_that_does_not_run_is_nothing(site: Site) -> None:
    queue = site.queue()
    await queue.stop()
    await queue.start()
    await queue.stop(0)
    await queue.stop(0)


async def test_a_stop_ends_though_the_storage_fails(site: Site, failing: FailingStorage) -> None:
    queue = site.queue()
    await queue.start()
    failing.failing["settle"] = float("inf")
    await site.save("joe@example.org")
    await queue.stop(0)
    assert site.record("joe@example.org").state is State.QUEUED


# Leases


async def test_a_lease_is_renewed_for_as_long_as_an_attempt_takes(site: Site) -> None:
    gate = site.transport.gate("example.org")
    async with site.running():
        await site.save("joe@example.org")
        other = MemoryStorage(site.disk)
        for _ in range(10):
            await site.clock.advance(minutes=2)
            assert await other.claim(site.clock.now(), timedelta(minutes=5), 10) == []
        gate.set()
        await settled()
        assert site.states() == {"joe@example.org": State.DELIVERED}


async def test_what_died_with_its_lease_is_tried_by_another(site: Site) -> None:
    await site.save("joe@example.org")
    dead = MemoryStorage(site.disk)
    await dead.claim(site.clock.now(), timedelta(minutes=5), 10)
    async with site.running():
        assert site.transport.tried == []
        dead.close()
        await settled()
        assert site.transport.tried == ["joe@example.org"]


async def test_a_lease_that_nobody_renews_ends(site: Site) -> None:
    await site.save("joe@example.org")
    await MemoryStorage(site.disk).claim(site.clock.now(), timedelta(minutes=5), 10)
    async with site.running():
        await site.clock.advance(minutes=4)
        assert site.transport.tried == []
        await site.clock.advance(minutes=1)
        assert site.transport.tried == ["joe@example.org"]


async def test_a_claim_that_its_process_died_with_before_it_said_a_word_ends_too(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running():
        monkeypatch.setattr(site.disk, "tell", lambda: None)
        await site.save("joe@example.org")
        await MemoryStorage(site.disk).claim(site.clock.now(), timedelta(minutes=5), 10)
        await site.clock.advance(minutes=10)
        assert site.transport.tried == ["joe@example.org"]


async def test_the_result_of_a_lost_lease_is_logged_and_not_written(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    gate = site.transport.gate("example.org")
    async with site.running():
        await site.save("joe@example.org")
        await MemoryStorage(site.disk).claim(site.clock.now() + YEAR, timedelta(minutes=5), 10)
        gate.set()
        await settled()
        assert site.record("joe@example.org").state is State.QUEUED
    assert "result not written" in caplog.text


async def test_what_an_operator_removed_stays_removed(site: Site) -> None:
    gate = site.transport.gate("example.org")
    async with site.running():
        await site.save("joe@example.org")
        await site.storage.change(State.REMOVED, None)
        gate.set()
        await settled()
        assert site.states() == {"joe@example.org": State.REMOVED}


async def test_what_an_operator_holds_is_not_tried_until_it_is_released(site: Site) -> None:
    site.transport.answers["joe@example.org"] = TEMPORARY
    gate = site.transport.gate("example.org")
    async with site.running():
        await site.save("joe@example.org")
        await site.storage.change(State.HELD, None)
        gate.set()
        await site.clock.advance(days=1)
        assert len(site.transport.tried) == 1
        assert site.record("joe@example.org").state is State.HELD
        await site.storage.change(State.QUEUED, None)
        await settled()
        assert len(site.transport.tried) == 2


async def test_what_is_claimed_again_while_it_is_under_way_goes_on_and_is_written(
    site: Site, failing: FailingStorage
) -> None:
    gate = site.transport.gate("example.org")
    async with site.running():
        await site.save("joe@example.org")
        failing.failing["renew"] = float("inf")
        await site.clock.advance(minutes=7)
        assert site.record("joe@example.org").token == 2
        gate.set()
        await settled()
        assert site.transport.tried == ["joe@example.org"]
        assert site.states() == {"joe@example.org": State.DELIVERED}


# Storages that fail


@pytest.mark.parametrize("call", ["claim", "next_due", "settle", "renew"])
async def test_a_storage_that_fails_is_asked_again_and_not_without_end(
    site: Site, failing: FailingStorage, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = site.transport.gate("example.org")
    async with site.running():
        failing.calls.clear()
        failing.failing[call] = 5
        await site.save("joe@example.org")
        await site.clock.advance(minutes=9)
        assert failing.calls[call] <= 15
        gate.set()
        await site.clock.advance(minutes=2)
        assert failing.failing[call] == 0
        assert site.states() == {"joe@example.org": State.DELIVERED}
        assert site.transport.tried == ["joe@example.org"]
    assert "the disk is on fire" in caplog.text
    assert "Traceback" not in caplog.text  # it says what it is; the code is not at fault


async def test_results_that_cannot_be_written_stop_the_claiming(site: Site, failing: FailingStorage) -> None:
    failing.failing["settle"] = float("inf")
    async with site.running(concurrency=5):
        await site.fill(100, lambda number: f"{number}@example.org")
        await site.clock.advance(minutes=2)
        assert len(site.transport.tried) <= 30
        failing.failing["settle"] = 0
        await site.clock.advance(minutes=1)
        assert Counter(site.states().values()) == {State.DELIVERED: 100}
        assert len(site.transport.tried) == 100


async def test_a_queue_on_a_storage_that_cannot_be_read_does_not_start(
    site: Site, failing: FailingStorage
) -> None:
    failing.failing["bring_forward"] = 1
    with pytest.raises(StorageError):
        await site.queue().start()


async def test_h95_a_message_that_cannot_be_read_is_kept_and_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    async with site.running():
        site.transport.answers["ann@example.org"] = TEMPORARY
        await site.save("ann@example.org")
        site.disk.mails.clear()  # the content is gone
        await site.clock.advance(days=6)
        record = site.record("ann@example.org")
        assert record.state is State.QUEUED
        assert record.reply == "451 4.3.0 The message cannot be read here"
        assert site.waits("ann@example.org") <= timedelta(hours=4.4)
        assert site.told == []
    assert "message cannot be read, and is kept: " in caplog.text
    assert "Traceback" not in caplog.text


# Another schedule, another bound


async def test_another_schedule_holds_for_what_waits_and_for_what_fails_from_now_on(site: Site) -> None:
    site.transport.answers["joe@example.org"] = TEMPORARY
    async with site.running(schedule=Schedule(gaps=(7200,), jitter=0)) as queue:
        await site.save("joe@example.org")
        queue.follow(Schedule(gaps=(60,), jitter=0), 100)
        await settled()
        assert site.waits("joe@example.org") == timedelta(minutes=1)
        await site.clock.advance(minutes=1)
        assert len(site.transport.tried) == 2
        assert site.waits("joe@example.org") == timedelta(minutes=1)


async def test_a_storage_that_fails_at_a_change_of_the_schedule_is_asked_again(
    site: Site, failing: FailingStorage
) -> None:
    site.transport.answers["joe@example.org"] = TEMPORARY
    async with site.running(schedule=Schedule(gaps=(7200,), jitter=0)) as queue:
        await site.save("joe@example.org")
        failing.failing["bring_forward"] = 1
        queue.follow(Schedule(gaps=(60,), jitter=0), 100)
        await site.clock.advance(minutes=2)
        assert len(site.transport.tried) > 1


async def test_a_higher_bound_holds_at_once_and_a_lower_one_for_what_begins(site: Site) -> None:
    gate = site.transport.gate("example.org")
    async with site.running(concurrency=2) as queue:
        await site.fill(4, lambda number: f"{number}@example.org")
        await settled()
        assert site.transport.running["example.org"] == 2
        queue.follow(Schedule(), 5)  # of what is claimed already
        await settled()
        assert site.transport.running["example.org"] == 4
        await site.fill(20, lambda number: f"other{number}@example.org")
        await settled()
        assert site.transport.running["example.org"] == 5
        queue.follow(Schedule(), 1)
        gate.set()
        await site.clock.advance(seconds=1)
        assert site.transport.most["example.org"] == 5
        assert set(site.states().values()) == {State.DELIVERED}
        site.transport.most.clear()
        await site.fill(20, lambda number: f"more{number}@example.org")
        await settled()
        assert site.transport.most["example.org"] == 1


@pytest.mark.parametrize("running", [False, True])
async def test_a_bound_of_none_is_refused(site: Site, running: bool) -> None:
    queue = site.queue()
    if running:
        await queue.start()
    with pytest.raises(ConfigurationError, match="concurrency"):
        queue.follow(Schedule(), 0)
    await queue.stop()


# Clocks that leap


async def test_h98_a_clock_set_a_year_ahead_makes_no_message_a_year_older(site: Site) -> None:
    site.transport.answers["joe@example.org"] = TEMPORARY
    async with site.running():
        await site.save("joe@example.org")
        await site.clock.advance(hours=3)
        site.clock.leap(days=365)
        await site.clock.advance(minutes=59)
        assert site.told == []
        await site.clock.advance(days=4, hours=20)
        assert site.record("joe@example.org").state is State.QUEUED
        assert len(site.told) == 1
        await site.clock.advance(hours=1)
        assert site.record("joe@example.org").state is State.BOUNCED


async def test_h98_an_attempt_that_fails_right_after_the_leap_knows_of_it(site: Site) -> None:
    site.transport.answers["joe@example.org"] = TEMPORARY
    async with site.running():
        await site.save("joe@example.org")
        await site.clock.advance(days=1)
        gate = site.transport.gate("example.org")
        await site.clock.advance(hours=5)
        site.clock.leap(days=365)
        gate.set()
        await settled()
        assert site.record("joe@example.org").state is State.QUEUED


async def test_h98_a_queue_that_starts_with_a_clock_a_year_ahead_bounces_nothing_at_once(site: Site) -> None:
    site.transport.answers["joe@example.org"] = TEMPORARY
    await site.save("joe@example.org")
    site.clock.leap(days=365)
    async with site.running():
        await site.clock.advance(hours=7)
        assert site.record("joe@example.org").state is State.QUEUED


async def test_h98_a_clock_set_back_a_year_stalls_nothing(site: Site) -> None:
    site.transport.answers["joe@example.org"] = TEMPORARY
    async with site.running():
        await site.save("joe@example.org")
        await site.clock.advance(hours=5)
        site.clock.leap(days=-365)
        del site.transport.answers["joe@example.org"]
        await site.clock.advance(hours=9)
        assert site.states() == {"joe@example.org": State.DELIVERED}


async def test_h98_new_mail_is_delivered_at_once_whatever_the_clock_did(site: Site) -> None:
    async with site.running():
        for leap in (-365, 800, -1, 1):
            site.clock.leap(days=leap)
            mail = await site.save(f"{leap}@example.org")
            assert site.record(mail.recipients[0]).state is State.DELIVERED


async def test_h98_what_a_clock_far_ahead_has_postponed_is_brought_forward_at_the_start(site: Site) -> None:
    site.transport.answers["joe@example.org"] = TEMPORARY
    site.clock.leap(days=365)
    async with site.running():
        await site.save("joe@example.org")
    site.clock.leap(days=-365)
    site.transport.answers.clear()
    async with site.running():
        await site.clock.advance(hours=5)
        assert site.states() == {"joe@example.org": State.DELIVERED}


async def test_h98_an_attempt_under_way_outlives_a_leap_and_is_not_made_twice(site: Site) -> None:
    gate = site.transport.gate("example.org")
    async with site.running():
        await site.save("joe@example.org")
        site.clock.leap(days=1)  # our lease looks as if it had ended
        await site.save("ann@example.org")
        gate.set()
        await settled()
        assert sorted(site.transport.tried) == ["ann@example.org", "joe@example.org"]
        assert set(site.states().values()) == {State.DELIVERED}


async def test_h98_leases_hold_after_a_leap_of_the_clock(site: Site) -> None:
    gate = site.transport.gate("example.org")
    async with site.running():
        await site.save("joe@example.org")
        await site.clock.advance(minutes=1)
        site.clock.leap(hours=-1)
        await site.clock.advance(minutes=10)
        site.clock.leap(hours=2)
        await site.clock.advance(minutes=2)
        other = MemoryStorage(site.disk)
        assert await other.claim(site.clock.now(), timedelta(minutes=5), 10) == []
        gate.set()
        await settled()
        assert site.transport.tried == ["joe@example.org"]


async def test_a_steered_clock_has_not_leapt(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    async with site.running():
        for number in range(100):
            site.clock.leap(seconds=0.5)
            await site.save(f"{number}@example.org")
    assert "leapt" not in caplog.text


# The clock that is not a test's


async def test_the_systems_clock_wakes_a_waiting_queue(site: Site) -> None:
    transport = FakeTransport()
    answers: list[Any] = [TEMPORARY, ACCEPTED]
    delivered = asyncio.Event()

    def results(mail: MailTx, deliveries: Any) -> dict[str, RecipientResult]:
        answer = answers.pop(0)
        if answer is ACCEPTED:
            delivered.set()
        return {one.recipient: answer for one in deliveries}

    transport.results = results  # type: ignore[method-assign]
    storage = MemoryStorage()
    async with Queue(storage, transport, schedule=Schedule(gaps=(0.01,))):
        await storage.mail_save(MailTx("", ["joe@example.org"], b"x"))
        async with asyncio.timeout(30):
            await delivered.wait()
    assert [record.state for record in storage.disk.all()] == [State.DELIVERED]
