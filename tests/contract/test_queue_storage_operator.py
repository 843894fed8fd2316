"""The contract that every QueueStorage keeps: what an operator asks and orders, and who is woken by it.

Storages stand in ``tests/queue_storages.py``.
"""

from __future__ import annotations

import asyncio

import pytest
from smtpx import QueueStorage, State

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


# Hold, release, retry, remove


async def test_what_is_held_is_not_claimed_until_it_is_released(storage: QueueStorage, clock: Clock) -> None:
    mail = await saved(storage)
    assert await storage.change(State.HELD, [mail.id]) == 1
    assert await storage.claim(clock.now, LEASE, 10) == []
    assert await storage.next_due() is None
    assert (await storage.mail_load(mail.id)).data == mail.data
    assert await storage.change(State.QUEUED, [mail.id]) == 1
    assert len(await storage.claim(clock.now, LEASE, 10)) == 1


async def test_a_retry_is_due_at_once_and_the_attempts_are_kept(storage: QueueStorage, clock: Clock) -> None:
    mail = await saved(storage)
    (claimed,) = await storage.claim(clock.now, LEASE, 10)
    await storage.settle([again(claimed, clock.now + LEASE)])
    assert await storage.change(State.QUEUED, [mail.id]) == 1
    (claimed,) = await storage.claim(clock.now, LEASE, 10)
    assert claimed.attempts == 1


@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("of", [State.QUEUED, State.HELD])
async def test_what_is_to_be_due_at_once_is_only_what_is_in_the_state_that_is_named(
    storage: QueueStorage, clock: Clock, of: State, everything: bool
) -> None:
    held, later = await saved(storage), await saved(storage)
    await storage.change(State.HELD, [held.id])
    (claimed,) = await storage.claim(clock.now, LEASE, 10)
    await storage.settle([again(claimed, clock.now + LEASE)])
    ids = None if everything else [held.id, later.id]
    assert await storage.change(State.QUEUED, ids, of=[of]) == 1
    wanted = later if of is State.QUEUED else held
    assert [each.mail_id for each in await storage.claim(clock.now, LEASE, 10)] == [wanted.id]


async def test_what_is_due_already_is_not_changed_by_a_retry(storage: QueueStorage) -> None:
    await saved(storage)
    assert await storage.change(State.QUEUED, None) == 0


async def test_a_retry_leaves_an_attempt_that_is_under_way_to_itself(
    storage: QueueStorage, clock: Clock
) -> None:
    mail = await saved(storage)
    (claimed,) = await storage.claim(clock.now, LEASE, 10)
    assert await storage.change(State.QUEUED, [mail.id]) == 0
    assert await storage.claim(clock.now, LEASE, 10) == []
    assert await storage.settle([done(claimed)]) == []


async def test_a_hold_during_an_attempt_outlives_it_when_it_fails(
    storage: QueueStorage, clock: Clock
) -> None:
    mail = await saved(storage)
    (claimed,) = await storage.claim(clock.now, LEASE, 10)
    await storage.change(State.HELD, [mail.id])
    assert await storage.settle([again(claimed, clock.now + MINUTE)]) == []
    (kept,) = await storage.deliveries()
    assert (kept.state, kept.attempts, kept.reply) == (State.HELD, 1, "451 4.3.0 Not now")
    assert await storage.claim(clock.go_on(9 * LEASE), LEASE, 10) == []


async def test_a_hold_during_an_attempt_does_not_outlive_its_success(
    storage: QueueStorage, clock: Clock
) -> None:
    mail = await saved(storage)
    (claimed,) = await storage.claim(clock.now, LEASE, 10)
    await storage.change(State.HELD, [mail.id])
    assert await storage.settle([done(claimed)]) == []
    assert await states(storage, mail) == {"joe@example.org": State.DELIVERED}


async def test_what_is_held_and_released_during_an_attempt_is_not_tried_beside_it(
    storage: QueueStorage, clock: Clock
) -> None:
    mail = await saved(storage)
    (claimed,) = await storage.claim(clock.now, LEASE, 10)
    await storage.change(State.HELD, [mail.id])
    await storage.change(State.QUEUED, [mail.id])
    assert await storage.claim(clock.now, LEASE, 10) == []
    assert await storage.settle([done(claimed)]) == []


async def test_what_is_removed_stays_so(storage: QueueStorage, clock: Clock) -> None:
    mail = await saved(storage)
    (claimed,) = await storage.claim(clock.now, LEASE, 10)
    assert await storage.change(State.REMOVED, [mail.id]) == 1
    assert await storage.settle([done(claimed)]) == [done(claimed)]
    for state in (State.QUEUED, State.HELD, State.REMOVED):
        assert await storage.change(state, [mail.id]) == 0
    assert await states(storage, mail) == {"joe@example.org": State.REMOVED}
    assert await storage.mail_load_all() == []


async def test_a_message_that_an_order_names_twice_is_changed_once(storage: QueueStorage) -> None:
    mail = await saved(storage)
    assert await storage.change(State.REMOVED, [mail.id, mail.id]) == 1
    assert (await storage.audit()).faults == []


async def test_an_order_is_for_the_messages_and_the_recipient_that_it_names(storage: QueueStorage) -> None:
    mail = await saved(storage, "joe@example.org", "ann@example.net")
    other = await saved(storage, "joe@example.org", "ann@example.net")
    assert await storage.change(State.REMOVED, [mail.id], "ann@example.net") == 1
    assert await storage.change(State.HELD, [mail.id, "none"]) == 1
    assert await states(storage, mail) == {"joe@example.org": State.HELD, "ann@example.net": State.REMOVED}
    assert set((await states(storage, other)).values()) == {State.QUEUED}
    assert await storage.change(State.HELD, None, "Ann@EXAMPLE.net") == 1
    assert (await states(storage, other))["joe@example.org"] is State.QUEUED


@pytest.mark.parametrize("state", [State.HELD, State.REMOVED])
async def test_an_order_for_all_is_for_all_that_wait(
    storage: QueueStorage, clock: Clock, state: State
) -> None:
    mails = [await saved(storage, f"a@d{number}.example", "b@one.example") for number in range(120)]
    (delivered, *_) = await storage.claim(clock.now, LEASE, 1)
    await storage.settle([done(delivered)])
    await storage.change(State.HELD, [mails[-1].id])
    assert await storage.change(state, None) == {State.HELD: 237, State.REMOVED: 239}[state]
    counts = (await storage.stats(clock.now)).recipients
    assert (counts[State.QUEUED], counts[State.DELIVERED], counts[state]) == (0, 1, 239)
    assert (await storage.audit()).faults == []


async def test_a_retry_of_all_is_for_what_is_held_and_what_waits_for_its_time(
    storage: QueueStorage, clock: Clock
) -> None:
    held = await saved(storage)
    await storage.change(State.HELD, [held.id])
    for number in range(120):
        await saved(storage, f"u@d{number}.example", postpone=clock.now + MINUTE)
    assert await storage.change(State.QUEUED, None) == 121
    assert len(await storage.claim(clock.now, LEASE, 1000)) == 121


@pytest.mark.parametrize("state", [State.DELIVERED, State.BOUNCED])
async def test_an_operator_cannot_say_what_became_of_it(storage: QueueStorage, state: State) -> None:
    with pytest.raises(ValueError, match="cannot be ordered"):
        await storage.change(state, None)


async def test_h98_what_is_due_too_late_is_brought_forward(storage: QueueStorage, clock: Clock) -> None:
    for number in range(150):
        await saved(storage, f"u@d{number}.example", postpone=clock.now + 1440 * MINUTE)
    await saved(storage, "joe@example.org", postpone=clock.now + MINUTE)
    assert await storage.bring_forward(clock.now + 240 * MINUTE) == 150
    assert await storage.next_due() == clock.now + MINUTE
    assert await storage.next_due(busy=["example.org"]) == clock.now + 240 * MINUTE
    assert await storage.bring_forward(clock.now + 240 * MINUTE) == 0
    assert (await storage.audit()).faults == []


async def test_h98_a_lease_that_ends_too_late_is_brought_forward_as_well(
    storage: QueueStorage, clock: Clock
) -> None:
    await saved(storage)
    await storage.claim(clock.now + 1440 * MINUTE, LEASE, 10)
    assert await storage.bring_forward(clock.now + LEASE) == 1
    assert len(await storage.claim(clock.go_on(LEASE), LEASE, 10)) == 1


# What is to be seen


async def test_records_are_found_by_message_state_and_destination(
    storage: QueueStorage, clock: Clock
) -> None:
    mails = [await saved(storage, f"a{number}@one.example", f"b{number}@two.example") for number in range(3)]
    await storage.change(State.HELD, [mails[1].id], "a1@one.example")
    assert [(each.mail_id, each.index) for each in await storage.deliveries()] == [
        (mail.id, index) for mail in mails for index in (0, 1)
    ]
    assert addresses(await storage.deliveries(mail_id=mails[2].id)) == ["a2@one.example", "b2@two.example"]
    assert addresses(await storage.deliveries(states=[State.HELD])) == ["a1@one.example"]
    assert addresses(
        await storage.deliveries(states=[State.HELD, State.QUEUED], destination="one.example")
    ) == [
        "a0@one.example",
        "a1@one.example",
        "a2@one.example",
    ]
    assert addresses(await storage.deliveries(limit=2)) == ["a0@one.example", "b0@two.example"]
    assert await storage.deliveries(mail_id="none") == []
    assert await storage.deliveries(states=[]) == []


async def test_the_queue_at_a_glance(storage: QueueStorage, clock: Clock) -> None:
    nothing = await storage.stats(clock.now)
    assert (nothing.messages, nothing.octets, nothing.due, nothing.oldest, dict(nothing.destinations)) == (
        0,
        0,
        0,
        None,
        {},
    )
    assert nothing.recipients == dict.fromkeys(State, 0)
    first = await saved(
        storage, "a@one.example", "b@two.example", content=b"x" * 70, received=clock.now - MINUTE
    )
    await saved(storage, "c@one.example", content=b"x" * 7, postpone=clock.now + MINUTE)
    gone = await saved(storage, "d@one.example", content=b"x" * 7000)
    await storage.mail_delete(gone.id)
    await storage.change(State.HELD, [first.id], "a@one.example")
    stats = await storage.stats(clock.now)
    assert stats.recipients == dict.fromkeys(State, 0) | {State.QUEUED: 2, State.HELD: 1, State.REMOVED: 1}
    assert (stats.messages, stats.octets, stats.due, stats.oldest) == (2, 77, 1, clock.now - MINUTE)
    assert dict(stats.destinations) == {"two.example": 1, "one.example": 1}


async def test_the_ledger_knows_every_recipient_of_every_message(storage: QueueStorage, clock: Clock) -> None:
    for number in range(6):
        await saved(storage, *[f"u{each}@d{number}.example" for each in range(3)])
    claimed = await storage.claim(clock.now, LEASE, 9)
    await storage.settle(
        [done(claimed[0]), done(claimed[1], State.BOUNCED), again(claimed[2], clock.now + MINUTE)]
    )
    await storage.change(State.REMOVED, [claimed[3].mail_id])
    await storage.change(State.HELD, [claimed[6].mail_id])
    audit = await storage.audit()
    assert (audit.messages, audit.faults) == (6, [])
    assert audit.recipients == {
        State.QUEUED: 10,
        State.HELD: 3,
        State.DELIVERED: 1,
        State.BOUNCED: 1,
        State.REMOVED: 3,
    }


# Who is woken


async def in_time(event: asyncio.Event) -> None:
    async with asyncio.timeout(30):
        await event.wait()
    event.clear()


async def test_a_watcher_is_called_when_something_may_have_come_due(
    storage: QueueStorage, clock: Clock
) -> None:
    event = asyncio.Event()
    storage.watch(event.set)
    mail = await saved(storage)
    await in_time(event)
    await storage.change(State.HELD, [mail.id])
    await storage.change(State.QUEUED, [mail.id])
    await in_time(event)
    (claimed,) = await storage.claim(clock.now, LEASE, 10)
    await storage.settle([again(claimed, clock.now + MINUTE)])
    event.clear()
    await storage.change(State.QUEUED, [mail.id])
    await in_time(event)


async def test_a_watcher_that_has_ended_is_called_no_more(storage: QueueStorage) -> None:
    called: list[str] = []
    event = asyncio.Event()
    end = storage.watch(lambda: called.append("ended"))
    storage.watch(event.set)
    end()
    end()
    await saved(storage)
    await in_time(event)
    assert called == []


async def test_a_watcher_is_called_on_its_own_loop(storage: QueueStorage) -> None:
    seen: list[asyncio.AbstractEventLoop] = []
    event = asyncio.Event()
    storage.watch(lambda: seen.append(asyncio.get_running_loop()))
    storage.watch(event.set)
    await asyncio.to_thread(asyncio.run, saved(storage))
    await in_time(event)
    assert set(seen) == {asyncio.get_running_loop()}
