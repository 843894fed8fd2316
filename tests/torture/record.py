"""What the senders of a torture know, kept where no fault reaches, and compared with what a server kept."""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpx import Outcome

from tests.torture.messages import Copy, copies_of, new_mark

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smtpx.result import RecipientResult

__all__ = ["Harvest", "Record"]


@dataclass
class Harvest:
    """What a server that is not running has kept.

    Attributes:
        delivered: the copies that came to where they stay, since the harvest before.
        queued: the copies that wait to be taken there.
        damaged: what is not whole, and what the server's own ledger complains of.
        set_aside: what the server itself found damaged, or could not write, and put into quarantine or held.
        ledger: how many copies the server's own ledger knows, where it has one.
        hit: what the server was doing when it died, as far as that can be seen.

    """

    delivered: Counter[Copy] = field(default_factory=Counter)
    queued: Counter[Copy] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)
    ledger: int | None = None
    hit: set[str] = field(default_factory=set)


class Record:
    """The senders' own record; no ledger of a server can show what the server never knew.

    Attributes:
        acknowledged: the copies for which 250 was read.
        messages: how many messages were acknowledged for all of their recipients.
        in_flight: how often a copy was sent, and no answer read: only these may be kept once more each.
        refused: how often a copy was answered with a code of 4yz or 5yz; what was refused may not be kept.
        delivered: the copies that were found where they stay.
        lost: acknowledged, and neither delivered nor queued.
        twice: kept more often than the answers allow.
        damaged, set_aside: as in `Harvest`, of all harvests.
        hit: how many harvests each thing of `Harvest.hit` was seen in.

    """

    def __init__(self, seed: int, largest: int = 40_000) -> None:
        self.acknowledged: set[Copy] = set()
        self.messages = 0
        self.attempts = 0
        self.in_flight: Counter[Copy] = Counter()
        self.refused: Counter[int] = Counter()
        self.delivered: Counter[Copy] = Counter()
        self.lost: set[Copy] = set()
        self.twice: set[Copy] = set()
        self.damaged: list[str] = []
        self.set_aside: list[str] = []
        self.hit: Counter[str] = Counter()
        self._owed: set[Copy] = set()
        self._struck: set[Copy] | None = None
        self._again: deque[list[Copy]] = deque()
        self._made = 0
        self._random = random.Random(seed)
        self._largest = largest

    def next(self) -> list[Copy]:
        """Return what to send: the copies of one message, what was not acknowledged first."""
        if self._again:
            return self._again.popleft()
        self._made += 1
        # Many small ones and some large, as mail is.
        return copies_of(new_mark(self._made, int(self._largest * self._random.random() ** 3)))

    def answered(self, copies: list[Copy], results: Mapping[str, RecipientResult]) -> None:
        """Write down what became of them; what was not acknowledged is to be sent again."""
        self.attempts += 1
        left = []
        for copy in copies:
            result = results[copy.recipient]
            if result.outcome is Outcome.ACCEPTED:
                self.acknowledged.add(copy)
                self._owed.add(copy)
                continue
            left.append(copy)
            if result.outcome is Outcome.UNKNOWN:
                self.in_flight[copy] += 1
            elif result.response is not None and self._struck is None:
                self.refused[result.response.code] += 1
            elif result.response is not None and self._struck is not None and copy not in self._struck:
                self._struck.add(copy)
                self.in_flight[copy] += 1
        if left:
            self._again.append(left)
        else:
            self.messages += 1

    def unsent(self, copies: list[Copy]) -> None:
        """Put back what could not be sent at all."""
        self._again.append(copies)

    def strike(self) -> None:
        """Say that the server is being struck down: what it refuses now may be on the disk all the same.

        Its last sync may have come to the disk and failed: no dead disk tells. A real cut leaves it no time
        to answer at all, so that a copy that it refuses, however often, was in flight once.
        """
        self._struck = set()

    def reconcile(self, harvest: Harvest) -> None:
        """Compare what was acknowledged with what is there."""
        self._struck = None
        self.delivered += harvest.delivered
        self._owed -= harvest.delivered.keys()
        self.lost |= self._owed - harvest.queued.keys()
        for copy in harvest.delivered.keys() | harvest.queued.keys():
            allowed = (copy in self.acknowledged) + self.in_flight[copy]
            # Not their sum: what was being delivered when the server died is there, and still queued.
            if max(self.delivered[copy], harvest.queued[copy]) > allowed:
                self.twice.add(copy)
        self.damaged += harvest.damaged
        self.set_aside += harvest.set_aside
        self.hit.update(harvest.hit)
        least = len(self.acknowledged)
        most = least + self.in_flight.total()
        if harvest.ledger is not None and not least <= harvest.ledger <= most:
            self.damaged.append(f"the ledger knows {harvest.ledger} copies, and must know {least} to {most}")

    @property
    def duplicates(self) -> int:
        """How many copies were delivered beyond the first of each."""
        return self.delivered.total() - len(self.delivered)

    @property
    def sound(self) -> bool:
        """Whether nothing is lost, nothing there without a reason, and all of it whole."""
        return not (self.lost or self.twice or self.damaged)

    def __repr__(self) -> str:  # a test that fails shows what it found
        return str(self)

    def __str__(self) -> str:
        parts = [
            f"{self.messages} messages ({len(self.acknowledged)} copies) acknowledged",
            f"{len(self.lost)} lost",
            f"{self.in_flight.total()} copies in flight",
            f"{self.duplicates} of them there twice",
        ]
        if self.refused:
            parts.append("refused " + ", ".join(f"{n} x {code}" for code, n in sorted(self.refused.items())))
        if self.hit:
            parts.append("hit " + ", ".join(f"{what} {n} times" for what, n in sorted(self.hit.items())))
        if self.set_aside:
            parts.append(f"{len(self.set_aside)} set aside")
        faults: dict[str, Sequence[object]] = {
            "LOST": sorted(self.lost),
            "TWICE WITHOUT A REASON": sorted(self.twice),
            "DAMAGED": self.damaged,
        }
        parts += [f"{name}: {', '.join(map(str, found[:5]))}" for name, found in faults.items() if found]
        return "; ".join(parts)
