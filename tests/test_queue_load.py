"""Many messages at once: how many are under way, and that no destination holds up another."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from smtpx import State
from smtpx.lanes import Group, Lanes

from tests.queueing import ACCEPTED, NO_ANSWER, TEMPORARY, FakeTransport, Site, settled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smtpx import Delivery, MailTx, RecipientResult


async def until_done(site: Site) -> None:
    """Let happen what needs no time, however much it is."""
    seen = -1
    while seen != (seen := sum(site.storage.calls.values())):
        await settled()


async def turns(count: int) -> None:
    """Let the loop go round so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


# At once


@pytest.mark.parametrize("whose", ["queue", "destination"])
async def test_no_more_attempts_are_under_way_than_the_queue_or_a_destination_may_have(whose: str) -> None:
    site = Site(concurrency=7) if whose == "queue" else Site(FakeTransport(limit=7))
    gate = site.transport.gate("example.org")
    async with site.running():
        await site.fill(50, lambda number: f"{number}@example.org")
        await settled()
        assert site.transport.running["example.org"] == 7
        gate.set()
        await until_done(site)
        assert site.transport.most["example.org"] == 7
        assert Counter(site.states().values()) == {State.DELIVERED: 50}


async def test_a_transport_that_says_none_at_all_has_one() -> None:
    site = Site(FakeTransport(limit=0))
    async with site.running():
        await site.fill(5, lambda number: f"{number}@example.org")
        await until_done(site)
        assert site.transport.most["example.org"] == 1
        assert Counter(site.states().values()) == {State.DELIVERED: 5}


async def test_a_queue_that_is_full_goes_on_when_an_attempt_ends() -> None:
    site = Site(concurrency=1)
    gate = site.transport.gate("slow.example")
    async with site.running():
        await site.save("joe@slow.example")
        await site.save("joe@example.org")
        assert site.transport.tried == ["joe@slow.example"]
        gate.set()
        await settled()
        assert site.transport.tried == ["joe@slow.example", "joe@example.org"]


def test_destinations_take_turns() -> None:
    lanes = Lanes(100, lambda destination: 20, lambda destination: False, lambda: 0.0, lambda remote: 0)
    for destination in ("a.example", "a.example", "a.example", "b.example", "b.example", "c.example"):
        lanes.add(Group("1", destination, []))
    order = [group.destination[0] for group in iter(lanes.take, None) if group is not None]
    assert order == ["a", "b", "c", "a", "b", "a"]


async def test_many_messages_are_claimed_and_settled_in_batches() -> None:
    site = Site(FakeTransport(limit=50))
    await site.fill(2000, lambda number: f"{number}@example.org")
    async with site.running():
        await until_done(site)
        assert Counter(site.states().values()) == {State.DELIVERED: 2000}
        assert site.storage.calls["claim"] < 40
        assert site.storage.calls["settle"] < 200


# A destination that is slow


async def test_a_message_is_not_held_up_by_a_thousand_for_a_slow_destination() -> None:
    site = Site()
    site.transport.gate("slow.example")
    async with site.running():
        await site.fill(1000, lambda number: f"{number}@slow.example")
        await settled()
        await site.save("joe@example.org")
        assert site.record("joe@example.org").state is State.DELIVERED
        assert site.transport.running["slow.example"] == 20


async def test_of_slow_destinations_little_is_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpx.queue._MOST_HELD", 100)
    site = Site(FakeTransport(limit=2), concurrency=50)
    names = [f"slow{number}.example" for number in range(10)]
    for name in names:
        site.transport.gate(name)
    await site.fill(1000, lambda number: f"{number}@{names[number % 10]}")
    async with site.running() as queue:
        await until_done(site)
        assert sum(site.transport.running.values()) == 20
        assert len(queue._claims) <= 100
        await site.save("joe@example.org")
        assert site.record("joe@example.org").state is State.DELIVERED
        for name in names:
            site.transport.gate(name).set()
        await until_done(site)
        assert Counter(site.states().values()) == {State.DELIVERED: 1001}
        assert len(site.transport.tried) == 1001


# Many destinations that are slow


class Parted(FakeTransport):
    """One for which all but example.org is elsewhere, and hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Event()

    def is_remote(self, destination: str) -> bool:
        return destination != "example.org"

    async def deliver(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        if self.is_remote(deliveries[0].destination):
            self.gates[deliveries[0].destination] = self.release
        return await super().deliver(mail, deliveries)


async def test_h86_mail_for_here_is_not_held_up_by_any_number_of_hosts_that_hang() -> None:
    transport = Parted()
    site = Site(transport, concurrency=5)
    async with site.running():
        await site.fill(1000, lambda number: f"joe@slow{number}.example")
        await until_done(site)
        assert sum(site.transport.running.values()) == 5
        await site.save("joe@example.org")
        assert site.record("joe@example.org").state is State.DELIVERED
        transport.release.set()
        await until_done(site)
        assert Counter(site.states().values()) == {State.DELIVERED: 1001}
        assert len(transport.tried) == 1001


async def test_mail_for_here_that_hangs_holds_up_none_for_elsewhere() -> None:
    site = Site(transport := Parted(), concurrency=5)
    transport.release.set()
    transport.gate("example.org")
    async with site.running():
        await site.fill(20, lambda number: f"{number}@example.org")
        await until_done(site)
        await site.save("joe@far.example")
        assert site.record("joe@far.example").state is State.DELIVERED
        assert transport.running["example.org"] == 5


async def test_mail_for_here_is_looked_for_behind_what_hangs_but_not_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("smtpx.queue._MOST_HELD", 100)
    site = Site(transport := Parted(), concurrency=5)
    async with site.running() as queue:
        await site.fill(1000, lambda number: f"joe@slow{number}.example")
        await until_done(site)
        assert 50 < len(queue._claims) < 100
        transport.release.set()
        await until_done(site)
        assert Counter(site.states().values()) == {State.DELIVERED: 1000}


# A destination that is dead


async def test_h86_where_nobody_answers_the_others_do_not_each_wait_for_that() -> None:
    site = Site(FakeTransport({"dead.example": NO_ANSWER}))
    await site.fill(1000, lambda number: f"{number}@dead.example")
    async with site.running():
        await until_done(site)
        assert len(site.transport.attempts) <= 20
        records = list(site.disk.all())
        assert {record.attempts for record in records} == {1}
        assert {record.reply for record in records} == {"451 4.4.1 No answer"}
        assert all(50 < site.waits(record.recipient).total_seconds() < 70 for record in records[:5])


async def test_h86_a_dead_destination_is_probed_by_one_attempt_at_a_time() -> None:
    site = Site(FakeTransport({"dead.example": NO_ANSWER}))
    await site.fill(200, lambda number: f"{number}@dead.example")
    async with site.running():
        await until_done(site)
        before = len(site.transport.attempts)
        site.transport.most.clear()
        gate = site.transport.gate("dead.example")
        await site.clock.advance(minutes=2)
        assert site.transport.running["dead.example"] == 1
        gate.set()
        await until_done(site)
        assert site.transport.most["dead.example"] == 1
        assert len(site.transport.attempts) == before + 1


async def test_h86_a_destination_that_answers_again_is_delivered_to_in_full() -> None:
    site = Site(FakeTransport({"dead.example": NO_ANSWER}))
    await site.fill(100, lambda number: f"{number}@dead.example")
    async with site.running():
        await until_done(site)
        site.transport.answers.clear()
        site.transport.most.clear()
        await site.clock.advance(minutes=2)
        await until_done(site)
        assert Counter(site.states().values()) == {State.DELIVERED: 100}


@pytest.mark.slow
async def test_h86_100_000_messages_for_a_dead_domain_do_not_hold_up_another() -> None:
    site = Site(FakeTransport({"dead.example": NO_ANSWER}))
    gate = site.transport.gate("dead.example")
    await site.fill(100_000, lambda number: f"{number}@dead.example")
    async with site.running():
        await settled()
        await site.save("early@example.org")  # while the first connections wait for an answer
        assert site.record("early@example.org").state is State.DELIVERED
        gate.set()
        await turns(100)
        await site.fill(1, lambda _: "later@example.org")  # while the others are postponed
        await turns(100)
        assert site.record("later@example.org").state is State.DELIVERED
        assert len([one for one in site.disk.all() if not one.attempts]) > 50_000
        await until_done(site)
        assert min(one.attempts for one in site.disk.all() if one.destination == "dead.example") == 1
        assert len(site.transport.attempts) <= 22


async def test_messages_of_a_dead_destination_are_given_up_when_their_time_is_over() -> None:
    site = Site(FakeTransport({"dead.example": NO_ANSWER}))
    await site.fill(10, lambda number: f"{number}@dead.example")
    async with site.running():
        await site.clock.advance(days=5, hours=1)
        assert set(site.states().values()) == {State.BOUNCED}
        assert len(site.told) == 2 * 10  # the delay and the end


class PerMessage(FakeTransport):
    """Answers each attempt with the next of its answers."""

    def __init__(self, *results: RecipientResult) -> None:
        super().__init__(limit=1)
        self.next = list(results)

    def results(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        return dict.fromkeys((one.recipient for one in deliveries), self.next.pop(0))


async def test_a_host_that_refuses_for_now_is_not_left_alone() -> None:
    site = Site(PerMessage(TEMPORARY, ACCEPTED))
    await site.fill(2, lambda number: f"{number}@example.org")
    async with site.running():
        await until_done(site)
        assert Counter(site.states().values()) == {State.QUEUED: 1, State.DELIVERED: 1}


async def test_new_mail_for_a_destination_that_rests_is_postponed_without_an_attempt() -> None:
    site = Site(FakeTransport({"dead.example": NO_ANSWER}))
    async with site.running():
        await site.save("joe@dead.example")
        site.storage.calls.clear()
        await site.save("ann@dead.example")
        assert site.transport.tried == ["joe@dead.example"]
        assert site.record("ann@dead.example").attempts == 1
        assert site.storage.calls["mail_load"] == 0


async def test_of_dead_destinations_a_bounded_number_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpx.lanes._MOST_UNREACHABLE", 3)
    site = Site(FakeTransport({f"dead{number}.example": NO_ANSWER for number in range(5)}))
    async with site.running() as queue:
        for number in range(5):
            await site.save(f"joe@dead{number}.example")
        assert queue._lanes.resting() == ["dead4.example", "dead3.example", "dead2.example"]
