"""Every QueueStorage does as a simple model of it, whatever is asked in whatever order."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from smtpx import Delivery, State
from smtpx.errors import MailNotFound

from tests.queue_storages import LEASE, MINUTE, Clock, Kind, again, done, each_storage, saved

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from smtpx import MailTx

_T = TypeVar("_T")
RECIPIENTS = [f"{local}@{domain}.example" for local in "ab" for domain in ("one", "two", "three")]
DOMAINS = st.sets(st.sampled_from(["one.example", "two.example"]))
PICK = st.integers(0, 1000)
WAITS = (State.QUEUED, State.HELD)


class Model(RuleBasedStateMachine):
    """A storage, and beside it what its records must be."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.clock = Clock()
        self.records: dict[tuple[str, int], Delivery] = {}
        self.leased: set[tuple[str, int]] = set()
        self.claims: list[list[Delivery]] = []
        self.mails: dict[str, MailTx] = {}
        self.runner = asyncio.Runner()
        self.resources = contextlib.ExitStack()
        folder = Path(self.resources.enter_context(tempfile.TemporaryDirectory()))
        self.opened = kind.opened(folder, self.clock)
        self.storage = self.run(self.opened.__aenter__())

    def run(self, asked: Coroutine[object, object, _T]) -> _T:
        return self.runner.run(asked)

    def teardown(self) -> None:
        audit = self.run(self.storage.audit())
        self.run(self.opened.__aexit__(None, None, None))
        self.runner.close()
        self.resources.close()
        assert audit.faults == []

    def write(self, key: tuple[str, int], **changes: object) -> None:
        self.records[key] = replace(self.records[key], changed=self.clock.now, **changes)  # type: ignore[arg-type]

    def some_claim(self, pick: int) -> list[Delivery]:
        return self.claims[pick % len(self.claims)]

    def under_way(self, key: tuple[str, int]) -> bool:
        return key in self.leased and self.records[key].next_attempt > self.clock.now

    # What may happen

    @rule(
        recipients=st.lists(st.sampled_from(RECIPIENTS), min_size=1, max_size=5, unique=True),
        wait=st.integers(0, 3),
    )
    def save(self, recipients: list[str], wait: int) -> None:
        self.clock.go_on(MINUTE / 60)
        due = self.clock.now + wait * MINUTE
        mail = self.run(saved(self.storage, *recipients, postpone=due if wait else None))
        self.mails[mail.id] = mail
        for index, recipient in enumerate(recipients):
            destination = recipient.partition("@")[2]
            self.records[mail.id, index] = Delivery(
                mail.id, index, recipient, destination, State.QUEUED, 0, due, self.clock.now, self.clock.now
            )

    @rule(minutes=st.integers(1, 15))
    def wait(self, minutes: int) -> None:
        self.clock.go_on(minutes * MINUTE)

    @rule(limit=st.integers(1, 8), busy=DOMAINS)
    def claim(self, limit: int, busy: set[str]) -> None:
        now = self.clock.now
        due = {
            key: each
            for key, each in self.records.items()
            if each.state is State.QUEUED and each.next_attempt <= now and each.destination not in busy
        }
        claimed = self.run(self.storage.claim(now, LEASE, limit, busy))
        keys = [(each.mail_id, each.index) for each in claimed]
        assert len(set(keys)) == len(keys) == min(limit, len(due))
        first = {
            group: min(
                each.next_attempt for each in due.values() if (each.mail_id, each.destination) == group
            )
            for group in {(each.mail_id, each.destination) for each in due.values()}
        }
        groups = [group for group, _ in groupby(claimed, lambda each: (each.mail_id, each.destination))]
        assert len(set(groups)) == len(groups), "a message's recipients of a destination are not together"
        waited = [first[group] for group in groups]
        assert waited == sorted(waited), "what was due first did not come first"
        left = [since for group, since in first.items() if group not in groups]
        assert not left or not waited or min(left) >= waited[-1], "what was due first was left"
        for each, key in zip(claimed, keys, strict=True):
            assert key in due
            self.write(key, next_attempt=now + LEASE, token=self.records[key].token + 1)
            assert each == self.records[key]
            self.leased.add(key)
        if claimed:
            self.claims.append(claimed)

    @precondition(lambda self: self.claims)
    @rule(
        pick=PICK,
        outcomes=st.lists(
            st.sampled_from([State.DELIVERED, State.BOUNCED, State.QUEUED]), min_size=8, max_size=8
        ),
    )
    def settle(self, pick: int, outcomes: list[State]) -> None:
        settled = [
            again(each, self.clock.now + 7 * MINUTE) if state is State.QUEUED else done(each, state)
            for each, state in zip(self.some_claim(pick), outcomes, strict=False)
        ]
        lost = []
        for each in settled:
            key = each.mail_id, each.index
            kept = self.records[key]
            if kept.state not in WAITS or kept.token != each.token:
                lost.append(each)
                continue
            state = State.HELD if kept.state is State.HELD and not each.state.final else each.state
            self.records[key] = replace(each, state=state, changed=self.clock.now)
            self.leased.discard(key)
        assert self.run(self.storage.settle(settled)) == lost

    @precondition(lambda self: self.claims)
    @rule(pick=PICK)
    def renew(self, pick: int) -> None:
        claimed = self.some_claim(pick)
        until = self.clock.now + 2 * LEASE
        for each in claimed:
            key = each.mail_id, each.index
            kept = self.records[key]
            if key in self.leased and kept.state in WAITS and kept.token == each.token:
                self.records[key] = replace(kept, next_attempt=until)
        self.run(self.storage.renew(claimed, until))

    @rule(
        state=st.sampled_from([State.QUEUED, State.HELD, State.REMOVED]),
        pick=PICK,
        recipient=st.sampled_from([None, *RECIPIENTS]),
        everything=st.booleans(),
    )
    def change(self, state: State, pick: int, recipient: str | None, everything: bool) -> None:
        ids = None if everything or not self.mails else [list(self.mails)[pick % len(self.mails)]]
        count = 0
        for key, kept in list(self.records.items()):
            if (
                kept.state not in WAITS
                or (ids and key[0] not in ids)
                or recipient not in (None, kept.recipient)
            ):
                continue
            under_way = self.under_way(key)
            if state is kept.state and (
                state is State.HELD or under_way or kept.next_attempt <= self.clock.now
            ):
                continue
            count += 1
            due = kept.next_attempt if under_way or state is not State.QUEUED else self.clock.now
            self.write(key, state=state, next_attempt=due)
            if not under_way or state.final:
                self.leased.discard(key)
        assert self.run(self.storage.change(state, ids, recipient)) == count

    @precondition(lambda self: self.mails)
    @rule(pick=PICK, state=st.sampled_from([State.REMOVED, State.BOUNCED]))
    def take_out(self, pick: int, state: State) -> None:
        name = list(self.mails)[pick % len(self.mails)]
        method = self.storage.mail_delete if state is State.REMOVED else self.storage.mail_bounce
        waits = [key for key, kept in self.records.items() if key[0] == name and kept.state in WAITS]
        if not waits:
            with pytest.raises(MailNotFound):
                self.run(method(name))
        else:
            self.run(method(name))
        for key in waits:
            self.write(key, state=state)
            self.leased.discard(key)

    @rule(minutes=st.integers(0, 20))
    def bring_forward(self, minutes: int) -> None:
        latest = self.clock.now + minutes * MINUTE
        late = [
            key
            for key, kept in self.records.items()
            if kept.state is State.QUEUED and kept.next_attempt > latest
        ]
        for key in late:
            self.records[key] = replace(self.records[key], next_attempt=latest)
        assert self.run(self.storage.bring_forward(latest)) == len(late)

    # What must be so

    @invariant()
    def records_are_as_they_must_be(self) -> None:
        assert self.run(self.storage.deliveries(limit=10_000)) == list(self.records.values())

    @invariant()
    def the_next_is_known(self) -> None:
        due = [each.next_attempt for each in self.records.values() if each.state is State.QUEUED]
        assert self.run(self.storage.next_due()) == min(due, default=None)

    @invariant()
    def a_message_is_there_as_long_as_it_waits(self) -> None:
        waits = sorted({key[0] for key, each in self.records.items() if each.state in WAITS})
        loaded = self.run(self.storage.mail_load_all())
        assert [mail.id for mail in loaded] == waits
        assert all(mail.recipients == self.mails[mail.id].recipients for mail in loaded)


@each_storage
def test_it_does_as_the_model(kind: Kind) -> None:
    class OfKind(Model):
        def __init__(self) -> None:
            super().__init__(kind)

    # Each example opens a file and commits at every step.
    few = settings(max_examples=min(settings().max_examples // 4, 300), stateful_step_count=25)
    run_state_machine_as_test(OfKind, settings=few)
