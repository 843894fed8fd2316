"""What a submission server adds to a message and takes out of it (RFC 6409 8): nothing else is touched."""

from __future__ import annotations

import re
from email.utils import format_datetime
from typing import TYPE_CHECKING

from smtpx.folding import fold_domain
from smtpx.headers import header_end, without_bcc

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["completed"]

_WANTED = re.compile(rb"^(date|message-id|(?:resent-)?bcc)[ \t]*:", re.IGNORECASE | re.MULTILINE)
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:|\r\n")


def completed(data: bytes, *, id: str, host: str, date: datetime) -> bytes:  # noqa: A002 - as of MailTx
    """Return the message with the Date and the Message-ID that it lacks, and without Bcc.

    Blind copies must not be seen by the other recipients (RFC 5322 3.6.3). Never for mail from other
    servers: theirs was submitted elsewhere, and may be signed.

    Args:
        data: the message; its lines end with CRLF.
        id: the message's id, of which a Message-ID is made.
        host: this server's name.
        date: when the message was received, aware.

    """
    end = header_end(data)
    found = {name.lower() for name in _WANTED.findall(data, 0, end)}
    added = b""
    if b"date" not in found:
        added = f"Date: {format_datetime(date)}\r\n".encode()
    if b"message-id" not in found:
        added += f"Message-ID: <{id}@{fold_domain(host)}>\r\n".encode()
    if not found.isdisjoint((b"bcc", b"resent-bcc")):
        data = without_bcc(data[:end]) + data[end:]
    if added and not _FIELD.match(data):
        added += b"\r\n"  # there is no header, and what is there is not to become one
    return added + data
