"""The interface between the server and the program: what a handler is asked, and the answers it may give."""

# ruff: noqa: ARG002 - the defaults ignore what they are asked about

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from smtpx._core import Response

if TYPE_CHECKING:
    from smtpx.mail import MailTx
    from smtpx.result import RecipientResult
    from smtpx.session import Session

__all__ = ["UNVERIFIED", "Answer", "Handler"]

# The same for every name, known or not (HOSTILE 34), and the same as the engine's own.
UNVERIFIED: Final = Response(252, "2.5.0 Cannot verify; send the message and delivery will be attempted")

Answer: TypeAlias = Awaitable[Response | None] | Response | None
"""What a hook gives back: a Response or None, at once (``def``) or awaited (``async def``)."""


class Handler:
    """A sink: it accepts every recipient and every message, and keeps nothing. Override what you want.

    Each method may be written ``def`` or ``async def``. One written ``def`` runs on the event loop and
    holds up every session while it runs, so it must not block; one written ``async def`` may await, and is
    cancelled after 60 s, ``serve_mail_tx`` after 300 s (both are fields of ``Limits``).

    The ``check_`` methods return None to accept or a `Response` to refuse. A method that raises, or is
    cancelled by its timeout, or answers with a code that means something else to the client, as 354 to
    RCPT, is answered 451 4.3.0; the text of the exception goes to the log, never to the client. A method
    that is not overridden costs nothing: the engine answers by itself.

    Addresses come without brackets; "" is the null reverse-path, and "Postmaster" the one recipient without
    a domain (RFC 5321 4.5.1). Parameters have upper-case keys, the values as sent (xtext not decoded), ""
    for a parameter without a value.
    """

    dsn: bool = False
    """True when the handler keeps the DSN parameters of a message; only then is DSN offered (RFC 3461)."""

    def check_connect(self, session: Session) -> Answer:
        """Before the banner. A refusal is the banner (554 or 421), and the connection is then closed."""
        return None

    def check_helo(self, session: Session, name: str) -> Answer:
        """On HELO or EHLO, which calls itself ``name``."""
        return None

    def check_mail(self, session: Session, sender: str, params: dict[str, str]) -> Answer:
        """On MAIL, once its syntax and the service's policy are satisfied."""
        return None

    def check_rcpt(self, session: Session, recipient: str, params: dict[str, str]) -> Answer:
        """On each RCPT. This base class accepts EVERY recipient, as a sink does; it relays nothing."""
        return None

    def check_data(self, session: Session) -> Answer:
        """On DATA, or the first BDAT of a message, when at least one recipient was accepted."""
        return None

    def serve_mail_tx(self, mail: MailTx) -> Answer:
        """Take a whole message. None is 250; 2yz means that from now on the message is yours to lose."""
        return None

    def serve_auth(self, session: Session, username: str, password: str) -> Answer:
        """Log in; None or a 235 means yes, 535 means no, an exception is 454 4.7.0.

        The server asks its environment, and not the handler, as long as this method is not overridden; it
        then also holds the sender of a message against the account (553 5.7.1). A handler that overrides this
        has names of its own, and says in `check_mail` who may send as whom. Called all the same (as
        ``super().serve_auth``), it lets nobody in.
        """
        return Response(535, "5.7.8 Authentication credentials invalid")

    def serve_verify(self, session: Session, name: str) -> Answer:
        """Answer VRFY: by default the same for every name, so that nobody can list them (RFC 5321 7.3)."""
        return UNVERIFIED

    def serve_expand(self, session: Session, name: str) -> Answer:
        """Answer EXPN: by default the same for every name, as for VRFY."""
        return UNVERIFIED

    def serve_bounce(self, mail: MailTx, outcomes: Mapping[str, RecipientResult]) -> Answer:
        """Take what became of a message, to tell its sender who asked for that (RFC 3461).

        The queue calls this for recipients that are given up (PERMANENT, with the last reply, a 4yz one where
        time ran out), for those that take long (TEMPORARY, once), and for those that have the message, where
        NOTIFY asks for SUCCESS (ACCEPTED). An exception means that nobody was told.
        """
        return None
