"""Servers that take mail and keep it, for tests of the client: Postfix's smtp-sink, and aiosmtpd."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from benches import peers
from tests.peer import PATIENCE
from tests.recorder import JOE, PASSWORD, Message

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from aiosmtpd.smtp import Envelope, Session

__all__ = ["Aiosmtpd", "Dump", "Sink", "running_aiosmtpd", "running_sink"]


@dataclass(frozen=True)
class Dump:
    """A transaction as smtp-sink wrote it down: the arguments of MAIL and RCPT, and the content."""

    mail: str
    recipients: list[str]
    content: bytes

    @classmethod
    def parse(cls, stored: bytes) -> Dump:
        # X-...: lines, a Received of three lines, the content with LF, and an empty line.
        head, received, rest = stored.partition(b"Received: ")
        fields = [line.split(": ", 1) for line in head.decode().splitlines()]
        content = (received + rest).split(b"\n", 3)[3].removesuffix(b"\n")
        return cls(
            next(value for name, value in fields if name == "X-Mail-Args"),
            [value for name, value in fields if name == "X-Rcpt-Args"],
            content.replace(b"\n", b"\r\n"),
        )


@dataclass(frozen=True)
class Sink:
    """A running smtp-sink."""

    port: int
    folder: Path

    def dumps(self) -> list[Dump]:
        """What it has taken, in no order; a message is there before its 250 is."""
        return [Dump.parse(path.read_bytes()) for path in self.folder.iterdir()]


@contextlib.contextmanager
def running_sink(*options: str) -> Iterator[Sink]:
    """Run smtp-sink with options of its own: ``running_sink("-8", "-f", "RCPT")``, see smtp-sink(1)."""
    # Not pytest's folder: smtp-sink that root has started writes as nobody.
    with tempfile.TemporaryDirectory(prefix="sink-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        with peers.running(peers.SINK, "-d", f"{folder}/message.", *options) as peer:
            yield Sink(peer.port, folder)


class Aiosmtpd:
    """aiosmtpd on a thread of its own, which keeps what it takes in ``messages``; joe has an account."""

    def __init__(self, tls: ssl.SSLContext | None, options: dict[str, Any]) -> None:
        self.port = 0
        self.messages: list[Message] = []
        self._options = options | {"tls_context": tls, "auth_require_tls": tls is not None}
        self._started, self._stopping = threading.Event(), asyncio.Event()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.messages.append(
            Message(
                envelope.mail_from or "",
                _parameters(envelope.mail_options),
                [address or "" for address in envelope.rcpt_tos],
                [],
                envelope.content,
            )
        )
        return "250 2.0.0 taken"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        known = (data.login, data.password) == (JOE.encode(), PASSWORD.encode())
        return AuthResult(success=known, handled=False)  # else no reply is sent

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        thread.start()
        assert self._started.wait(PATIENCE)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._stopping.set)
            thread.join(PATIENCE)
            assert not thread.is_alive()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        sessions: list[SMTP] = []

        def session() -> SMTP:
            sessions.append(
                SMTP(self, hostname="aiosmtpd.example", authenticator=self.authenticate, **self._options)
            )
            return sessions[-1]

        server = await self._loop.create_server(session, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopping.wait()
        server.close()
        for open_session in sessions:
            if open_session.transport is not None:
                open_session.transport.close()
        await server.wait_closed()


def _parameters(options: list[str]) -> dict[str, str]:
    return {name: value for name, _, value in (option.partition("=") for option in options)}


@contextlib.contextmanager
def running_aiosmtpd(tls: ssl.SSLContext | None = None, **options: Any) -> Iterator[Aiosmtpd]:
    """Run aiosmtpd; with a context it offers STARTTLS. The options are those of its SMTP."""
    server = Aiosmtpd(tls, options)
    with server.running():
        yield server
