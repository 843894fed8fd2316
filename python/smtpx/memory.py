"""What malloc keeps, and what it gives back to the system."""

from __future__ import annotations

import ctypes
import sys
import time

__all__ = ["keep_buffers", "release"]

_SHARE = 1000  # a slow call rests for so many times what it took
_QUICK = 0.0005  # seconds of CPU that a call may take and come again at once


def keep_buffers() -> None:
    """Have the buffers of reads come from the heap, also where the loop takes a new one for each read.

    asyncio asks for 256 KiB a read. glibc maps and unmaps so much each time, 22 us, unless something as large
    was freed before: then its threshold has moved. Whether a program happens to have done so is no chance to
    be left to; freeing 1 MiB does it, on the spot, and elsewhere does nothing.
    """
    bytes(1 << 20)


class _Release:
    """Give back the free memory that lies in whole pages (glibc's malloc_trim; elsewhere nothing).

    Called before a handshake, for idle TLS connections: a loop's TLS buffer is 256 KiB of which little is
    touched. Cut from where the handshake before it left its used pages, it keeps those: 48 KiB a connection
    instead of 26 on uvloop. It takes some 20 us, but tens of ms in a large heap in pieces: then it rests for
    long, since clients decide how often there is a handshake. Only its own CPU counts: on a busy machine a
    short call can wait long for its turn, and a rest for that would cost the memory that it is there to save.
    """

    def __init__(self) -> None:
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
        self._rests_until = 0.0

    def __call__(self) -> None:
        if self._trim is None or time.monotonic() < self._rests_until:
            return
        began = time.thread_time()
        self._trim(0)
        took = time.thread_time() - began
        if took > _QUICK:
            self._rests_until = time.monotonic() + took * _SHARE


release = _Release()
