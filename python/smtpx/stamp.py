"""What a message gets when it reaches a mailbox (RFC 5321 4.4), and how it shows that it was there before."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from smtpx._core import count_bare_newlines
from smtpx.folding import fold_address
from smtpx.headers import header_end, without

if TYPE_CHECKING:
    from smtpx.mail import MailTx

__all__ = ["stamped", "was_delivered_to"]

_DELIVERED_TO = re.compile(rb"^delivered-to[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def stamped(mail: MailTx, recipient: str) -> bytes:
    """Return the content as it is kept in a mailbox: Return-Path and Delivered-To on top, LF line ends.

    A Return-Path that came along goes: there is one, and it is the envelope's. What is BINARYMIME keeps its
    octets, CRLF and all: its parts are no lines (RFC 3030 3).
    """
    data = mail.data
    end = header_end(data)
    header = data[:end]
    if b"return-path" in header.lower():
        header = without(header, b"Return-Path")
    top = f"Return-Path: <{_line(mail.mail_from)}>\r\nDelivered-To: {_line(recipient)}\r\n".encode()
    content = b"".join((top, header, data[end:]))
    if mail.params.get("BODY") == "BINARYMIME":
        return content
    # One octet is found several times as fast as two; a bare CR, which must stay, is nearly never there.
    return content.replace(b"\r\n", b"\n") if count_bare_newlines(content) else content.replace(b"\r", b"")


def was_delivered_to(mail: MailTx, recipient: str) -> bool:
    """Tell whether the message has been in this very mailbox: it comes from there, and goes round."""
    header = mail.data[: header_end(mail.data)]
    if b"delivered-to" not in header.lower():
        return False
    wanted = fold_address(recipient)
    found = (
        match[1].strip().strip(b"<>").decode("utf-8", "replace") for match in _DELIVERED_TO.finditer(header)
    )
    return any(fold_address(address) == wanted for address in found)


def _line(address: str) -> str:
    return _CONTROL.sub("", address)  # no address has any; one that does must not make a header
