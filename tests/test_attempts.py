"""Attempts that end as they begin, as of a transport that never waits, and who has a turn meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from typing import TYPE_CHECKING

from smtpx import Schedule, State
from smtpx.claims import LEASE

from tests.queueing import FakeTransport, Site, settled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from smtpx import Delivery, MailTx, Queue, RecipientResult


class Handed:
    """A queue, and saved messages that are claimed for it."""

    def __init__(self, queue: Queue, site: Site, claimed: Sequence[Delivery]) -> None:
        self.queue = queue
        self._messages = [(site.disk.mails[one.mail_id], one) for one in claimed]

    def take(self) -> None:
        """Hand all of them over."""
        for mail, one in self._messages:
            self.queue.take(mail, [one])


@contextlib.asynccontextmanager
async def handed(site: Site, count: int) -> AsyncIterator[Handed]:
    """Run a queue that may be handed so many messages for example.org."""
    await site.fill(count, lambda number: f"{number}@example.org")
    claimed = await site.storage.claim(site.clock.now(), LEASE, count)
    async with site.running() as queue:
        yield Handed(queue, site, claimed)


async def test_thousands_of_attempts_that_end_at_once_are_no_recursion() -> None:
    site = Site(FakeTransport(limit=1), concurrency=1)
    async with handed(site, 3000) as messages:
        messages.take()
        while len(site.transport.tried) < 3000:
            await settled()
    assert Counter(site.states().values()) == {State.DELIVERED: 3000}


async def test_in_a_turn_of_the_loop_no_more_begin_than_may_be_under_way() -> None:
    site = Site(concurrency=7)
    async with handed(site, 50) as messages:
        messages.take()
        for turn in range(10):
            assert len(site.transport.tried) <= 7 * turn
            await asyncio.sleep(0)


class Asking(FakeTransport):
    """Notes whose task it is asked in."""

    tasks: set[asyncio.Task[None] | None]

    async def deliver(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        self.tasks.add(asyncio.current_task())
        async with asyncio.timeout(1):  # which needs a task
            return await super().deliver(mail, deliveries)


async def test_an_attempt_has_a_task_of_its_own_and_begins_in_nobody_elses() -> None:
    transport = Asking()
    transport.tasks = set()
    site = Site(transport)
    async with handed(site, 5) as messages:
        messages.take()
        assert transport.tried == []
        await settled()
    assert len(transport.tasks) == 5
    assert not transport.tasks & {None, asyncio.current_task()}


class Meddling(FakeTransport):
    """Changes its queue while it is asked."""

    queue: Queue

    async def deliver(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        self.queue.follow(Schedule(), 2)
        return await super().deliver(mail, deliveries)


async def test_a_queue_that_is_changed_by_its_own_attempts_keeps_its_bounds() -> None:
    transport = Meddling()
    site = Site(transport, concurrency=2)
    async with handed(site, 2000) as messages:
        transport.queue = messages.queue
        messages.take()
        while len(transport.tried) < 2000:
            await settled()
    assert Counter(site.states().values()) == {State.DELIVERED: 2000}
    assert transport.most["example.org"] <= 2


class Cancelling(FakeTransport):
    """Asks for the cancellation of the attempt, and has the message delivered all the same."""

    def results(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        attempt = asyncio.current_task()
        assert attempt is not None
        attempt.cancel()
        return super().results(mail, deliveries)


async def test_what_was_delivered_by_an_attempt_that_was_to_be_cancelled_is_not_tried_again() -> None:
    site = Site(Cancelling())
    async with handed(site, 3) as messages:
        messages.take()
        await settled()
        assert len(messages.queue._claims) == 0
        await site.clock.advance(hours=1)
    assert len(site.transport.tried) == 3
    assert set(site.states().values()) == {State.DELIVERED}


async def test_a_stop_gives_back_what_was_handed_over_and_has_not_begun() -> None:
    site = Site()
    async with handed(site, 5) as messages:
        messages.take()
        await messages.queue.stop(0)
        assert {(one.state, one.next_attempt) for one in site.disk.all()} == {
            (State.QUEUED, site.clock.now())
        }
    assert site.transport.tried == []


async def test_a_stop_is_over_only_when_what_waits_is_delivered_though_others_ended_at_once() -> None:
    site = Site()
    gate = site.transport.gate("slow.example")
    await site.save("joe@slow.example")
    async with handed(site, 5) as messages:
        messages.take()
        await settled()
        stopping = asyncio.ensure_future(messages.queue.stop(30))
        await settled()
        assert not stopping.done()
        gate.set()
        await stopping
    assert set(site.states().values()) == {State.DELIVERED}


if sys.version_info >= (3, 12):  # before, each attempt has a turn of its own

    async def test_attempts_that_end_at_once_need_one_turn_of_the_loop_together() -> None:
        site = Site(FakeTransport(limit=1))
        async with handed(site, 50) as messages:
            messages.take()
            await asyncio.sleep(0)
            assert len(site.transport.tried) == 50
