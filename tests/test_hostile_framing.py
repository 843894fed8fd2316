"""HOSTILE rows 1-14 without exception: every short content, cut everywhere, against the rules in words.

The rules: only CRLF.CRLF ends the content. A CR or an LF outside a CRLF refuses it, or becomes a CRLF; a CR
before the CRLF of the end refuses it always. A dot that begins a line is removed.
"""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Literal

import pytest
from smtpx import EngineConfig, MessageEvent, ServerEngine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Newlines = Literal["reject", "normalize"]

OPENING = b"EHLO c.example\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
LONGEST = 6
END = b"\r\n.\r\nNOOP\r\n"


def contents() -> Iterator[bytes]:
    for length in range(LONGEST + 1):
        for octets in product(b"\r\n.x", repeat=length):
            yield bytes(octets) + END


def expected(stream: bytes, newlines: Newlines) -> bytes | None:
    """The content up to its end, by the rules; None when it is refused."""
    body = (b"\r\n" + stream).partition(b"\r\n.\r\n")[0][2:]
    lines = body.split(b"\r\n")
    if newlines == "reject" and any(b"\r" in line or b"\n" in line for line in lines):
        return None
    if lines[-1].endswith(b"\r"):
        return None
    if not body and stream.startswith(b".\r\n"):
        return b""
    return b"".join(re.sub(rb"[\r\n]", b"\r\n", line.removeprefix(b".")) + b"\r\n" for line in lines)


CONFIGS = {
    newlines: EngineConfig("mx.example.org", bare_newline=newlines) for newlines in ("reject", "normalize")
}


def got(reads: Iterable[bytes], newlines: Newlines) -> bytes | None:
    """The content of the one message, None when it was refused."""
    engine = ServerEngine(CONFIGS[newlines])
    engine.start()
    engine.receive_data(OPENING)
    replies = b""
    for read in reads:
        event, output = engine.receive_data(read)
        replies += output
        if isinstance(event, MessageEvent):
            return event.data
        if b"\r\n" in replies:
            break
    assert replies.startswith(b"554 5.6.0 "), replies
    assert engine.closed
    return None


@pytest.mark.parametrize("newlines", ["reject", "normalize"])
def test_h14_every_short_content_cut_everywhere(newlines: Newlines) -> None:
    for stream in contents():
        wanted = expected(stream, newlines)
        assert got([stream], newlines) == wanted, stream
        assert got([stream[at : at + 1] for at in range(len(stream))], newlines) == wanted, stream
        for first in range(1, LONGEST + 5):
            for second in range(first, LONGEST + 5):
                reads = [stream[:first], stream[first:second], stream[second:]]
                assert got(reads, newlines) == wanted, reads
