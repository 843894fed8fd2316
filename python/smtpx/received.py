"""The trace line that a message gets on its way (RFC 5321 4.4), and how many it has already."""

from __future__ import annotations

import ipaddress
import re
from email.utils import format_datetime
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from smtpx.mail import MailTx
    from smtpx.session import Session

__all__ = ["count_received", "received_line"]

_UNSAFE = re.compile(r"[^A-Za-z0-9._:\[\]-]")  # nothing that ends a word, a comment or a line
_UNSAFE_IN_COMMENT = re.compile(r"[^A-Za-z0-9._ -]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_WORD = 255
_MAX_PATH = 900  # below the 998 of a header line (RFC 5322 2.1.1)
_RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)
_MAX_SCAN = 256 * 1024


def received_line(mail: MailTx, by: str, date: datetime) -> bytes:
    """Return the ``Received:`` field for the message, folded, its CRLF included.

    Args:
        mail: with the session that brought it; without one, or by a unix socket, there is no "from" address.
        by: this server's name.
        date: when the content was received, aware.

    """
    lines = [f"by {_word(by)} with {_protocol(mail)} id {_word(mail.id)}"]
    session = mail.session
    if session is not None:
        source = f"from {_word(session.helo)}"
        literal = _address_literal(session)
        lines.insert(0, f"{source} ({literal})" if literal else source)
        if session.tls_info:
            lines[-1] += f" ({_UNSAFE_IN_COMMENT.sub('_', session.tls_info)[:_MAX_WORD]})"
    # With several recipients the line would show each of them the others, blind copies too (RFC 5321 7.6).
    if len(mail.recipients) == 1 and _fit(mail.recipients[0], utf8="SMTPUTF8" in mail.params):
        lines.append(f"for <{mail.recipients[0]}>")
    trace = "\r\n ".join(lines)
    return f"Received: {trace};\r\n {_date(date.replace(microsecond=0), date.utcoffset())}\r\n".encode()


def count_received(data: bytes) -> int:
    """Count the ``Received:`` fields of a message; looks at its header only, and no further than 256 KiB.

    Hosts add theirs on top, so a message that goes round shows it well within that.
    """
    if data.startswith(b"\r\n"):
        return 0
    end = data.find(b"\r\n\r\n", 0, _MAX_SCAN)
    return sum(1 for _ in _RECEIVED.finditer(data, 0, min(len(data), _MAX_SCAN) if end < 0 else end))


@lru_cache(maxsize=16)  # messages of the same second share it
def _date(date: datetime, offset: timedelta | None) -> str:  # noqa: ARG001 - equal dates may differ in it
    return format_datetime(date)


def _protocol(mail: MailTx) -> str:
    """Return the word of the IANA registry of mail transmission types (RFC 3848, RFC 6531 4.3)."""
    session = mail.session
    if session is None or not session.esmtp:
        return "SMTP"
    name = "UTF8SMTP" if "SMTPUTF8" in mail.params else "ESMTP"
    return f"{name}{'S' if session.tls else ''}{'A' if session.user is not None else ''}"


def _address_literal(session: Session) -> str:
    return "" if isinstance(session.peer, str) else _literal(session.peer[0])


@lru_cache(maxsize=256)
def _literal(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return f"[{address}]" if address.version == 4 else f"[IPv6:{address}]"


def _word(text: str) -> str:
    return _UNSAFE.sub("_", text)[:_MAX_WORD] or "unknown"


def _fit(path: str, *, utf8: bool) -> bool:
    return len(path) <= _MAX_PATH and not _CONTROL.search(path) and (utf8 or path.isascii())
