"""Live servers for tests: a SyncServer on a free port of the loopback, and raw clients of it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import smtpx

from tests.peer import PATIENCE, Peer
from tests.recorder import Recorder

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

__all__ = ["Certificate", "Live", "LiveServers"]

Service = Literal["smtp", "submission", "submissions"]


@dataclass(frozen=True)
class Certificate:
    """A certificate for localhost, its key, the context of a client that trusts it alone, and a server's."""

    path: Path
    key: Path
    client: ssl.SSLContext
    server: ssl.SSLContext


@dataclass(frozen=True)
class Live:
    """A running server with one listener."""

    server: smtpx.SyncServer
    recorder: Recorder
    certificate: Certificate
    service: Service
    peers: ExitStack

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.listeners[0].port or 0

    def connect(self, *, patience: float = PATIENCE) -> Peer:
        """Connect; with implicit TLS the handshake is done. The connection is closed after the test."""
        peer = self.peers.enter_context(Peer(self.address, patience=patience))
        if self.service == "submissions":
            peer.start_tls(self.certificate.client)
        return peer

    def settle(self) -> None:
        """Return once the server has handled all that reached it on other connections before now."""
        peer = self.connect()
        peer.expect("220")
        peer.command("QUIT", "221")
        peer.expect_close()


class LiveServers:
    """A factory of servers, which stops them all after the test."""

    def __init__(self, certificate: Certificate, environment: smtpx.Environment) -> None:
        self.certificate = certificate
        self.environment = environment
        self._stack = ExitStack()

    def __call__(
        self,
        handler: smtpx.Handler | None = None,
        *,
        service: Service = "smtp",
        tls: bool = True,
        limits: dict[str, Any] | None = None,
        listener: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> Live:
        """Start a server with one listener on a free port; without a handler, a Recorder takes the mail."""
        handler = handler or Recorder()
        server = smtpx.SyncServer(
            self.environment,
            handler=handler,
            listeners=[smtpx.Listener(service, "127.0.0.1", 0, **(listener or {}))],
            limits=smtpx.Limits(**(limits or {})),
            **arguments,
        )
        if tls:
            server.load_certificate(self.certificate.path, self.certificate.key)
        self._stack.enter_context(server)
        recorder = handler if isinstance(handler, Recorder) else Recorder()
        peers = self._stack.enter_context(ExitStack())
        return Live(server, recorder, self.certificate, service, peers)

    def close(self) -> None:
        """Close the clients, then stop the servers."""
        self._stack.close()
