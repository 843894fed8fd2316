"""The contract of `QueueStorage` kept in memory: the reference that the others are held against.

A `Disk` is what survives; each `MemoryStorage` on it is a process. What is on it is lost with the test.
"""

# ruff: noqa: A001, A002 - "id" is the attribute's name

from __future__ import annotations

import asyncio
import copy
import heapq
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self, TypeAlias

from smtpx.delivery import Delivery, State, destination_of
from smtpx.errors import MailNotFound, StorageError
from smtpx.mail import MailTx, new_id
from smtpx.storage.base import Audit, QueueStats
from smtpx.storage.entry import encode_envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from datetime import timedelta
    from pathlib import Path

Key: TypeAlias = tuple[str, int]

_ID_CHARACTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Disk:
    """Messages, a record for each recipient, and which process holds which."""

    now: Callable[[], datetime] = _now
    mails: dict[str, MailTx] = field(default_factory=dict)
    saved: dict[str, datetime] = field(default_factory=dict)
    """When a message was due at first."""
    bounced: dict[str, MailTx] = field(default_factory=dict)
    records: dict[str, list[Delivery]] = field(default_factory=dict)
    leases: dict[Key, MemoryStorage] = field(default_factory=dict)
    watchers: list[tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = field(default_factory=list)
    due: dict[str, list[tuple[datetime, str, int]]] = field(default_factory=lambda: defaultdict(list))
    """A heap a destination; an entry that is not as its record is says nothing."""

    def put(self, record: Delivery) -> None:
        """Write a record."""
        self.records[record.mail_id][record.index] = record
        if record.state is State.QUEUED:
            heapq.heappush(self.due[record.destination], (record.next_attempt, record.mail_id, record.index))

    def first(self, destination: str) -> Delivery | None:
        """Return the queued recipient of a destination that is due first."""
        heap = self.due[destination]
        while heap:
            moment, mail_id, index = heap[0]
            records = self.records.get(mail_id, [])
            record = records[index] if index < len(records) else None
            if record is not None and (record.state, record.next_attempt) == (State.QUEUED, moment):
                return record
            heapq.heappop(heap)
        del self.due[destination]
        return None

    def all(self) -> Iterator[Delivery]:
        """Give every record."""
        for records in self.records.values():
            yield from records

    def finish(self, mail_id: str) -> None:
        """Let the content go once every recipient is final."""
        records = self.records[mail_id]
        if mail_id in self.mails and all(record.state.final for record in records):
            mail = self.mails.pop(mail_id)
            if any(record.state is State.BOUNCED for record in records):
                self.bounced[mail_id] = mail

    def tell(self) -> None:
        """Call who watches."""
        for loop, changed in self.watchers:
            if loop is asyncio.get_running_loop():
                loop.call_soon(changed)
            else:
                loop.call_soon_threadsafe(changed)


_disks: dict[Path, Disk] = {}


class MemoryStorage:
    """A `QueueStorage` on a `Disk`; ``calls`` counts what it was asked."""

    def __init__(self, disk: Disk | None = None) -> None:
        self.disk = Disk() if disk is None else disk
        self.calls: Counter[str] = Counter()

    @classmethod
    def at(cls, directory: Path) -> Self:
        """Return a storage that finds again what another one of the directory has kept."""
        return cls(_disks.setdefault(directory, Disk()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End, or die: the leases come free."""
        disk = self.disk
        for key in [key for key, owner in disk.leases.items() if owner is self]:
            del disk.leases[key]
            record = self._record(key)
            if record is not None and not record.state.final:
                disk.put(replace(record, next_attempt=disk.now()))
        disk.tell()

    # -- Storage

    async def mail_save(self, mail: MailTx) -> None:
        mail.id = mail.id or new_id() if isinstance(mail.id, str) else mail.id
        encode_envelope(mail)  # a TypeError for what cannot be stored
        if not _is_id(mail.id):
            raise StorageError(f"{mail.id!r} cannot be a message's id")
        kept = _copied(mail)
        await self._asked("mail_save")
        disk, now = self.disk, self.disk.now()
        # A claim of what was here before is lost.
        token = 1 + max((record.token for record in disk.records.get(kept.id, [])), default=-1)
        for index in range(len(disk.records.get(kept.id, []))):
            disk.leases.pop((kept.id, index), None)
        disk.bounced.pop(kept.id, None)
        disk.mails[kept.id] = kept
        disk.saved[kept.id] = kept.postpone or min(kept.received or now, now)
        disk.records[kept.id] = [
            Delivery(
                mail_id=kept.id,
                index=index,
                recipient=recipient,
                destination=destination_of(recipient),
                state=State.QUEUED,
                attempts=kept.retry,
                next_attempt=disk.saved[kept.id],
                received=kept.received or now,
                changed=now,
                token=token,
            )
            for index, recipient in enumerate(kept.recipients)
        ]
        for record in disk.records[kept.id]:
            disk.put(record)
        disk.tell()

    async def mail_load(self, id: str) -> MailTx:
        await self._asked("mail_load")
        mail = _copied(self._mail(id))
        waiting = [record for record in self.disk.records[id] if record.state is State.QUEUED]
        if waiting:
            first = min(waiting, key=lambda record: record.next_attempt)
            mail.retry = first.attempts
            if first.next_attempt != self.disk.saved[id]:
                mail.postpone = first.next_attempt
        return mail

    async def mail_load_all(self) -> list[MailTx]:
        return [await self.mail_load(id) for id in sorted(self.disk.mails)]

    async def mail_delete(self, id: str) -> None:
        await self._asked("mail_delete")
        self._mail(id)
        self._end(self.disk.records[id], State.REMOVED)
        self.disk.mails.pop(id, None)

    async def mail_bounce(self, id: str) -> None:
        await self._asked("mail_bounce")
        self.disk.bounced[id] = self._mail(id)
        self._end(self.disk.records[id], State.BOUNCED)
        self.disk.mails.pop(id, None)

    # -- QueueStorage

    async def claim(
        self, now: datetime, lease: timedelta, limit: int, busy: Collection[str] = ()
    ) -> list[Delivery]:
        await self._asked("claim")
        disk = self.disk
        heads = [
            (first.next_attempt, first.mail_id, destination)
            for destination in list(disk.due)
            if destination not in busy and (first := disk.first(destination)) is not None
        ]
        heapq.heapify(heads)
        claimed: list[Delivery] = []
        while heads and len(claimed) < limit and heads[0][0] <= now:
            _, mail_id, destination = heapq.heappop(heads)
            together = [
                record
                for record in disk.records[mail_id]
                if (record.destination, record.state) == (destination, State.QUEUED)
                and record.next_attempt <= now
            ]
            claimed += [self._claimed(record, now, lease) for record in together[: limit - len(claimed)]]
            if (first := disk.first(destination)) is not None:
                heapq.heappush(heads, (first.next_attempt, first.mail_id, destination))
        return claimed

    async def renew(self, claimed: Sequence[Delivery], until: datetime) -> None:
        await self._asked("renew")
        for given in claimed:
            key = given.mail_id, given.index
            record = self._record(key)
            if record is not None and record.token == given.token and key in self.disk.leases:
                self.disk.put(replace(record, next_attempt=until))

    async def settle(self, settled: Sequence[Delivery]) -> list[Delivery]:
        await self._asked("settle")
        lost = []
        freed = False
        for given in settled:
            key = given.mail_id, given.index
            record = self._record(key)
            if record is None or record.token != given.token or record.state.final:
                lost.append(given)
                continue
            self.disk.leases.pop(key, None)
            held = record.state is State.HELD and not given.state.final
            state = State.HELD if held else given.state
            self.disk.put(replace(given, state=state, changed=self.disk.now()))
            self.disk.finish(given.mail_id)
            freed = freed or (given.state is State.QUEUED and given.next_attempt <= self.disk.now())
        if freed:
            self.disk.tell()
        return lost

    async def next_due(self, busy: Collection[str] = ()) -> datetime | None:
        await self._asked("next_due")
        firsts = (self.disk.first(name) for name in list(self.disk.due) if name not in busy)
        return min((first.next_attempt for first in firsts if first is not None), default=None)

    async def bring_forward(self, latest: datetime) -> int:
        await self._asked("bring_forward")
        late = [
            record
            for record in self.disk.all()
            if record.state is State.QUEUED and record.next_attempt > latest
        ]
        for record in late:
            self.disk.put(replace(record, next_attempt=latest))
        return len(late)

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        watchers, watcher = self.disk.watchers, (asyncio.get_running_loop(), changed)
        watchers.append(watcher)

        def end() -> None:
            if watcher in watchers:
                watchers.remove(watcher)

        return end

    async def deliveries(
        self,
        *,
        mail_id: str | None = None,
        states: Collection[State] | None = None,
        destination: str | None = None,
        limit: int = 1000,
    ) -> list[Delivery]:
        await self._asked("deliveries")
        found = [
            record
            for record in self.disk.all()
            if (mail_id is None or record.mail_id == mail_id)
            and (states is None or record.state in states)
            and (destination is None or record.destination == destination)
        ]
        return sorted(found, key=lambda one: (one.received, one.mail_id, one.index))[:limit]

    async def change(
        self,
        state: State,
        ids: Collection[str] | None,
        recipient: str | None = None,
        *,
        of: Collection[State] = (State.QUEUED, State.HELD),
    ) -> int:
        await self._asked("change")
        if state in (State.DELIVERED, State.BOUNCED):
            raise ValueError(f"{state.value} cannot be ordered: it is what an attempt comes to")
        waiting = [
            record
            for record in self.disk.all()
            if record.state in of
            and not record.state.final
            and (ids is None or record.mail_id in ids)
            and (recipient is None or record.recipient.lower() == recipient.lower())
        ]
        if state is State.REMOVED:
            return self._end(waiting, state)
        count, now = 0, self.disk.now()
        for record in waiting:
            # An attempt under way goes on: its end is when the next one may be.
            key = record.mail_id, record.index
            under_way = key in self.disk.leases and record.next_attempt > now
            if record.state is state and (state is State.HELD or under_way or record.next_attempt <= now):
                continue
            due = record.next_attempt if under_way or state is State.HELD else now
            self.disk.put(replace(record, state=state, next_attempt=due, changed=now))
            if not under_way:
                self.disk.leases.pop(key, None)
            count += 1
        if state is State.QUEUED and count:
            self.disk.tell()
        return count

    async def stats(self, now: datetime) -> QueueStats:
        await self._asked("stats")
        waiting = [record for record in self.disk.all() if not record.state.final]
        queued = [record for record in waiting if record.state is State.QUEUED]
        ids = {record.mail_id for record in waiting}
        return QueueStats(
            recipients=self._states(),
            messages=len(ids),
            octets=sum(len(self.disk.mails[id].data) for id in ids),
            due=sum(record.next_attempt <= now for record in queued),
            oldest=min((record.received for record in waiting), default=None),
            destinations=dict(Counter(record.destination for record in queued).most_common(10)),
        )

    async def audit(self) -> Audit:
        await self._asked("audit")
        disk, faults = self.disk, []
        for id, records in disk.records.items():
            waits = any(not record.state.final for record in records)
            if waits and id not in disk.mails:
                faults.append(f"message {id} waits and has no content")
            if not waits and id in disk.mails:
                faults.append(f"message {id} is done and has content")
            if id in disk.mails and len(records) != len(disk.mails[id].recipients):
                faults.append(f"message {id} has {len(records)} records for its recipients")
        faults += [f"message {id} has no records" for id in disk.mails.keys() - disk.records.keys()]
        return Audit(len(disk.records), self._states(), sorted(faults))

    # -- within

    async def _asked(self, what: str) -> None:
        self.calls[what] += 1
        await asyncio.sleep(0)

    def _states(self) -> dict[State, int]:
        counts = Counter(record.state for record in self.disk.all())
        return {state: counts[state] for state in State}

    def _record(self, key: Key) -> Delivery | None:
        records = self.disk.records.get(key[0], [])
        return records[key[1]] if key[1] < len(records) else None

    def _mail(self, id: str) -> MailTx:
        try:
            return self.disk.mails[id]
        except KeyError:
            raise MailNotFound(f"there is no message {id!r}") from None

    def _claimed(self, record: Delivery, now: datetime, lease: timedelta) -> Delivery:
        claimed = replace(record, next_attempt=now + lease, changed=now, token=record.token + 1)
        self.disk.leases[record.mail_id, record.index] = self
        self.disk.put(claimed)
        return claimed

    def _end(self, records: Iterable[Delivery], state: State) -> int:
        waiting = [record for record in records if not record.state.final]
        for record in waiting:
            self.disk.leases.pop((record.mail_id, record.index), None)
            self.disk.put(replace(record, state=state, changed=self.disk.now()))
        for id in {record.mail_id for record in waiting}:
            self.disk.finish(id)
        return len(waiting)


def _is_id(id: str) -> bool:
    return id[:1].isalnum() and len(id) <= 128 and set(id) <= _ID_CHARACTERS


def _copied(mail: MailTx) -> MailTx:
    return MailTx(
        mail.mail_from,
        list(mail.recipients),
        mail.data,
        params=dict(mail.params),
        rcpt_params=[dict(params) for params in mail.rcpt_params],
        id=mail.id,
        received=mail.received,
        postpone=mail.postpone,
        retry=mail.retry,
        session=copy.copy(mail.session),
    )
