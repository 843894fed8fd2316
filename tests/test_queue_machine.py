"""Whatever happens to a queue, each recipient ends in exactly one place, and nobody gets a message twice.

Crashes aside: what was under way at one may be delivered again, and told again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from smtpx import Outcome, Queue, State

from tests.memory_storage import MemoryStorage
from tests.queueing import (
    ACCEPTED,
    NO_ANSWER,
    PERMANENT,
    TEMPORARY,
    UNKNOWN,
    FakeTransport,
    Site,
    settled,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from smtpx import Delivery, MailTx, RecipientResult

DOMAINS = ["a.example", "b.example"]
RECIPIENTS = [f"{local}@{domain}" for domain in DOMAINS for local in ("joe", "ann")]
NOTIFY: list[dict[str, str]] = [{}, {"NOTIFY": "SUCCESS"}]
RESULTS = st.sampled_from([PERMANENT, TEMPORARY, UNKNOWN, NO_ANSWER, ACCEPTED])


class Noting(FakeTransport):
    """Notes whom it delivered to, by message; raises where the answer is None."""

    def __init__(self) -> None:
        super().__init__(limit=2)
        self.delivered: Counter[tuple[str, str]] = Counter()
        self.raising: set[str] = set()

    def results(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        if deliveries[0].destination in self.raising:
            raise ValueError("broken")
        results = super().results(mail, deliveries)
        self.delivered.update(
            (mail.id, recipient)
            for recipient, result in results.items()
            if result.outcome is Outcome.ACCEPTED
        )
        return results


class QueueMachine(RuleBasedStateMachine):
    """Two queues on one storage, and all that can happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.transport = Noting()
        self.site = Site(self.transport, concurrency=3)
        self.saved: dict[str, MailTx] = {}
        self.again: set[tuple[str, str]] = set()  # what a crash may have delivered, and another one again
        self.queues: list[tuple[Queue, MemoryStorage]] = []

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(main)

    @initialize(answers=st.dictionaries(st.sampled_from(RECIPIENTS), RESULTS, max_size=4))
    def begin(self, answers: dict[str, RecipientResult]) -> None:
        self.transport.answers.update(answers)
        self.start()
        self.start()

    def start(self) -> None:
        async def start() -> None:
            storage = MemoryStorage(self.site.disk)
            self.site.storage = storage
            queue = self.site.queue()
            await queue.start()
            await settled()
            self.queues.append((queue, storage))

        self.run(start())

    # -- what happens

    @rule(
        recipients=st.lists(st.sampled_from(RECIPIENTS), min_size=1, max_size=4, unique=True),
        notify=st.sampled_from(NOTIFY),
    )
    def save(self, recipients: list[str], notify: dict[str, str]) -> None:
        mail = self.run(self.site.save(*recipients, rcpt_params=[notify for _ in recipients]))
        self.saved[mail.id] = mail

    @rule(name=st.sampled_from(RECIPIENTS), result=RESULTS)
    def answer(self, name: str, result: RecipientResult) -> None:
        self.transport.answers[name] = result

    @rule(name=st.sampled_from(DOMAINS))
    def stall(self, name: str) -> None:
        self.transport.gate(name).clear()

    @rule()
    def go_on(self) -> None:
        for gate in self.transport.gates.values():
            gate.set()
        self.run(settled())

    @rule(name=st.sampled_from(DOMAINS))
    def break_or_mend(self, name: str) -> None:
        self.transport.raising ^= {name}

    @rule(minutes=st.sampled_from([0, 1, 10, 300]))
    def pass_time(self, minutes: int) -> None:
        self.run(self.site.clock.advance(minutes=minutes))

    @rule(hours=st.sampled_from([-48, -1, 1, 48]))
    def set_clock(self, hours: int) -> None:
        self._may_be_taken_twice()
        self.site.clock.leap(hours=hours)

    @rule()
    def crash(self) -> None:
        """A queue is gone with all it has not written, and another takes its place."""
        self._may_be_taken_twice()
        queue, storage = self.queues.pop(0)

        async def crash() -> None:
            queue._unwatch()
            tasks = [queue._loop, queue._settler, *queue._attempts]
            for task in tasks:
                task.cancel()
            queue._stopping.set()
            await asyncio.gather(*tasks, return_exceptions=True)
            storage.close()
            await settled()

        self.run(crash())
        self.start()

    @rule(grace=st.sampled_from([0, 10]))
    def stop(self, grace: int) -> None:
        queue, storage = self.queues.pop(0)

        async def stop() -> None:
            stopping = asyncio.ensure_future(queue.stop(grace))
            await self.site.clock.advance(seconds=grace + 1)
            await stopping
            storage.close()

        self.run(stop())
        self.start()

    @rule(state=st.sampled_from([State.QUEUED, State.HELD, State.REMOVED]), name=st.sampled_from(RECIPIENTS))
    def operate(self, state: State, name: str) -> None:
        async def operate() -> None:
            await self.site.storage.change(state, None, name)
            await settled()

        self.run(operate())

    def _may_be_taken_twice(self) -> None:
        """After a leap of the clock a lease seems to have ended to another queue: as after a crash."""
        self.again |= {(one.mail_id, one.recipient) for one in self.site.disk.all() if not one.state.final}

    # -- what must be

    @invariant()
    def every_recipient_is_in_one_state(self) -> None:
        assert set(self.site.disk.records) == set(self.saved)
        for mail_id, records in self.site.disk.records.items():
            assert [record.recipient for record in records] == self.saved[mail_id].recipients

    @invariant()
    def nothing_is_faulty(self) -> None:
        assert self.run(self.site.storage.audit()).faults == []

    @invariant()
    def what_is_delivered_was_accepted(self) -> None:
        for record in self.site.disk.all():
            if record.state is State.DELIVERED:
                assert self.transport.delivered[record.mail_id, record.recipient] >= 1

    @invariant()
    def nobody_gets_a_message_twice_unless_something_crashed(self) -> None:
        twice = {key for key, count in self.transport.delivered.items() if count > 1}
        assert twice <= self.again

    @invariant()
    def what_was_given_up_or_asked_about_is_told(self) -> None:
        told = Counter(
            (mail_id, recipient, result.outcome)
            for mail_id, outcomes in self.site.told
            for recipient, result in outcomes.items()
        )
        for record in self.site.disk.all():
            index = self.saved[record.mail_id].recipients.index(record.recipient)
            asked = "NOTIFY" in self.saved[record.mail_id].rcpt_params[index]
            key = record.mail_id, record.recipient
            if record.state is State.BOUNCED:
                assert told[*key, Outcome.PERMANENT] >= 1
            if record.state is State.DELIVERED and asked:
                assert told[*key, Outcome.ACCEPTED] >= 1
            if record.warned:
                assert told[*key, Outcome.TEMPORARY] >= 1
            if key not in self.again:
                assert all(told[*key, outcome] <= 1 for outcome in Outcome)

    def teardown(self) -> None:
        """At the end all is well everywhere: whoever is not held is delivered, or was given up."""
        self.transport.raising.clear()
        self.transport.answers.clear()
        self.go_on()
        self.run(self.site.clock.advance(hours=120))
        left = {record.state for record in self.site.disk.all()} - {State.HELD}
        self.every_recipient_is_in_one_state()
        self.nothing_is_faulty()
        for queue, _ in self.queues:
            self.run(queue.stop(0))
        self.runner.close()
        assert State.QUEUED not in left


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=30)
