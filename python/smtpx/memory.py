"""Keep idle TLS connections small on glibc: a setting of the whole process, for the program that owns it."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

__all__ = ["hold_mmap_threshold"]

_M_MMAP_THRESHOLD = -3  # malloc.h
_THRESHOLD = 128 << 10  # octets; glibc's own first value


def hold_mmap_threshold() -> None:
    """Map each large block by itself, as glibc does until the first such block is freed (mallopt(3)).

    uvloop keeps a buffer of 256 KiB a TLS connection, of which it touches little. Once the first is freed,
    glibc takes further ones from the heap, where they share pages with what is freed around them: an idle
    connection then costs 48 KiB instead of 26. Nothing happens where there is no mallopt.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _THRESHOLD)
