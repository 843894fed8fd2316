"""The contract that every QueueStorage keeps: what is claimed, by whom, and what becomes of it.

Storages stand in ``tests/queue_storages.py``.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from smtpx import Delivery, QueueStorage, State
from smtpx.errors import MailNotFound

from tests.queue_storages import (
    LEASE,
    MINUTE,
    Clock,
    addresses,
    again,
    done,
    each_storage,
    saved,
    states,
)

pytestmark = each_storage


def test_it_is_a_queue_storage(storage: QueueStorage) -> None:
    assert isinstance(storage, QueueStorage)


# What is saved is due


async def test_a_saved_message_has_a_record_for_each_recipient(storage: QueueStorage, clock: Clock) -> None:
    received = clock.now - MINUTE
    mail = await saved(storage, "joe@Bücher.example", "Postmaster", received=received)
    kept = Delivery(
        mail.id,
        0,
        "joe@Bücher.example",
        "xn--bcher-kva.example",
        State.QUEUED,
        0,
        received,
        received,
        clock.now,
    )
    assert await storage.deliveries() == [
        kept,
        replace(kept, index=1, recipient="Postmaster", destination=""),
    ]


async def test_a_claim_gives_the_record_with_a_lease_and_a_token(storage: QueueStorage, clock: Clock) -> None:
    await saved(storage)
    (before,) = await storage.deliveries()
    now = clock.go_on(MINUTE)
    (claimed,) = await storage.claim(now, LEASE, 10)
    assert claimed == replace(before, next_attempt=now + LEASE, changed=now, token=before.token + 1)
    assert await storage.deliveries() == [claimed]


async def test_a_message_without_a_time_of_its_own_was_received_when_it_was_saved(
    storage: QueueStorage, clock: Clock
) -> None:
    await saved(storage)
    (kept,) = await storage.deliveries()
    assert (kept.received, kept.next_attempt) == (clock.now, clock.now)


async def test_h98_a_message_that_was_received_tomorrow_is_due_today(
    storage: QueueStorage, clock: Clock
) -> None:
    await saved(storage, received=clock.now + 1440 * MINUTE)
    assert len(await storage.claim(clock.now, LEASE, 10)) == 1


async def test_a_postponed_message_is_due_then_and_has_the_attempts_that_it_says(
    storage: QueueStorage, clock: Clock
) -> None:
    await saved(storage, postpone=clock.now + MINUTE, retry=3)
    assert await storage.claim(clock.now, LEASE, 10) == []
    assert await storage.next_due() == clock.now + MINUTE
    (claimed,) = await storage.claim(clock.go_on(MINUTE), LEASE, 10)
    assert claimed.attempts == 3


async def test_a_message_saved_again_begins_anew(storage: QueueStorage, clock: Clock) -> None:
    mail = await saved(storage, "joe@example.org", "ann@example.net")
    old = await storage.claim(clock.now, LEASE, 10)
    mail.recipients, mail.rcpt_params = ["max@example.com"], [{}]
    await storage.mail_save(mail)
    assert await storage.settle([done(each) for each in old]) == [done(each) for each in old]
    (new,) = await storage.claim(clock.now, LEASE, 10)
    assert new.recipient == "max@example.com"
    assert await storage.settle([replace(done(new), token=old[0].token)]) != []
    assert await storage.settle([done(new)]) == []
    assert (await storage.audit()).faults == []


# The order of claims


async def test_what_is_due_first_comes_first_whatever_its_destination(
    storage: QueueStorage, clock: Clock
) -> None:
    for minutes, recipient in (
        (4, "d@one.example"),
        (1, "a@two.example"),
        (3, "c@one.example"),
        (2, "b@two.example"),
    ):
        await saved(storage, recipient, postpone=clock.now + minutes * MINUTE)
    now = clock.go_on(5 * MINUTE)
    claimed = await storage.claim(now, LEASE, 3)
    claimed += await storage.claim(now, LEASE, 3)
    assert addresses(claimed) == ["a@two.example", "b@two.example", "c@one.example", "d@one.example"]


async def test_a_messages_recipients_of_one_destination_stay_together(
    storage: QueueStorage, clock: Clock
) -> None:
    await saved(storage, "a@one.example", "b@two.example", "c@one.example", postpone=clock.now + MINUTE)
    await saved(storage, "d@one.example", "e@two.example", postpone=clock.now + 2 * MINUTE)
    claimed = await storage.claim(clock.go_on(3 * MINUTE), LEASE, 10)
    groups = [(each.mail_id, each.destination) for each in claimed]
    assert len(claimed) == 5
    assert [
        group
        for number, group in enumerate(groups)
        if group in groups[:number] and groups[number - 1] != group
    ] == []


async def test_they_stay_together_when_they_are_due_at_different_moments(
    storage: QueueStorage, clock: Clock
) -> None:
    await saved(storage, "a@one.example", "b@one.example", content=b"first")
    first = await storage.claim(clock.now, LEASE, 10)
    await saved(storage, "c@one.example", postpone=clock.now + 2 * MINUTE)
    await storage.settle([again(first[0], clock.now + MINUTE), again(first[1], clock.now + 3 * MINUTE)])
    claimed = await storage.claim(clock.go_on(5 * MINUTE), LEASE, 10)
    assert addresses(claimed) == ["a@one.example", "b@one.example", "c@one.example"]


async def test_a_group_of_which_only_some_are_due_is_claimed_in_part(
    storage: QueueStorage, clock: Clock
) -> None:
    await saved(storage, "a@one.example", "b@one.example")
    first = await storage.claim(clock.now, LEASE, 10)
    await storage.settle([again(first[0], clock.now + MINUTE), again(first[1], clock.now + 3 * MINUTE)])
    assert addresses(await storage.claim(clock.go_on(2 * MINUTE), LEASE, 10)) == ["a@one.example"]


@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_the_limit_cuts_and_what_is_left_is_claimed_next(
    storage: QueueStorage, clock: Clock, limit: int
) -> None:
    await saved(
        storage,
        *[f"u{number}@one.example" for number in range(5)],
        *[f"u{number}@two.example" for number in range(5)],
    )
    got: list[str] = []
    while claimed := await storage.claim(clock.now, LEASE, limit):
        assert len(claimed) <= limit
        got += addresses(claimed)
    assert len(got) == len(set(got)) == 10


async def test_h86_a_busy_destination_is_passed_over_however_much_waits_for_it(
    storage: QueueStorage, clock: Clock
) -> None:
    for _ in range(30):
        await saved(storage, "a@dead.example", "b@full.example")
    await saved(storage, "joe@example.org")
    claimed = await storage.claim(clock.now, LEASE, 10, busy={"dead.example", "full.example"})
    assert addresses(claimed) == ["joe@example.org"]
    assert await storage.next_due(busy={"dead.example", "full.example", "example.org"}) is None


async def test_claims_at_the_same_time_give_each_recipient_once(storage: QueueStorage, clock: Clock) -> None:
    await asyncio.gather(*(saved(storage, f"u@d{number % 7}.example") for number in range(50)))
    claims = await asyncio.gather(*(storage.claim(clock.now, LEASE, 7) for _ in range(10)))
    claimed = [each for claim in claims for each in claim]
    assert len({each.mail_id for each in claimed}) == len(claimed) == 50


async def test_nothing_is_claimed_of_an_empty_queue(storage: QueueStorage, clock: Clock) -> None:
    assert await storage.claim(clock.now, LEASE, 10) == []
    assert await storage.next_due() is None


# Leases


async def test_what_is_claimed_is_given_to_nobody_until_its_lease_ends(
    storage: QueueStorage, clock: Clock
) -> None:
    await saved(storage)
    (first,) = await storage.claim(clock.now, LEASE, 10)
    assert await storage.next_due() == clock.now + LEASE
    assert await storage.claim(clock.go_on(LEASE - MINUTE), LEASE, 10) == []
    (second,) = await storage.claim(clock.go_on(MINUTE), LEASE, 10)
    assert second.token == first.token + 1


async def test_a_renewed_lease_ends_later(storage: QueueStorage, clock: Clock) -> None:
    await saved(storage)
    claimed = await storage.claim(clock.now, LEASE, 10)
    await storage.renew(claimed, clock.now + 3 * LEASE)
    assert await storage.claim(clock.go_on(2 * LEASE), LEASE, 10) == []
    assert await storage.settle([done(claimed[0])]) == []


async def test_a_lease_that_another_has_claimed_is_not_renewed(storage: QueueStorage, clock: Clock) -> None:
    await saved(storage)
    lost = await storage.claim(clock.now, LEASE, 10)
    (held,) = await storage.claim(clock.go_on(LEASE), LEASE, 10)
    await storage.renew(lost, clock.now + 9 * LEASE)
    (kept,) = await storage.deliveries()
    assert kept.next_attempt == held.next_attempt


async def test_what_is_settled_is_not_renewed(storage: QueueStorage, clock: Clock) -> None:
    await saved(storage)
    (claimed,) = await storage.claim(clock.now, LEASE, 10)
    await storage.settle([again(claimed, clock.now + MINUTE)])
    await storage.renew([claimed], clock.now + 9 * LEASE)
    assert await storage.next_due() == clock.now + MINUTE


async def test_nothing_is_written_of_a_claim_that_another_has_followed(
    storage: QueueStorage, clock: Clock
) -> None:
    mail = await saved(storage)
    (lost,) = await storage.claim(clock.now, LEASE, 10)
    (held,) = await storage.claim(clock.go_on(LEASE), LEASE, 10)
    assert await storage.settle([done(lost)]) == [done(lost)]
    assert await states(storage, mail) == {"joe@example.org": State.QUEUED}
    assert await storage.settle([done(held)]) == []


async def test_a_claim_that_nobody_followed_is_written_after_its_end(
    storage: QueueStorage, clock: Clock
) -> None:
    mail = await saved(storage)
    (claimed,) = await storage.claim(clock.now, LEASE, 10)
    clock.go_on(2 * LEASE)
    assert await storage.settle([done(claimed)]) == []
    assert await states(storage, mail) == {"joe@example.org": State.DELIVERED}


# What becomes of it


async def test_a_failed_attempt_is_kept_with_its_answer_and_tried_again_then(
    storage: QueueStorage, clock: Clock
) -> None:
    await saved(storage)
    (claimed,) = await storage.claim(clock.now, LEASE, 10)
    later = again(claimed, clock.now + 5 * MINUTE)
    clock.go_on(MINUTE)
    assert await storage.settle([later]) == []
    assert await storage.deliveries() == [replace(later, changed=clock.now)]
    assert await storage.next_due() == later.next_attempt
    (next_claim,) = await storage.claim(clock.go_on(4 * MINUTE), LEASE, 10)
    assert (next_claim.attempts, next_claim.warned, next_claim.reply) == (1, True, "451 4.3.0 Not now")


async def test_one_commit_writes_all_that_it_can_and_returns_the_rest(
    storage: QueueStorage, clock: Clock
) -> None:
    mail = await saved(storage, "joe@example.org", "ann@example.net")
    joe, ann = sorted(await storage.claim(clock.now, LEASE, 10), key=lambda each: each.index)
    await storage.change(State.REMOVED, [mail.id], "ann@example.net")
    assert await storage.settle([done(ann), done(joe)]) == [done(ann)]
    assert await states(storage, mail) == {
        "joe@example.org": State.DELIVERED,
        "ann@example.net": State.REMOVED,
    }


async def test_the_message_has_all_its_recipients_until_the_last_is_final(
    storage: QueueStorage, clock: Clock
) -> None:
    mail = await saved(storage, "joe@example.org", "ann@example.net")
    first, second = await storage.claim(clock.now, LEASE, 10)
    await storage.settle([done(first)])
    loaded = await storage.mail_load(mail.id)
    assert (loaded.recipients, loaded.data) == (mail.recipients, mail.data)
    await storage.settle([done(second)])
    with pytest.raises(MailNotFound):
        await storage.mail_load(mail.id)
    assert await storage.mail_load_all() == []
    assert len(await storage.deliveries(mail_id=mail.id)) == 2
    assert (await storage.audit()).faults == []


async def test_a_loaded_message_says_when_it_is_due_first_and_what_it_has_behind_it(
    storage: QueueStorage, clock: Clock
) -> None:
    mail = await saved(storage, "joe@example.org", "ann@example.net")
    first, second = await storage.claim(clock.now, LEASE, 10)
    await storage.settle([again(first, clock.now + 9 * MINUTE), again(second, clock.now + 5 * MINUTE)])
    loaded = await storage.mail_load(mail.id)
    assert (loaded.postpone, loaded.retry) == (clock.now + 5 * MINUTE, 1)


async def test_a_bounced_message_is_seen_by_no_method_of_storage(storage: QueueStorage, clock: Clock) -> None:
    mail = await saved(storage)
    (claimed,) = await storage.claim(clock.now, LEASE, 10)
    await storage.settle([done(claimed, State.BOUNCED, "550 5.1.1 No such user")])
    for call in (storage.mail_load, storage.mail_delete, storage.mail_bounce):
        with pytest.raises(MailNotFound):
            await call(mail.id)
    assert (await storage.audit()).faults == []


@pytest.mark.parametrize(
    ("method", "state"), [("mail_delete", State.REMOVED), ("mail_bounce", State.BOUNCED)]
)
async def test_what_waits_of_a_message_that_is_taken_out_is_final_and_the_rest_as_it_was(
    storage: QueueStorage, clock: Clock, method: str, state: State
) -> None:
    mail = await saved(storage, "joe@example.org", "ann@example.net", "max@example.com")
    claimed = {each.recipient: each for each in await storage.claim(clock.now, LEASE, 10)}
    await storage.settle([done(claimed["joe@example.org"])])
    await storage.change(State.HELD, [mail.id], "ann@example.net")
    await getattr(storage, method)(mail.id)
    assert await states(storage, mail) == {
        "joe@example.org": State.DELIVERED,
        "ann@example.net": state,
        "max@example.com": state,
    }
    under_way = done(claimed["max@example.com"])
    assert await storage.settle([under_way]) == [under_way]
    assert await storage.next_due() is None
    assert (await storage.audit()).faults == []


async def test_a_cancelled_settle_is_whole_or_not_there(storage: QueueStorage, clock: Clock) -> None:
    await saved(storage, *[f"u{number}@example.org" for number in range(20)])
    claimed = await storage.claim(clock.now, LEASE, 100)
    settling = asyncio.create_task(storage.settle([done(each) for each in claimed]))
    await asyncio.sleep(0)
    settling.cancel()
    await asyncio.gather(settling, return_exceptions=True)
    await saved(storage)  # whatever had begun is done before this one
    counts = (await storage.stats(clock.now)).recipients
    assert counts[State.DELIVERED] in (0, 20)
