"""The trace line that a message gets on its way (RFC 5321 4.4), and how many it has already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpx._core import count_received, trace_line
from smtpx.folding import on_the_wire

if TYPE_CHECKING:
    from datetime import datetime

    from smtpx.mail import MailTx

__all__ = ["count_received", "received_line"]


def received_line(mail: MailTx, by: str, date: datetime) -> bytes:
    """Return the ``Received:`` field for the message, folded, its CRLF included.

    Args:
        mail: with the session that brought it; without one, or by a unix socket, there is no "from" address.
        by: this server's name.
        date: when the content was received, aware.

    """
    session, recipients = mail.session, mail.recipients
    client = None
    if session is not None:
        host = None if isinstance(session.peer, str) else session.peer[0]
        logged_in = session.user is not None
        client = (session.helo, host, session.esmtp, session.tls, logged_in, session.tls_info)
    # A domain beyond ASCII needs no SMTPUTF8 of the next host: nor may what we add to the header.
    recipient = on_the_wire(recipients[0]) if len(recipients) == 1 else None
    return trace_line(by, mail.id, date, "SMTPUTF8" in mail.params, recipient, client)
