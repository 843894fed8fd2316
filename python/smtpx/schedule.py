"""When a message is tried again, when its sender is warned, and when it is given up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpx.errors import ConfigurationError

if TYPE_CHECKING:
    from random import Random

__all__ = ["Schedule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The times of a message that cannot be delivered at once (RFC 5321 4.5.4.1), in seconds.

    Raises:
        ConfigurationError: one of them cannot be; the message says what to write instead.

    """

    gaps: tuple[float, ...] = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0)
    """What lies between two attempts; the last one between all further ones."""
    jitter: float = 0.1
    """Each gap is longer or shorter by up to this part of it: what failed together is tried apart."""
    lifetime: float = 432_000.0
    """How long after it was received a message is given up; ``math.inf``: never."""
    warn_after: float = 14_400.0
    """How long after it was received the sender is told that it takes long, once; ``math.inf``: never."""

    def __post_init__(self) -> None:
        if not self.gaps or not all(0 < gap < math.inf for gap in self.gaps):
            raise ConfigurationError("gaps must be one or more numbers of seconds, each more than 0")
        if not 0 <= self.jitter < 1:
            raise ConfigurationError("jitter must be 0 or more, and less than 1")
        for name in ("lifetime", "warn_after"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be more than 0 seconds")

    @property
    def longest(self) -> float:
        """The longest time between two attempts."""
        return max(self.gaps) * (1 + self.jitter)

    def gap(self, failed: int, age: float, random: Random) -> float:
        """Return the seconds from the failure of attempt number ``failed``, from 1, to the next attempt.

        An attempt falls on the moment of the warning and on the end of the lifetime, else both would be
        up to the longest gap late.
        """
        gap = self.gaps[min(failed, len(self.gaps)) - 1] * random.uniform(1 - self.jitter, 1 + self.jitter)
        for moment in (self.warn_after, self.lifetime):
            if age < moment < age + gap:
                gap = moment - age
        return gap

    def is_late(self, age: float, failed: int) -> bool:
        """Tell whether the sender is to be warned of a message of this age and so many failed attempts."""
        return self._age(age, failed) >= self.warn_after

    def is_over(self, age: float, failed: int) -> bool:
        """Tell whether the message is to be given up.

        Its age alone does not say so: every growing gap that fits into the lifetime must have been waited
        for. After days in which the server was down, or with a clock that is years ahead (HOSTILE 98), a
        message is so tried for hours, instead of bounced with all others at the first failure.
        """
        return self._age(age, failed) >= self.lifetime and failed > self._fitting()

    def _age(self, age: float, failed: int) -> float:
        """Of what was received by a clock that was ahead, the attempts tell the age."""
        return age if age >= 0 else self._waited(failed)

    def _waited(self, failed: int) -> float:
        """Return how long so many attempts take, from the first one."""
        waits = failed - 1
        return sum(self.gaps[:waits]) + max(waits - len(self.gaps), 0) * self.gaps[-1]

    def _fitting(self) -> int:
        return sum(self._waited(count + 1) < self.lifetime for count in range(1, len(self.gaps) + 1))
