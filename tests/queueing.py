"""What tests of the queue share: a clock that they move, a transport that answers as told, a way to look."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from smtpx import MailTx, Outcome, Queue, RecipientResult, Response, State
from smtpx.clock import Clock

from tests.memory_storage import Disk, MemoryStorage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from smtpx import Delivery

START = datetime(2026, 1, 1, tzinfo=UTC)

ACCEPTED = RecipientResult(Outcome.ACCEPTED, Response(250, "2.0.0 OK"))
TEMPORARY = RecipientResult(Outcome.TEMPORARY, Response(451, "4.2.0 Later"), "mx.example")
PERMANENT = RecipientResult(Outcome.PERMANENT, Response(550, "5.1.1 Nobody"), "mx.example")
UNKNOWN = RecipientResult(Outcome.UNKNOWN, Response(451, "4.4.2 Connection lost"), "mx.example")
NO_ANSWER = RecipientResult(Outcome.TEMPORARY, Response(451, "4.4.1 No answer"))


class ManualClock(Clock):
    """A clock that stands until the test moves it."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.leapt = timedelta()
        self._waits: dict[asyncio.Future[None], float] = {}

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed) + self.leapt

    def monotonic(self) -> float:
        return self.passed

    async def wait(self, event: asyncio.Event, seconds: float | None = None) -> None:
        over = asyncio.get_running_loop().create_future()
        if seconds is not None:
            if seconds <= 0:
                over.set_result(None)
            # A wait takes a microsecond at least: no sum of fractions may ask for less, again and again.
            self._waits[over] = round(self.passed + max(seconds, 1e-6), 6)
        waiter = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait([waiter, over], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waits.pop(over, None)
            waiter.cancel()

    async def advance(self, **time: float) -> None:
        """Let time pass, moment by moment as something waits for one, and all that follows happen."""
        end = round(self.passed + timedelta(**time).total_seconds(), 6)
        await settled()
        while self._waits and (moment := min(self._waits.values())) <= end:
            self.passed = max(moment, self.passed)
            for over in [over for over, at in self._waits.items() if at <= self.passed]:
                del self._waits[over]
                if not over.done():
                    over.set_result(None)
            await settled()
        self.passed = end
        await settled()

    def leap(self, **time: float) -> None:
        """Somebody sets the wall clock."""
        self.leapt += timedelta(**time)


async def settled() -> None:
    """Let everything happen that waits for nothing but its turn; a fault may never end that."""
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # no public way to ask
    for _ in range(1000):
        await asyncio.sleep(0)
        if not ready:
            return


class FakeTransport:
    """Answers as ``answers`` says, by recipient or by destination, else 250; notes what it was given."""

    def __init__(self, answers: Mapping[str, RecipientResult] | None = None, limit: int = 20) -> None:
        self.answers = dict(answers or {})
        self.limit = limit
        self.attempts: list[tuple[str, ...]] = []
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.gates: dict[str, asyncio.Event] = {}

    def concurrency(self, destination: str) -> int:
        return self.limit

    async def deliver(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        destination = deliveries[0].destination
        self.attempts.append(tuple(delivery.recipient for delivery in deliveries))
        self.running[destination] += 1
        self.most[destination] = max(self.most[destination], self.running[destination])
        try:
            if destination in self.gates:
                await self.gates[destination].wait()
            return self.results(mail, deliveries)
        finally:
            self.running[destination] -= 1

    def results(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        answers = self.answers
        return {
            one.recipient: answers.get(one.recipient, answers.get(one.destination, ACCEPTED))
            for one in deliveries
        }

    def gate(self, destination: str) -> asyncio.Event:
        """Let attempts for the destination wait until the event is set."""
        return self.gates.setdefault(destination, asyncio.Event())

    @property
    def tried(self) -> list[str]:
        """The recipients in the order of their attempts."""
        return [recipient for attempt in self.attempts for recipient in attempt]


class Site:
    """A queue, what it runs on, and what it told."""

    def __init__(self, transport: FakeTransport | None = None, **options: Any) -> None:
        self.clock = ManualClock()
        self.disk = Disk(self.clock.now)
        self.storage = MemoryStorage(self.disk)
        self.transport = transport or FakeTransport()
        self.told: list[tuple[str, dict[str, RecipientResult]]] = []
        self.options = options

    def queue(self, **options: Any) -> Queue:
        """Make a queue on the storage."""
        given: dict[str, Any] = {
            "on_outcomes": self.tell,
            "clock": self.clock,
            "random": random.Random(1),
        }
        return Queue(self.storage, self.transport, **(given | self.options | options))

    @contextlib.asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[Queue]:
        """Run a queue, at whose end nothing waits for the clock."""
        queue = self.queue(**options)
        await queue.start()
        await settled()
        try:
            yield queue
        finally:
            await queue.stop(0)

    def tell(self, mail: MailTx, outcomes: Mapping[str, RecipientResult]) -> None:
        self.told.append((mail.id, dict(outcomes)))

    async def save(self, *recipients: str, **changes: Any) -> MailTx:
        """Save a message, and let what follows happen."""
        mail = MailTx("sender@example.org", list(recipients), b"Subject: x\r\n\r\nhi\r\n", **changes)
        mail.received = mail.received or self.clock.now()
        await self.storage.mail_save(mail)
        await settled()
        return mail

    async def fill(self, count: int, recipient: Callable[[int], str]) -> None:
        """Save many messages."""
        for number in range(count):
            mail = MailTx("sender@example.org", [recipient(number)], b"x", received=self.clock.now())
            await self.storage.mail_save(mail)

    def record(self, recipient: str) -> Delivery:
        """Return the one record of a recipient."""
        (record,) = (one for one in self.disk.all() if one.recipient == recipient)
        return record

    def states(self) -> dict[str, State]:
        """Return the state of each recipient."""
        return {one.recipient: one.state for one in self.disk.all()}

    def waits(self, recipient: str) -> timedelta:
        """Return how long a recipient still waits."""
        return self.record(recipient).next_attempt - self.clock.now()
