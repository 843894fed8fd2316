"""Claims that are made anew while their results are being written."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from smtpx import MailTx, State
from smtpx.claims import Claims, backoff

from tests.memory_storage import MemoryStorage
from tests.queueing import ManualClock, settled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from smtpx import Delivery

LEASE = timedelta(minutes=5)


class Gated(MemoryStorage):
    """Writes results at once, or only when let, and says so only when let."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = asyncio.Event(), asyncio.Event()

    async def settle(self, settled: Sequence[Delivery]) -> list[Delivery]:
        await self.before.wait()
        lost = await super().settle(settled)
        await self.after.wait()
        return lost


class Bench:
    """A storage with one message that is claimed."""

    def __init__(self) -> None:
        self.storage, self.clock = Gated(), ManualClock()
        self.storage.disk.now = self.clock.now
        self.seen: list[tuple[datetime | None, list[Delivery]]] = []
        self.claims = Claims(self.storage, self.clock, lambda due, again: self.seen.append((due, again)))

    async def claim(self) -> list[Delivery]:
        later = self.clock.now() + timedelta(days=1)
        return self.claims.take(await self.storage.claim(later, LEASE, 10))

    @property
    def record(self) -> Delivery:
        (record,) = self.storage.disk.all()
        return record


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    await bench.storage.mail_save(MailTx("", ["joe@example.org"], b"x"))
    running = asyncio.ensure_future(bench.claims.run())
    yield bench
    bench.storage.before.set()
    bench.storage.after.set()
    bench.claims.close()
    await running


async def test_a_result_that_is_written_under_a_lease_that_was_ours_twice_is_written(bench: Bench) -> None:
    (first,) = await bench.claim()
    bench.claims.settle(replace(first, state=State.DELIVERED))
    await settled()
    assert await bench.claim() == []  # the same again, while its result is on its way
    bench.storage.before.set()
    bench.storage.after.set()
    await settled()
    assert bench.record.state is State.DELIVERED
    assert len(bench.claims) == 0


async def test_what_is_claimed_anew_before_we_knew_that_it_is_settled_is_tried(bench: Bench) -> None:
    (first,) = await bench.claim()
    bench.claims.settle(replace(first, next_attempt=bench.clock.now(), attempts=1))
    bench.storage.before.set()
    await settled()
    assert await bench.claim() == []
    bench.storage.after.set()
    await settled()
    ((due, again),) = bench.seen
    assert due is None
    assert [(one.token, one.attempts) for one in again] == [(2, 1)]


@pytest.mark.parametrize("when", ["before its result", "while that is written"])
async def test_what_is_saved_again_during_its_attempt_is_tried_and_not_settled_by_that(
    bench: Bench, when: str
) -> None:
    (first,) = await bench.claim()
    delivered = replace(first, state=State.DELIVERED)
    if when != "before its result":
        bench.claims.settle(delivered)
        await settled()
    await bench.storage.mail_save(MailTx("", ["joe@example.org"], b"y", id=first.mail_id))
    assert await bench.claim() == []
    if when == "before its result":
        bench.claims.settle(delivered)
    bench.storage.before.set()
    bench.storage.after.set()
    await settled()
    assert bench.record.state is State.QUEUED
    ((_, again),) = bench.seen
    assert [one.token for one in again] == [bench.record.token]
    assert len(bench.claims) == bench.claims.under_way == 0


async def test_the_earliest_moment_of_what_was_written_is_told(bench: Bench) -> None:
    (first,) = await bench.claim()
    bench.storage.before.set()
    bench.storage.after.set()
    moment = bench.clock.now() + timedelta(minutes=1)
    bench.claims.settle(replace(first, next_attempt=moment))
    await settled()
    assert bench.seen == [(moment, [])]


@pytest.mark.parametrize("when", ["before that is written", "while it is"])
async def test_what_has_a_result_is_not_given_back(bench: Bench, when: str) -> None:
    (first,) = await bench.claim()
    bench.claims.settle(replace(first, state=State.DELIVERED))
    if when == "while it is":
        await settled()
    bench.claims.give_back([first])
    bench.storage.before.set()
    bench.storage.after.set()
    await settled()
    assert bench.record.state is State.DELIVERED


def test_a_storage_that_fails_is_left_alone_for_longer_and_longer() -> None:
    assert [backoff(failures) for failures in (1, 2, 3, 4, 5, 6, 10_000)] == [1, 2, 4, 8, 16, 30, 30]
