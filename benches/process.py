"""What Linux's /proc says of a process: its CPU time and its memory."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

pause = time.sleep


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Have the processes that are started in the block run on this core alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, all its threads and its living children, from ``/proc/PID/task/*/schedstat``.

    ``schedstat`` counts nanoseconds, where ``stat`` counts ticks of 10 ms.
    """
    total = 0
    seconds = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
        for child in (task / "children").read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                seconds += cpu_seconds(int(child))
    return total / 1e9 + seconds


def settled_cpu_seconds(pid: int) -> float:
    """Return the CPU time once the process has come to rest (what a load left behind is its cost too)."""
    before = cpu_seconds(pid)
    for _ in range(100):
        pause(0.02)
        now = cpu_seconds(pid)
        if now - before < 0.0002:
            return now
        before = now
    return before


def memory_kib(pid: int, field: str) -> int:
    """Return a field of ``/proc/PID/status`` in KiB: ``VmHWM`` is the peak, ``VmRSS`` what is resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise LookupError(f"/proc/{pid}/status has no {field}")
