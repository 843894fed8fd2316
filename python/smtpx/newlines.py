"""Line ends of content that is sent in pieces: checked, and counted, before the first of them leaves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from smtpx._core import count_bare_newlines
from smtpx.errors import SyntaxRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Octets", "check_newlines", "mended_size"]

Octets: TypeAlias = "bytes | bytearray | memoryview"

_BARE: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n")


def check_newlines(pieces: Iterable[Octets]) -> None:
    """Look for a CR or LF that is no part of a CRLF; the engine would find it when half is sent.

    Raises:
        SyntaxRefused: there is one; its ``offset`` is where, in octets.

    """
    taken, last = 0, b""
    for piece in pieces:
        octets = last + piece
        # What the last octet is, if it is a CR, the next piece tells; one that was looked at is only context.
        start = 1 if last == b"\n" else 0
        end = len(octets) - 1 if octets.endswith(b"\r") else len(octets)
        if bare := _BARE.search(octets[:end] if end < len(octets) else octets, start):
            raise _refused(taken - len(last) + bare.start())
        taken += len(piece)
        last = octets[-1:]
    if last == b"\r":
        raise _refused(taken - 1)


def mended_size(pieces: Iterable[Octets]) -> int:
    """Return how many octets they are once every line ends with CRLF: what SIZE declares (RFC 1870 3)."""
    size, last = 0, b""
    for piece in pieces:
        size += len(piece) + count_bare_newlines(piece)
        if last == b"\r" and piece[:1] == b"\n":
            size -= 2  # one CRLF, not two bare ones
        last = bytes(piece[-1:]) or last
    return size if last in (b"", b"\r", b"\n") else size + 2


def _refused(offset: int) -> SyntaxRefused:
    return SyntaxRefused("a CR or LF stands alone; end each line with CRLF", 554, "5.6.0", offset)
