"""The queue: takes what is due, hands it to a transport, and settles what became of it.

It fails like this. Before `QueueStorage.settle` has returned, nothing counts: a crash at any moment leaves a
recipient as it was, and it is tried again. What is given up is told first and settled then, so that a crash
between tells it twice, never not at all.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random as random_numbers
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Self, TypeAlias

from smtpx._core import Response
from smtpx.attempts import Attempts
from smtpx.claims import LEASE, Claims, backoff, log_failure
from smtpx.clock import Clock, Leaps
from smtpx.contents import LARGE, Contents
from smtpx.delivery import Parted
from smtpx.errors import ConfigurationError, StorageError
from smtpx.lanes import Group, Lanes
from smtpx.log_events import log_event
from smtpx.mail import MailTx
from smtpx.outcome import Outcome
from smtpx.result import RecipientResult
from smtpx.schedule import Schedule
from smtpx.storage.base import Direct
from smtpx.verdict import Verdict, judge, log_fields, unreached, wants_success

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime
    from random import Random
    from types import TracebackType

    from smtpx.delivery import Delivery, Transport
    from smtpx.storage.base import QueueStorage

__all__ = ["OnOutcomes", "Queue"]

log = logging.getLogger("smtpx.queue")

OnOutcomes: TypeAlias = Callable[[MailTx, Mapping[str, RecipientResult]], Awaitable[object] | object]
"""What is told of a message for some of its recipients, as `Handler.serve_bounce` is."""

_FAILED = RecipientResult(Outcome.TEMPORARY, Response(451, "4.3.0 Local error in processing"))
_UNREADABLE = RecipientResult(Outcome.TEMPORARY, Response(451, "4.3.0 The message cannot be read here"))
_MOST_HELD = 10_000  # recipients that are claimed and not settled, from when on we keep little of each lane
_REPORT_PAUSES = (1.0, 10.0, 60.0)  # seconds before the report of a delivery is tried again
_LEAST_PAUSE = timedelta(seconds=1)


class Queue:
    """Delivers what a storage holds, retries it, and gives it up.

    ::

        async with smtpx.Queue(storage, transport, on_outcomes=handler.serve_bounce):
            ...

    Attributes:
        transport: takes the messages further; may be replaced by another at any time.

    Args:
        storage: where the messages wait.
        transport: as above.
        schedule: when they are tried again, and for how long; None: as RFC 5321 4.5.4.1 advises.
        on_outcomes: is told what the sender may have to know, before it is settled: PERMANENT, given up;
            TEMPORARY, it takes long (once); ACCEPTED, delivered, where NOTIFY asks for it (RFC 3461). May be
            ``async def``. Where it raises, what was to be given up stays in the queue, and the delay is told
            after the next attempt; a delivery is told again a few times. None: nobody is told.
        concurrency: how many attempts are under way at once in all; of a transport that is `Parted`, to other
            hosts, and as many to mailboxes here.
        clock: the time; tests give their own.
        random: for the jitter; tests give one with a seed.

    Raises:
        ConfigurationError: ``concurrency`` is less than 1.

    """

    def __init__(
        self,
        storage: QueueStorage,
        transport: Transport,
        *,
        schedule: Schedule | None = None,
        on_outcomes: OnOutcomes | None = None,
        concurrency: int = 100,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self._storage = storage
        self.transport = transport
        self._on_outcomes = on_outcomes
        self._clock = clock or Clock()
        self._random = random or random_numbers.Random()  # noqa: S311 - for the jitter
        self._unknown = 0
        self._running = False
        self.follow(schedule or Schedule(), concurrency)

    def follow(self, schedule: Schedule, concurrency: int) -> None:
        """Go on by another schedule and with another bound; attempts under way end as they began.

        Raises:
            ConfigurationError: ``concurrency`` is less than 1.

        """
        if concurrency < 1:
            raise ConfigurationError("concurrency must be 1 or more")
        self._schedule, self._concurrency, self._batch = schedule, concurrency, 2 * concurrency
        if self._running:
            self._lanes.most = concurrency
            self._must_bring_forward = True
            self._start_others()

    # -- its life

    async def start(self) -> None:
        """Begin to deliver.

        Raises:
            StorageError: the storage cannot be read.

        """
        self._leaps = Leaps(self._clock)
        # A clock that was far ahead once must not stall what it postponed.
        await self._bring_forward()
        self._contents = Contents(self._storage, self._start_others)
        self._lanes = Lanes(
            self._concurrency,
            self._limit,
            self._is_remote,
            self._clock.monotonic,
            self._contents.idle,
        )
        self._claims = Claims(self._storage, self._clock, self._settled)
        self._wake, self._stopping, self._stopped = asyncio.Event(), asyncio.Event(), False
        self._attempts = Attempts(self._lanes, self._contents, self._attempt, self._ended, self._stopping)
        self._more = True  # whether there may be something to claim
        self._due: datetime | None = None  # when there next is
        self._renewal = 0.0
        self._must_bring_forward = False
        self._unwatch = self._storage.watch(self._changed)
        self._refuse = self._storage.hand_over(self) if isinstance(self._storage, Direct) else lambda: None
        self._settler = asyncio.create_task(self._claims.run())
        self._loop = asyncio.create_task(self._run())
        self._running = True

    async def stop(self, grace: float = 30.0) -> None:
        """Take nothing more, let the attempts under way finish, and after ``grace`` seconds cancel them.

        What is not delivered then is given back to the storage, due at once.
        """
        if not self._running:
            return
        self._running = False
        self._unwatch()
        self._refuse()
        self._stopping.set()
        self._wake.set()
        for group in self._lanes.clear():
            self._claims.give_back(group.deliveries)
        await self._attempts.stop(self._clock, grace)
        self._stopped = True
        self._wake.set()
        await self._loop
        self._claims.close()
        await self._settler

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # -- claiming

    async def _run(self) -> None:
        failures = 0
        while not self._stopped:
            self._wake.clear()
            try:
                await self._look_at_the_clock()
                await self._keep_leases()
                if self._may_claim():
                    await self._claim()
                    failures = 0
                    continue
            except Exception as error:
                failures += 1
                self._more = True
                log_failure(log, "the storage failed", error, {"event": "storage"})
                await self._clock.wait(self._stopping, backoff(failures))
                continue
            await self._clock.wait(self._wake, self._pause())
            if not self._wake.is_set():
                self._more = True  # who else has claimed something may have died without a word

    def _may_claim(self) -> bool:
        if self._due is not None and self._due <= self._clock.now():
            self._more = True
        return (
            self._more
            and not self._stopping.is_set()
            and self._has_room()
            and self._claims.unwritten <= self._batch
        )

    def _has_room(self) -> bool:
        here, elsewhere = self._lanes.has_room(remote=False), self._lanes.has_room(remote=True)
        if here and elsewhere:
            return True
        # What may start can stand behind much that may not.
        return (
            (here or elsewhere)
            and isinstance(self.transport, Parted)
            and len(self._claims) < _MOST_HELD - self._batch
        )

    async def _claim(self) -> None:
        """Claim what is due; what rests, as nobody answers there, only once nothing else is."""
        self._more = False
        now, resting = self._clock.now(), self._lanes.resting()
        count = await self._claim_some(now, self._batch, {*self._lanes.full, *resting})
        if count < self._batch and resting:
            count += await self._claim_some(now, self._batch - count, {*self._lanes.full})
        if count >= self._batch:
            self._more = True
            return
        self._due = None  # a result that is written meanwhile sets it
        due = await self._storage.next_due({*self._lanes.full})
        if due is not None and due <= now:
            due = now + _LEAST_PAUSE  # we were given nothing: asked at once, so we were again and again
        self._due = min((moment for moment in (due, self._due) if moment is not None), default=None)

    async def _claim_some(self, now: datetime, limit: int, busy: Collection[str]) -> int:
        claimed = await self._storage.claim(now, LEASE, limit, busy)
        if claimed:
            self._take(claimed)
        return len(claimed)

    def wants(self, destinations: Collection[str]) -> datetime | None:
        """See `Taker.wants`: new messages go before none that wait, and are not more than we can hold."""
        lanes, claims = self._lanes, self._claims
        if self._more or self._stopping.is_set():
            return None
        if claims.under_way >= self._batch or len(claims) >= _MOST_HELD:
            return None
        for name in destinations:
            if name in lanes.full or lanes.answer_of(name) is not None:
                return None
        return self._clock.now() + LEASE

    def take(self, mail: MailTx, claimed: Sequence[Delivery]) -> None:
        """See `Taker.take`; a large message is loaded when its turn comes."""
        self._take(claimed, mail if len(mail.data) < LARGE else None)

    def _take(self, claimed: Iterable[Delivery], mail: MailTx | None = None) -> None:
        if not self._claims:
            monotonic = self._clock.monotonic()
            if monotonic >= self._renewal:
                self._wake.set()  # nobody waits for the time to renew
            self._renewal = monotonic + LEASE.total_seconds() / 3
        groups: dict[tuple[str, str], Group] = {}
        for delivery in self._claims.take(claimed):
            key = delivery.mail_id, delivery.destination
            group = groups.get(key)
            if group is None:
                groups[key] = Group(*key, [delivery], mail)
            else:
                group.deliveries.append(delivery)
        for group in groups.values():
            if self._stopping.is_set():
                self._claims.give_back(group.deliveries)
            elif not self._postponedunreached(group):
                self._lanes.add(group)
        if len(self._claims) > _MOST_HELD:
            for group in self._lanes.surplus():
                self._claims.give_back(group.deliveries)
        self._attempts.begin()

    def _postponedunreached(self, group: Group) -> bool:
        """Postpone a group whose destination rests, without a task of its own, unless there is more to do."""
        answer = self._lanes.answer_of(group.destination)
        if answer is None:
            return False
        verdicts = self._judge(
            group, None, dict.fromkeys((one.recipient for one in group.deliveries), answer)
        )
        if any(verdict.report is not None for verdict, _ in verdicts):
            return False
        for verdict, result in verdicts:
            self._settle(verdict.settled, result)
        return True

    # -- time

    def _pause(self) -> float:
        """Return the seconds until there is something to do, or may be."""
        pauses = [LEASE.total_seconds()]
        if self._due is not None and not self._stopping.is_set() and not self._more:
            pauses.append((self._due - self._clock.now()).total_seconds())
        until_renewal = self._renewal - self._clock.monotonic()
        if self._claims or until_renewal > 0:  # soon there are some again
            pauses.append(until_renewal)
        return max(min(pauses), 0.0)

    async def _look_at_the_clock(self) -> None:
        leap = self._leaps.leapt()
        if leap is not None:
            log.warning("the clock has leapt", extra={"event": "leap", "seconds": leap.total_seconds()})
            self._must_bring_forward = True
        if self._must_bring_forward and not self._stopping.is_set():
            await self._bring_forward()
            self._must_bring_forward, self._more = False, True
            self._renewal = 0.0  # a clock that went ahead has ended our leases

    async def _bring_forward(self) -> None:
        latest = self._clock.now() + timedelta(seconds=self._schedule.longest)
        count = await self._storage.bring_forward(latest)
        if count:
            log.warning("attempts brought forward", extra={"event": "forward", "count": count})

    async def _keep_leases(self) -> None:
        monotonic = self._clock.monotonic()
        if self._claims and monotonic >= self._renewal:
            self._renewal = monotonic + LEASE.total_seconds() / 3
            await self._claims.renew()

    def _changed(self) -> None:
        self._more = True
        self._wake.set()

    # -- attempts

    def _start_others(self) -> None:
        self._attempts.begin()
        self._wake.set()

    def _ended(self, group: Group, *, began: bool, more: bool) -> None:
        if not began:
            self._claims.give_back(group.deliveries)
        self._more = self._more or more
        if self._more:
            self._wake.set()

    async def _attempt(self, group: Group) -> None:
        mail = group.mail
        try:
            mail, results = await self._try(group)
            verdicts = self._judge(group, mail, results)
        except asyncio.CancelledError:
            if self._stopping.is_set():
                self._claims.give_back(group.deliveries)
                return
            log.error("attempt was cancelled", extra=_of(group))
            verdicts = self._judge(group, mail, {})
        except Exception:
            log.exception("attempt failed", extra=_of(group))
            verdicts = self._judge(group, mail, {})
        group.concluding = True  # what has been delivered is not tried again
        await self._conclude(group, mail, verdicts)

    def _limit(self, destination: str) -> int:
        try:
            return self.transport.concurrency(destination)
        except Exception:
            log.exception("transport failed", extra={"destination": destination})
            return 1

    def _is_remote(self, destination: str) -> bool:
        return isinstance(self.transport, Parted) and self.transport.is_remote(destination)

    async def _try(self, group: Group) -> tuple[MailTx | None, Mapping[str, RecipientResult]]:
        answer = self._lanes.answer_of(group.destination)
        if answer is not None:
            return group.mail, {delivery.recipient: answer for delivery in group.deliveries}
        mail = group.mail or await self._load(group)
        if mail is None:
            return None, {delivery.recipient: _UNREADABLE for delivery in group.deliveries}
        results = await self.transport.deliver(mail, group.deliveries)
        if results and all(map(unreached, results.values())):
            self._lanes.unanswered(group.destination, next(iter(results.values())))
        else:
            self._lanes.answered(group.destination)
        return mail, results

    async def _load(self, group: Group) -> MailTx | None:
        """Return the message; None where it cannot be read, which an operator has to look at."""
        try:
            return await self._contents.load(group.mail_id, remote=group.remote)
        except StorageError as error:
            log.error("message cannot be read, and is kept: %s", error, extra=_of(group))
            return None

    # -- results

    def _judge(
        self, group: Group, mail: MailTx | None, results: Mapping[str, RecipientResult]
    ) -> list[tuple[Verdict, RecipientResult]]:
        now = self._clock.now()
        verdicts = []
        for delivery in group.deliveries:
            result = results.get(delivery.recipient, _FAILED)
            verdict = judge(
                delivery,
                result,
                self._schedule,
                now=now,
                age=self._leaps.age,
                random=self._random,
                success=mail is not None and wants_success(mail, delivery.index),
            )
            verdicts.append((verdict, result))
        return verdicts

    async def _conclude(
        self, group: Group, mail: MailTx | None, verdicts: list[tuple[Verdict, RecipientResult]]
    ) -> None:
        reports = {}
        for verdict, result in verdicts:
            if verdict.report is None:
                self._settle(verdict.settled, result)
            else:
                reports[verdict.settled.recipient] = verdict.report
        if not reports:
            return
        told = await self._tell(group, mail, reports)
        for verdict, result in verdicts:
            if verdict.report is not None:
                self._settle(verdict.settled if told else verdict.untold, result)

    async def _tell(self, group: Group, mail: MailTx | None, reports: Mapping[str, RecipientResult]) -> bool:
        if self._on_outcomes is None:
            return True
        mail = mail or await self._load(group)
        if mail is None:
            return False
        delivered = any(report.outcome is Outcome.ACCEPTED for report in reports.values())
        for pause in (*_REPORT_PAUSES, None):
            try:
                answer = self._on_outcomes(mail, reports)
                if inspect.isawaitable(answer):
                    await answer
            except Exception as error:
                log_failure(log, "outcomes could not be reported", error, _of(group))
            else:
                return True
            if pause is None or not delivered:
                break
            await self._clock.wait(self._stopping, pause)
        return False

    def _settle(self, settled: Delivery, result: RecipientResult) -> None:
        self._claims.settle(settled)
        if result.outcome is Outcome.UNKNOWN:
            self._unknown += 1
        if log.isEnabledFor(logging.INFO):
            fields = log_fields(settled, result, self._unknown)
            log_event(log, str(fields["event"]), fields)

    def _settled(self, due: datetime | None, again: list[Delivery]) -> None:
        if again:
            self._take(again)
        sooner = due is not None and (self._due is None or due < self._due)
        if sooner:
            self._due = due
        if again or sooner or self._more:
            self._wake.set()


def _of(group: Group) -> dict[str, object]:
    return {"id": group.mail_id, "destination": group.destination}
