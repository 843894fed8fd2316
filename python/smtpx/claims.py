"""What a queue has claimed: its leases are kept, and what became of it is written, many at once."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from smtpx.delivery import State
from smtpx.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from smtpx.clock import Clock
    from smtpx.delivery import Delivery
    from smtpx.storage.base import QueueStorage

__all__ = ["LEASE", "Claims", "backoff", "log_failure"]

_log = logging.getLogger("smtpx.queue")

LEASE = timedelta(minutes=5)
"""How long a claim is ours; renewed while an attempt takes longer."""
_LONGEST_PAUSE = 30.0

_Key: TypeAlias = tuple[str, int]


def log_failure(log: logging.Logger, what: str, error: Exception, fields: Mapping[str, object]) -> None:
    """Log what failed: a storage says in its own words what to do, of all else only a traceback tells."""
    trace = not isinstance(error, StorageError)
    log.error("%s: %s", what, error, exc_info=trace, extra=fields)


def backoff(failures: int) -> float:
    """Return for how many seconds to leave a storage alone that has failed so many times in a row."""
    return min(2.0 ** min(failures - 1, 10), _LONGEST_PAUSE)  # days of failures would overflow


class Claims:
    """The recipients that are claimed and not settled yet.

    Args:
        storage: where they are claimed.
        clock: the time.
        settled: called after each settling with the earliest moment at which one of them is due again, or
            None, and with those that were claimed anew before we knew that they were settled.

    """

    def __init__(
        self,
        storage: QueueStorage,
        clock: Clock,
        settled: Callable[[datetime | None, list[Delivery]], None],
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._settled = settled
        self._held: dict[_Key, Delivery] = {}
        self._results: dict[_Key, Delivery] = {}
        self._anew: set[_Key] = set()  # whose claim is none that the attempt under way can settle
        self._writing: dict[_Key, Delivery] = {}  # results that the storage has, and has not confirmed
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def unwritten(self) -> int:
        """How many results wait to be written."""
        return len(self._results)

    @property
    def under_way(self) -> int:
        """Of how many nothing has become yet."""
        return len(self._held) - len(self._results) - len(self._writing)

    def take(self, claimed: Iterable[Delivery]) -> list[Delivery]:
        """Take in what was claimed, and return what is new to us.

        After a leap of the clock our own leases look as if they had ended, and we are given again what we
        have: its attempt goes on under the new lease (HOSTILE 98). What was saved again meanwhile, or claimed
        by another process, is tried when that attempt is over, whose result is not written.
        """
        new = []
        for delivery in claimed:
            key = delivery.mail_id, delivery.index
            held = self._held.get(key)
            if held is None:
                new.append(delivery)
            elif delivery.token > held.token + 1:
                self._anew.add(key)
            self._held[key] = delivery
        return new

    def settle(self, delivery: Delivery) -> None:
        """Have it written, with whatever else waits for that."""
        self._results[delivery.mail_id, delivery.index] = delivery
        self._wake.set()

    def give_back(self, deliveries: Iterable[Delivery]) -> None:
        """Give back at once what nothing has become of."""
        now = self._clock.now()
        for delivery in deliveries:
            key = delivery.mail_id, delivery.index
            if key in self._held and key not in self._results and key not in self._writing:
                self.settle(replace(delivery, next_attempt=now))

    async def renew(self) -> None:
        """Let the leases of all begin anew."""
        await self._storage.renew(list(self._held.values()), self._clock.now() + LEASE)

    def close(self) -> None:
        """Let `run` end when everything is written."""
        self._closing.set()
        self._wake.set()

    async def run(self) -> None:
        """Write results until `close`; a storage that fails is asked again, and for the last time then."""
        failures = 0
        while self._results or not self._closing.is_set():
            if not self._results:
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._current()
            self._writing, self._results = self._results, {}
            try:
                lost = await self._storage.settle(batch)
            except Exception as error:
                failures += 1
                fields = {"event": "unwritten", "count": len(batch)}
                log_failure(_log, "results could not be written", error, fields)
                self._results = {(one.mail_id, one.index): one for one in batch} | self._results
                self._writing = {}
                if self._closing.is_set() and failures > 1:
                    return  # the leases end with us, and what was delivered is delivered again
                await self._clock.wait(self._closing, backoff(failures))
            else:
                failures, self._writing = 0, {}
                self._written(batch, lost)

    def _current(self) -> list[Delivery]:
        """Return the results, each with the token of the claim that we have now, if it is of that one."""
        batch = []
        for key, result in self._results.items():
            token = result.token if key in self._anew else self._held[key].token
            batch.append(result if result.token == token else replace(result, token=token))
        return batch

    def _written(self, batch: Sequence[Delivery], lost: Sequence[Delivery]) -> None:
        unwritten = {(one.mail_id, one.index) for one in lost}
        due: datetime | None = None
        again: list[Delivery] = []
        for result in batch:
            key = result.mail_id, result.index
            held = self._held[key]
            if held.token == result.token:
                del self._held[key]
                if key in unwritten:
                    _log_lost(result)
                elif result.state is State.QUEUED and (due is None or result.next_attempt < due):
                    due = result.next_attempt
            elif key in unwritten and key not in self._anew:
                self.settle(result)  # we were given it again while we wrote
            else:
                if key in unwritten:
                    _log_lost(result)
                self._anew.discard(key)
                del self._held[key]
                again.append(held)
        self._settled(due, again)


def _log_lost(result: Delivery) -> None:
    _log.warning(
        "result not written: the lease was lost, or an operator was faster",
        extra={
            "event": "lost",
            "id": result.mail_id,
            "recipient": result.recipient,
            "state": result.state.value,
        },
    )
