"""`Client`: SMTP and LMTP on asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, TypeVar

from smtpx.errors import EngineError
from smtpx.link import Link
from smtpx.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Unpack

    from smtpx._core import Response
    from smtpx.compose import Sendable
    from smtpx.dialogue import Dialogue, Verb
    from smtpx.dsn_options import DSN
    from smtpx.info import ServerInfo
    from smtpx.mail import MailTx
    from smtpx.options import Settings
    from smtpx.result import Result
    from smtpx.sasl import Mechanism

__all__ = ["Client"]

_T = TypeVar("_T")


class Client:
    """A client of one server, on one connection.

    ::

        async with smtpx.Client("smtp+starttls://mail.example.org", username="joe", password="...") as client:
            result = await client.send(message)

    Args:
        url: ``smtp://host`` (port 25), ``smtps://host`` (465, TLS from the start),
            ``smtp+starttls://host`` (587), ``lmtp://host:24``, ``lmtp+unix:///path``, or a bare host; with
            ``user:password@``, percent-encoded, before a host.
        local_name: our name in EHLO; by default our address, as ``[192.0.2.1]`` (RFC 5321 4.1.4).
        settings: see `Settings`.

    Several tasks may use one client: their verbs take turns. A verb that is cancelled, or that runs out of
    time, closes the connection.

    Raises:
        ConfigurationError: arguments that cannot work.

    """

    def __init__(self, url: str, local_name: str | None = None, **settings: Unpack[Settings]) -> None:
        self._options = Options(url, local_name, **settings)
        self._lock = asyncio.Lock()
        self._link: Link | None = None

    async def connect(self) -> Response:
        """Connect, say hello, go over to TLS and log in as the arguments say; return the last reply to EHLO.

        Raises:
            ConnectionLost: nobody answers, or the connection broke.
            TLSFailed: TLS was asked for, and cannot be had.
            CommandRefused: the server does not want us; `LoginRefused`: not with this password.
            NotOffered: the server has no login that we may use.

        """
        async with self._lock:
            if self._link is not None:
                if self._link.usable:
                    raise EngineError("the client is connected already: close() first")
                await self._link.close()
            self._link = await Link.open(self._options)
            return self._link.welcome

    async def close(self) -> None:
        """Close the connection without a word; `quit` says it."""
        if self._link is not None:
            await self._link.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        link = self._link
        if link is None:
            return
        try:
            if error is None:
                async with self._lock:
                    await link.part()
        finally:
            link.abort()
            await link.close()

    # -- what is known

    @property
    def connected(self) -> bool:
        """Whether a verb may be said."""
        return self._link is not None and self._link.usable

    @property
    def server_info(self) -> ServerInfo:
        """The server, by its last reply to EHLO (RFC 5321 4.1.1.1)."""
        return self._connected.dialogue.server_info

    @property
    def tls(self) -> bool:
        """Whether the connection is in TLS."""
        return self._connected.dialogue.engine.tls

    # -- messages

    async def send(
        self,
        message: Sendable,
        *,
        mail_from: str | None = None,
        recipients: str | Sequence[str] | None = None,
        dsn: DSN | None = None,
        require_tls: bool = False,
    ) -> Result:
        """Send a message, to whom its header says (RFC 5322 3.6) unless `recipients` are given.

        Args:
            message: an `EmailMessage`, octets, the path of a file, or an open binary file; files are
                streamed, and an open one is left standing where it stood.
            mail_from: the reverse-path, where it is not the header's Sender or From; "" is the null one.
            recipients: who gets it, where they are not those of To, Cc and Bcc. Bcc is never sent.
            dsn: what reports the sender wants (RFC 3461).
            require_tls: refuse every hop without TLS (RFC 8689), and this one without a verified certificate.

        Raises:
            MessageRefused: no recipient was accepted; it has ``.result``, as every `ClientError` here.
            NotOffered: the message cannot be had in a form that the server takes.
            MessageTooLarge: the server takes no message of its size.
            TLSFailed: `require_tls`, and the connection is in clear text or with anybody.
            ValueError: there is no recipient, or an address or a header is none; nothing was sent.
            TypeError: it is no message.
            OSError: a file cannot be read, or changed while it was sent: nobody has it, and the connection is
                closed.

        """
        return await self._run(
            lambda dialogue: dialogue.send(message, mail_from, recipients, dsn, require_tls)
        )

    async def mail_tx(self, mail: MailTx) -> Result:
        """Send a message as it is: envelope, parameters, and content octet for octet (RFC 5321 3.3).

        Raises what `send` raises.
        """
        return await self._run(lambda dialogue: dialogue.mail_tx(mail))

    # -- the other verbs

    async def authenticate(self, mechanism: Mechanism, username: str, password: str) -> Response:
        """Log in (RFC 4954); the password of XOAUTH2 and OAUTHBEARER is the token.

        Raises:
            LoginRefused: the user name or the password is wrong.
            CommandRefused: the server refuses for another reason.
            NotOffered: the server does not have the mechanism, or it would show the password without TLS.

        """
        return await self._run(lambda dialogue: dialogue.authenticate(mechanism, username, password))

    async def starttls(self) -> Response:
        """Go over to TLS (RFC 3207); return the new reply to EHLO. Raises `TLSFailed`, and closes."""
        return await self._run(lambda dialogue: dialogue.starttls())

    async def expand(self, mailing_list: str) -> Response:
        """Ask for the members of a list (EXPN). Raises `CommandRefused`."""
        return await self._run(lambda dialogue: dialogue.command_on("EXPN", mailing_list))

    async def verify(self, mailbox: str) -> Response:
        """Ask whether a mailbox exists (VRFY). Raises `CommandRefused`."""
        return await self._run(lambda dialogue: dialogue.command_on("VRFY", mailbox))

    async def help(self, command: str = "") -> Response:
        """Ask for help on a command (HELP). Raises `CommandRefused`."""
        return await self._run(lambda dialogue: dialogue.command_on("HELP", command))

    async def noop(self) -> Response:
        """Ask for nothing (NOOP): it tells whether the server is there."""
        return await self._run(lambda dialogue: dialogue.command(b"NOOP"))

    async def reset(self) -> Response:
        """End a transaction begun by `send_command` (RSET)."""
        return await self._run(lambda dialogue: dialogue.command(b"RSET"))

    async def send_command(self, command: bytes | str) -> Response:
        """Send a line of your own, without its CRLF, that one reply answers. Raises `CommandRefused`."""
        return await self._run(lambda dialogue: dialogue.command(command))

    async def quit(self) -> Response:
        """Say goodbye (QUIT), and close."""
        try:
            return await self._run(lambda dialogue: dialogue.command(b"QUIT"))
        finally:
            await self.close()

    @property
    def _connected(self) -> Link:
        if self._link is None:
            raise EngineError("the client is not connected: use `async with`, or await connect()")
        return self._link

    async def _run(self, verb: Callable[[Dialogue], Verb[_T]]) -> _T:
        async with self._lock:
            link = self._connected  # who waited for his turn may find another one than before
            return await link.run(verb(link.dialogue))
