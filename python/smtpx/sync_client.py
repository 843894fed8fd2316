"""`SyncClient`: SMTP and LMTP for programs that block."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self, TypeVar

from smtpx.errors import EngineError
from smtpx.options import Options
from smtpx.sync_link import SyncLink

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

__all__ = ["SyncClient"]

_T = TypeVar("_T")


class SyncClient:
    """`Client` without the awaits; see there. Several threads may use one: their verbs take turns.

    ::

        with smtpx.SyncClient("smtps://joe:password@mail.example.org") as client:
            client.send(message)
    """

    def __init__(self, url: str, local_name: str | None = None, **settings: Unpack[Settings]) -> None:
        self._options = Options(url, local_name, **settings)
        self._lock = threading.RLock()  # a trace that calls the client hears why not
        self._link: SyncLink | None = None

    def connect(self) -> Response:
        """See `Client.connect`."""
        with self._lock:
            if self._link is not None:
                if self._link.usable:
                    raise EngineError("the client is connected already: close() first")
                self._link.close()
            self._link = SyncLink.open(self._options)
            return self._link.welcome

    def close(self) -> None:
        """See `Client.close`."""
        link = self._link
        if link is not None:
            link.shut()  # a verb of another thread ends by it
            with self._lock:
                link.close()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        link = self._link
        if link is not None and error is None:
            with self._lock:
                link.part()
        self.close()

    @property
    def connected(self) -> bool:
        """See `Client.connected`."""
        with self._lock:
            return self._link is not None and self._link.usable

    @property
    def server_info(self) -> ServerInfo:
        """See `Client.server_info`."""
        with self._lock:
            return self._connected.dialogue.server_info

    @property
    def tls(self) -> bool:
        """See `Client.tls`."""
        with self._lock:
            return self._connected.dialogue.engine.tls

    def send(
        self,
        message: Sendable,
        *,
        mail_from: str | None = None,
        recipients: str | Sequence[str] | None = None,
        dsn: DSN | None = None,
        require_tls: bool = False,
    ) -> Result:
        """See `Client.send`."""
        return self._run(lambda dialogue: dialogue.send(message, mail_from, recipients, dsn, require_tls))

    def mail_tx(self, mail: MailTx) -> Result:
        """See `Client.mail_tx`."""
        with self._lock:  # the hot path: no function in between
            link = self._connected
            return link.run(link.dialogue.mail_tx(mail))

    def authenticate(self, mechanism: Mechanism, username: str, password: str) -> Response:
        """See `Client.authenticate`."""
        return self._run(lambda dialogue: dialogue.authenticate(mechanism, username, password))

    def starttls(self) -> Response:
        """See `Client.starttls`."""
        return self._run(lambda dialogue: dialogue.starttls())

    def expand(self, mailing_list: str) -> Response:
        """See `Client.expand`."""
        return self._run(lambda dialogue: dialogue.command_on("EXPN", mailing_list))

    def verify(self, mailbox: str) -> Response:
        """See `Client.verify`."""
        return self._run(lambda dialogue: dialogue.command_on("VRFY", mailbox))

    def help(self, command: str = "") -> Response:
        """See `Client.help`."""
        return self._run(lambda dialogue: dialogue.command_on("HELP", command))

    def noop(self) -> Response:
        """See `Client.noop`."""
        return self._run(lambda dialogue: dialogue.command(b"NOOP"))

    def reset(self) -> Response:
        """See `Client.reset`."""
        return self._run(lambda dialogue: dialogue.command(b"RSET"))

    def send_command(self, command: bytes | str) -> Response:
        """See `Client.send_command`."""
        return self._run(lambda dialogue: dialogue.command(command))

    def quit(self) -> Response:
        """See `Client.quit`."""
        try:
            return self._run(lambda dialogue: dialogue.command(b"QUIT"))
        finally:
            self.close()

    @property
    def _connected(self) -> SyncLink:
        if self._link is None:
            raise EngineError("the client is not connected: use `with`, or connect()")
        return self._link

    def _run(self, verb: Callable[[Dialogue], Verb[_T]]) -> _T:
        with self._lock:
            link = self._connected
            return link.run(verb(link.dialogue))
