"""The messages of a torture: each follows from its mark, so that a copy tells whether it is whole."""

from __future__ import annotations

import random
import re
from typing import NamedTuple

import smtpx

__all__ = ["DOMAIN", "LOCALS", "SENDER", "Copy", "content", "copies_of", "message", "new_mark", "recognise"]

DOMAIN = "example.org"
LOCALS = ("joe", "ann", "max")
SENDER = "torture@example.net"
_RECIPIENTS = [f"{local}@{DOMAIN}" for local in LOCALS]


class Copy(NamedTuple):
    """A message for one recipient: what a server answers for, and what must be found again."""

    mark: str
    recipient: str


def new_mark(number: int, octets: int) -> str:
    """Return the mark of a new message with about so many octets."""
    return f"m{number}-{octets}"


def copies_of(mark: str) -> list[Copy]:
    """Return a copy for each of the message's recipients, of which it has one, two or three."""
    return [Copy(mark, recipient) for recipient in _RECIPIENTS[random.Random(mark).randrange(3) :]]


def content(mark: str) -> bytes:
    """Return the content: the same octets whenever asked."""
    octets = int(mark.partition("-")[2])
    body = random.Random(mark).randbytes(octets // 2).hex(" ", -36).replace(" ", "\r\n")
    return f"X-Mark: {mark}\r\n\r\n{body}\r\n".encode()


def message(copies: list[Copy]) -> smtpx.MailTx:
    """Return these copies of one message as a client sends them."""
    return smtpx.MailTx(SENDER, [copy.recipient for copy in copies], content(copies[0].mark))


def recognise(found: bytes) -> str:
    """Return the mark of content that was found, with header fields on top and with whatever line ends.

    Raises:
        ValueError: it is not whole, or none of ours.

    """
    found = found.replace(b"\r\n", b"\n")
    match = re.search(rb"^X-Mark: (m\d+-\d+)\n", found, re.MULTILINE)
    if match is None:
        raise ValueError("it has no mark")
    mark = match[1].decode()
    if found[match.start() :] != content(mark).replace(b"\r\n", b"\n"):
        raise ValueError(f"{mark} is damaged")
    return mark
