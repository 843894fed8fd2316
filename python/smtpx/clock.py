"""Time as the queue sees it: given to it, so that tests move it, and watched for leaps of the clock."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta

__all__ = ["Clock", "Leaps"]

_LEAST = timedelta(minutes=1)  # less is the system's own steering of its clock (NTP)


class Clock:
    """The system's clock. A test has a subclass of its own, and so waits for nothing."""

    def now(self) -> datetime:
        """Return the wall clock's time, aware and in UTC; somebody may set it, backward too."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that nobody sets."""
        return time.monotonic()

    async def wait(self, event: asyncio.Event, seconds: float | None = None) -> None:
        """Wait for the event, but at most so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


class Leaps:
    """Sees the wall clock leap against the monotonic one (HOSTILE 98), and tells ages without the leap.

    A clock that is set a day ahead makes no message a day older: else all of them were given up at once. A
    system that was suspended looks the same, and its messages may take that much longer.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._forward: list[tuple[datetime, timedelta]] = []  # the last moment before it, and its length
        self._leap: timedelta | None = None  # that `leapt` has not told yet
        self._look()

    def leapt(self) -> timedelta | None:
        """Return how far the wall clock has leapt since the last call, None where it has not."""
        self._notice()
        leap, self._leap = self._leap, None
        return leap

    def age(self, received: datetime, now: datetime) -> float:
        """Return a message's age in seconds; less than 0: it came while the clock was ahead."""
        self._notice()  # an attempt may end between the leap and whoever looks for leaps
        age = now - received
        for before, leap in self._forward:
            if received <= before:
                age -= leap
        return age.total_seconds()

    def _notice(self) -> None:
        wall, monotonic = self._wall, self._monotonic
        self._look()
        before = wall + timedelta(seconds=self._monotonic - monotonic)
        leap = self._wall - before
        if abs(leap) < _LEAST:
            return
        # There and back is a leap too: what was postponed between waits for a day that is far off.
        self._leap = leap + (self._leap or timedelta())
        if leap > timedelta():
            self._forward.append((before, leap))

    def _look(self) -> None:
        self._wall, self._monotonic = self._clock.now(), self._clock.monotonic()
