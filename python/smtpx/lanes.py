"""What has been claimed and waits for its turn, a lane a destination, so that none holds up another."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from smtpx.delivery import Delivery
    from smtpx.mail import MailTx
    from smtpx.result import RecipientResult

__all__ = ["Group", "Lanes"]

_REST = 30.0  # seconds for which a destination is left alone: over when its first messages come due again
_MOST_UNREACHABLE = 10_000  # of which destinations we remember that nobody answered


@dataclass(slots=True, eq=False)
class Group:
    """A message for its recipients of one destination that were claimed together: one attempt."""

    mail_id: str
    destination: str
    deliveries: list[Delivery]
    mail: MailTx | None = None
    """The message, where the storage has handed it over."""
    remote: bool = False
    """Whether it goes to another host, as its lane does."""
    concluding: bool = False
    """Whether the transport has answered: from then on it is not cancelled."""


@dataclass(slots=True)
class _Lane:
    limit: int
    remote: bool
    running: int = 0
    waiting: deque[Group] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class _Unreachable:
    until: float
    result: RecipientResult


class Lanes:
    """The groups that wait, and how many of each destination are under way.

    A destination that cannot be reached is left alone for half a minute, in which its recipients are
    postponed with the answer of the one that tried: 100,000 messages for a dead domain are not 100,000
    timeouts (HOSTILE 86). After it one attempt at a time probes whether somebody answers again.

    Attributes:
        most: how many groups may be under way at once for other hosts, and how many for here; may be changed
            at any time.

    Args:
        most: as above.
        concurrency: how many for a destination.
        is_remote: whether a destination's mail goes to another host.
        monotonic: the time.
        idle: how many of those for other hosts, or for here, wait for something: as many as ``most`` of them
            are not counted.

    """

    def __init__(
        self,
        most: int,
        concurrency: Callable[[str], int],
        is_remote: Callable[[str], bool],
        monotonic: Callable[[], float],
        idle: Callable[[bool], int],
    ) -> None:
        self.most = most
        self._concurrency = concurrency
        self._is_remote = is_remote
        self._monotonic = monotonic
        self._idle = idle
        self._lanes: dict[str, _Lane] = {}
        self._running = {False: 0, True: 0}  # here, and to other hosts
        # Lanes that can start; their order is their turn.
        self._ready: dict[bool, dict[str, None]] = {False: {}, True: {}}
        self._full: dict[str, None] = {}
        self._unreachable: dict[str, _Unreachable] = {}  # what is left alone longest is last

    @property
    def full(self) -> Collection[str]:
        """The destinations of which no more is to be claimed."""
        return self._full.keys()

    def add(self, group: Group) -> None:
        """Let a group wait for its turn."""
        lane = self._lanes.get(group.destination)
        if lane is None:
            lane = _Lane(self._limit(group.destination), self._is_remote(group.destination))
            self._lanes[group.destination] = lane
        group.remote = lane.remote
        lane.waiting.append(group)
        self._sort(group.destination, lane)

    def has_room(self, *, remote: bool) -> bool:
        """Tell whether another group may be under way."""
        running, most = self._running[remote], self.most
        return running < most or running - min(self._idle(remote), most) < most

    def take(self) -> Group | None:
        """Take the next group whose turn it is, if one may start; `done` ends it."""
        for remote, ready in self._ready.items():
            if ready and self.has_room(remote=remote):
                destination = next(iter(ready))
                lane = self._lanes[destination]
                lane.running += 1
                self._running[remote] += 1
                group = lane.waiting.popleft()
                del ready[destination]
                if lane.waiting and lane.running < lane.limit:
                    ready[destination] = None  # behind the others; it is as full as it was
                return group
        return None

    def done(self, group: Group) -> bool:
        """End what was taken; True when more of its destination may be claimed than before."""
        destination = group.destination
        lane = self._lanes[destination]
        lane.running -= 1
        self._running[lane.remote] -= 1
        was_full = destination in self._full
        if not lane.running and not lane.waiting:
            del self._lanes[destination]
            self._full.pop(destination, None)
        else:
            lane.limit = self._limit(destination)
            self._sort(destination, lane)
        return was_full and destination not in self._full

    def surplus(self) -> Iterator[Group]:
        """Take out what waits beyond what each lane needs to go on."""
        for destination, lane in self._lanes.items():
            while len(lane.waiting) > lane.limit:
                yield lane.waiting.pop()
            self._sort(destination, lane)

    def clear(self) -> list[Group]:
        """Take out all that waits."""
        groups = [group for lane in self._lanes.values() for group in lane.waiting]
        for lane in self._lanes.values():
            lane.waiting.clear()
        for ready in self._ready.values():
            ready.clear()
        return groups

    def unanswered(self, destination: str, result: RecipientResult) -> None:
        """Note that the destination cannot be reached."""
        self._unreachable.pop(destination, None)
        self._unreachable[destination] = _Unreachable(self._monotonic() + _REST, result)
        if len(self._unreachable) > _MOST_UNREACHABLE:
            del self._unreachable[next(iter(self._unreachable))]

    def answered(self, destination: str) -> None:
        """Note that somebody answers there."""
        self._unreachable.pop(destination, None)

    def resting(self) -> list[str]:
        """Return the destinations that are left alone at this moment."""
        now, resting = self._monotonic(), []
        for destination, unreachable in reversed(self._unreachable.items()):
            if unreachable.until <= now:
                break
            resting.append(destination)
        return resting

    def answer_of(self, destination: str) -> RecipientResult | None:
        """Return what the recipients of a destination that is left alone are answered with."""
        unreachable = self._unreachable.get(destination)
        if unreachable is None or unreachable.until <= self._monotonic():
            return None
        return unreachable.result

    def _limit(self, destination: str) -> int:
        return 1 if destination in self._unreachable else max(self._concurrency(destination), 1)

    def _sort(self, destination: str, lane: _Lane) -> None:
        if lane.waiting and lane.running < lane.limit:
            self._ready[lane.remote].setdefault(destination)
        else:
            self._ready[lane.remote].pop(destination, None)
        if lane.running + len(lane.waiting) >= 2 * lane.limit:  # it has enough to go on with
            self._full[destination] = None
        else:
            self._full.pop(destination, None)
