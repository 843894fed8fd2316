"""`frequent` with a clock that SIGUSR1 sets `LEAP` ahead, and SIGUSR2 back."""

from __future__ import annotations

import signal
import time
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

import smtpx.clock
import smtpx.desk
import smtpx.local
import smtpx.storage.sqlite

from tests.torture.frequent import main

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["AHEAD", "BACK"]

AHEAD, BACK = signal.SIGUSR1, signal.SIGUSR2
LEAP = timedelta(days=30)
"""More than a message's lifetime."""

_real_time, _real_time_ns = time.time, time.time_ns


class _Leaping(datetime):
    ahead = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + cls.ahead


def _leap(number: int, _: FrameType | None) -> None:
    _Leaping.ahead += LEAP if number == AHEAD else -LEAP


if __name__ == "__main__":
    for module in (smtpx.clock, smtpx.desk, smtpx.local, smtpx.storage.sqlite):
        module.datetime = _Leaping  # type: ignore[attr-defined]
    time.time = lambda: _real_time() + _Leaping.ahead.total_seconds()
    time.time_ns = lambda: _real_time_ns() + int(_Leaping.ahead.total_seconds()) * 1_000_000_000
    signal.signal(AHEAD, _leap)
    signal.signal(BACK, _leap)
    main()
