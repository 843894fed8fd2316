"""The queue: from a saved message to delivered, postponed, or given up, and who is told."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from smtpx import ConfigurationError, MailTx, Outcome, Queue, RecipientResult, Response, Schedule, State

from tests.queueing import (
    ACCEPTED,
    PERMANENT,
    TEMPORARY,
    UNKNOWN,
    FakeTransport,
    Site,
    settled,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smtpx import Delivery


@pytest.fixture
def site() -> Site:
    return Site()


# From saved to delivered


async def test_a_message_that_waits_at_the_start_is_delivered(site: Site) -> None:
    await site.save("joe@example.org")
    async with site.running():
        assert site.states() == {"joe@example.org": State.DELIVERED}


async def test_a_message_saved_later_is_delivered_at_once_without_time_passing(site: Site) -> None:
    async with site.running():
        await site.save("joe@example.org")
        assert site.states() == {"joe@example.org": State.DELIVERED}
        assert site.clock.passed == 0


async def test_an_idle_queue_asks_its_storage_once_a_lease_and_no_more(site: Site) -> None:
    async with site.running():
        site.storage.calls.clear()
        await site.clock.advance(hours=1)
        assert site.storage.calls == {"claim": 12, "next_due": 12}


async def test_a_queue_whose_messages_wait_asks_nothing_until_the_first_is_due(site: Site) -> None:
    site.transport.answers["joe@example.org"] = TEMPORARY
    async with site.running():
        await site.save("joe@example.org")
        site.storage.calls.clear()
        await site.clock.advance(seconds=50)
        assert not site.storage.calls
        await site.clock.advance(seconds=20)
        assert site.storage.calls["mail_load"] == 1


async def test_the_recipients_of_a_destination_are_tried_together(site: Site) -> None:
    async with site.running():
        await site.save("joe@example.org", "ann@EXAMPLE.org", "joe@example.net")
        assert sorted(site.transport.attempts) == [
            ("joe@example.net",),
            ("joe@example.org", "ann@EXAMPLE.org"),
        ]


async def test_a_message_for_many_destinations_is_loaded_once(site: Site) -> None:
    async with site.running():
        await site.save(*(f"joe@{number}.example" for number in range(10)))
        assert len(site.transport.attempts) == 10
        assert site.storage.calls["mail_load"] == 1


async def test_a_message_is_not_kept_in_memory_once_it_is_tried(site: Site) -> None:
    async with site.running() as queue:
        await site.save("joe@example.org")
        assert len(queue._contents) == 0


async def test_results_that_come_at_the_same_time_share_one_settling(site: Site) -> None:
    gate = site.transport.gate("example.org")
    async with site.running():
        for number in range(10):
            await site.save(f"{number}@example.org")
        site.storage.calls.clear()
        gate.set()
        await settled()
        assert set(site.states().values()) == {State.DELIVERED}
        assert site.storage.calls["settle"] == 1


async def test_a_message_that_is_not_yet_due_waits_for_its_moment(site: Site) -> None:
    async with site.running():
        await site.save("joe@example.org", postpone=site.clock.now() + timedelta(minutes=3))
        await site.clock.advance(minutes=2)
        assert site.transport.tried == []
        await site.clock.advance(minutes=1)
        assert site.transport.tried == ["joe@example.org"]


# Tried again


async def test_what_fails_is_tried_again_after_a_minute_then_five_then_fifteen() -> None:
    site = Site(schedule=Schedule(jitter=0))
    site.transport.answers["joe@example.org"] = TEMPORARY
    waits = []
    async with site.running():
        await site.save("joe@example.org")
        for _ in range(3):
            waits.append(site.waits("joe@example.org"))
            await site.clock.advance(seconds=waits[-1].total_seconds())
    assert waits == [timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15)]


async def test_what_failed_together_is_not_tried_together_again(site: Site) -> None:
    site.transport.answers["example.org"] = TEMPORARY
    async with site.running():
        await site.save("joe@example.org", "ann@example.org")
        assert site.waits("joe@example.org") != site.waits("ann@example.org")


async def test_h81_the_last_reply_is_kept_in_one_line_and_bounded(site: Site) -> None:
    reply = Response(451, "4.7.1 \x1b[2JLater", ["x" * 10_000])
    site.transport.answers["joe@example.org"] = RecipientResult(Outcome.TEMPORARY, reply)
    async with site.running():
        await site.save("joe@example.org")
        record = site.record("joe@example.org")
        assert record.reply.startswith("451 4.7.1 \N{REPLACEMENT CHARACTER}[2JLater / xxx")
        assert len(record.reply) == 1024


async def test_only_those_who_failed_are_tried_again(site: Site) -> None:
    site.transport.answers["ann@example.org"] = TEMPORARY
    async with site.running():
        await site.save("joe@example.org", "ann@example.org")
        await site.clock.advance(minutes=2)
        assert site.transport.attempts[1:] == [("ann@example.org",)]


async def test_h79_what_may_have_arrived_is_tried_again_and_counted(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "smtpx.queue")
    site.transport.answers["joe@example.org"] = UNKNOWN
    async with site.running():
        await site.save("joe@example.org")
        await site.clock.advance(minutes=2)
        assert site.transport.tried == ["joe@example.org"] * 2
    assert [vars(record)["unknown"] for record in caplog.records] == [1, 2]


# Given up


async def test_h80_what_is_refused_for_good_is_told_at_once_and_the_others_are_delivered(site: Site) -> None:
    site.transport.answers["ann@example.org"] = PERMANENT
    async with site.running():
        mail = await site.save("joe@example.org", "ann@example.org", "max@example.org")
        assert site.states() == {
            "joe@example.org": State.DELIVERED,
            "ann@example.org": State.BOUNCED,
            "max@example.org": State.DELIVERED,
        }
        assert site.told == [(mail.id, {"ann@example.org": PERMANENT})]


async def test_the_failures_of_an_attempt_are_told_in_one_call(site: Site) -> None:
    site.transport.answers["example.org"] = PERMANENT
    async with site.running():
        await site.save("joe@example.org", "ann@example.org")
        assert [list(outcomes) for _, outcomes in site.told] == [["joe@example.org", "ann@example.org"]]


@pytest.mark.parametrize("result", [TEMPORARY, UNKNOWN], ids=["temporary", "unknown"])
async def test_h83_a_delay_is_told_once_after_four_hours_and_the_end_after_five_days(
    site: Site, result: RecipientResult
) -> None:
    site.transport.answers["joe@example.org"] = result
    async with site.running():
        await site.save("joe@example.org")
        await site.clock.advance(hours=3, minutes=59)
        assert site.told == []
        await site.clock.advance(minutes=1)
        assert [outcomes["joe@example.org"].outcome for _, outcomes in site.told] == [Outcome.TEMPORARY]
        await site.clock.advance(days=4, hours=19, minutes=59)
        assert len(site.told) == 1
        await site.clock.advance(minutes=1)
        assert site.record("joe@example.org").state is State.BOUNCED
        (_, _), (_, outcomes) = site.told
        assert outcomes["joe@example.org"].outcome is Outcome.PERMANENT
        assert outcomes["joe@example.org"].response == result.response


async def test_what_is_given_up_is_settled_only_once_it_is_told(site: Site) -> None:
    seen = []

    async def tell(mail: MailTx, outcomes: Mapping[str, RecipientResult]) -> None:
        await asyncio.sleep(0)
        seen.append(site.record("joe@example.org").state)

    site.transport.answers["joe@example.org"] = PERMANENT
    async with site.running(on_outcomes=tell):
        await site.save("joe@example.org")
        assert seen == [State.QUEUED]
        assert site.record("joe@example.org").state is State.BOUNCED


async def test_a_bounce_that_cannot_be_told_is_tried_again_and_not_lost(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def tell(mail: MailTx, outcomes: Mapping[str, RecipientResult]) -> None:
        if broken:
            raise OSError("no room")
        site.tell(mail, outcomes)

    site.transport.answers["joe@example.org"] = PERMANENT
    async with site.running(on_outcomes=tell):
        await site.save("joe@example.org", "ann@example.org")
        assert site.record("joe@example.org").state is State.QUEUED
        assert site.record("ann@example.org").state is State.DELIVERED
        assert 50 < site.waits("joe@example.org").total_seconds() < 70
        broken = False
        await site.clock.advance(minutes=2)
        assert site.record("joe@example.org").state is State.BOUNCED
        assert len(site.told) == 1
    assert "outcomes could not be reported" in caplog.text
    assert "no room" in caplog.text


async def test_a_delay_that_could_not_be_told_is_told_after_the_next_attempt(site: Site) -> None:
    broken = [True]

    def tell(mail: MailTx, outcomes: Mapping[str, RecipientResult]) -> None:
        if broken:
            broken.clear()
            raise OSError("no room")
        site.tell(mail, outcomes)

    site.transport.answers["joe@example.org"] = TEMPORARY
    async with site.running(on_outcomes=tell):
        await site.save("joe@example.org")
        await site.clock.advance(hours=4)
        assert not site.record("joe@example.org").warned
        await site.clock.advance(hours=5)
        assert site.record("joe@example.org").warned
        assert len(site.told) == 1


# Told of a delivery


@pytest.mark.parametrize(
    ("notify", "told"),
    [
        ({"NOTIFY": "SUCCESS"}, True),
        ({"NOTIFY": "failure,success"}, True),
        ({"NOTIFY": "FAILURE,DELAY"}, False),
        ({"NOTIFY": "NEVER"}, False),
        ({}, False),
    ],
    ids=str,
)
async def test_a_delivery_is_told_where_notify_asks_for_it(
    site: Site, notify: dict[str, str], told: bool
) -> None:
    async with site.running():
        mail = await site.save("ann@example.org", "joe@example.org", rcpt_params=[{}, notify])
        assert site.told == ([(mail.id, {"joe@example.org": ACCEPTED})] if told else [])
        assert set(site.states().values()) == {State.DELIVERED}


async def test_a_delivery_that_cannot_be_told_is_told_again_and_not_made_again(site: Site) -> None:
    failures = [OSError("no room"), OSError("no room")]

    def tell(mail: MailTx, outcomes: Mapping[str, RecipientResult]) -> None:
        if failures:
            raise failures.pop()
        site.tell(mail, outcomes)

    async with site.running(on_outcomes=tell):
        await site.save("joe@example.org", rcpt_params=[{"NOTIFY": "SUCCESS"}])
        await site.clock.advance(minutes=1)
        assert len(site.told) == 1
        assert site.transport.tried == ["joe@example.org"]
        assert site.states() == {"joe@example.org": State.DELIVERED}


async def test_a_delivery_that_can_never_be_told_is_settled_all_the_same(site: Site) -> None:
    def tell(mail: MailTx, outcomes: Mapping[str, RecipientResult]) -> None:
        raise OSError("no room")

    async with site.running(on_outcomes=tell):
        await site.save("joe@example.org", rcpt_params=[{"NOTIFY": "SUCCESS"}])
        await site.clock.advance(hours=1)
        assert site.transport.tried == ["joe@example.org"]
        assert site.states() == {"joe@example.org": State.DELIVERED}


async def test_without_anybody_to_tell_what_is_refused_is_given_up(site: Site) -> None:
    site.transport.answers["joe@example.org"] = PERMANENT
    async with site.running(on_outcomes=None):
        await site.save("joe@example.org")
        assert site.states() == {"joe@example.org": State.BOUNCED}


# Transports that fail


class Broken(FakeTransport):
    """Gives what is not allowed, or raises it."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def results(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        if isinstance(self.answer, BaseException):
            raise self.answer
        answer: Mapping[str, RecipientResult] = self.answer
        return answer


@pytest.mark.parametrize("answer", [{}, {"ann@example.org": ACCEPTED}, None, ValueError("secret")], ids=repr)
async def test_a_transport_that_raises_or_forgets_a_recipient_has_failed_for_now(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(Broken(answer))
    async with site.running():
        await site.save("joe@example.org")
        assert site.record("joe@example.org").reply == "451 4.3.0 Local error in processing"
        assert site.waits("joe@example.org") > timedelta(seconds=50)
        site.transport.results = FakeTransport().results  # type: ignore[method-assign]
        await site.clock.advance(minutes=2)
        assert site.states() == {"joe@example.org": State.DELIVERED}
    assert ("secret" in caplog.text) == isinstance(answer, ValueError)


async def test_a_transport_that_cancels_itself_has_failed_for_now() -> None:
    site = Site(Broken(asyncio.CancelledError()))
    async with site.running():
        await site.save("joe@example.org")
        assert site.record("joe@example.org").attempts == 1
        assert site.record("joe@example.org").state is State.QUEUED


async def test_a_transport_that_cannot_say_how_many_it_takes_is_given_one_at_a_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeTransport, "concurrency", lambda self, destination: 1 // 0)
    async with site.running():
        await site.fill(3, lambda number: f"{number}@example.org")
        await settled()
        assert set(site.states().values()) == {State.DELIVERED}
        assert site.transport.most["example.org"] == 1


# The log


async def test_each_outcome_is_a_line_of_the_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "smtpx.queue")
    site.transport.answers.update({"ann@example.org": TEMPORARY, "max@example.org": PERMANENT})
    async with site.running():
        mail = await site.save("joe@example.org", "ann@example.org", "max@example.org")
    lines = {record.message: vars(record) for record in caplog.records}
    assert list(lines) == ["delivered", "postponed", "bounced"]
    assert all(line["id"] == mail.id for line in lines.values())
    postponed = lines["postponed"]
    assert postponed["recipient"] == "ann@example.org"
    assert postponed["outcome"] == "temporary"
    assert postponed["attempts"] == 1
    assert postponed["remote"] == "mx.example"
    assert postponed["reply"] == "451 4.2.0 Later"
    assert postponed["delay"] == 0
    assert postponed["next"].startswith("2026-01-01T00:0")


# What it is made of


def test_a_concurrency_of_none_is_refused(site: Site) -> None:
    with pytest.raises(ConfigurationError, match="concurrency must be 1 or more"):
        site.queue(concurrency=0)


async def test_a_queue_has_a_clock_and_chance_of_its_own(site: Site) -> None:
    site.transport.answers["joe@example.org"] = TEMPORARY
    async with Queue(site.storage, site.transport):
        await site.save("joe@example.org")
        assert site.record("joe@example.org").attempts == 1


async def test_the_same_seed_gives_the_same_moments() -> None:
    waits = []
    for _ in range(2):
        site = Site(FakeTransport({"joe@example.org": TEMPORARY}), random=random.Random(5))
        async with site.running():
            await site.save("joe@example.org")
            waits.append(site.waits("joe@example.org"))
    assert waits[0] == waits[1]
