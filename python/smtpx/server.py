"""The server: listeners, the connections they accept, and their lives from start to stop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from smtpx import memory
from smtpx import tls as tls_context
from smtpx._core import Response
from smtpx.answering import Patience
from smtpx.connection import STOPPING, Connection
from smtpx.desk import Desk
from smtpx.errors import ConfigurationError
from smtpx.limits import Limits
from smtpx.listener import BACKLOG, Listener, Service, bind, service_of
from smtpx.local import LocalHandler
from smtpx.log_events import log_event
from smtpx.session import Session
from smtpx.storage import LocalStorage

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from types import TracebackType

    from smtpx.environment import Environment
    from smtpx.extension import ExtensionLike
    from smtpx.handler import Handler
    from smtpx.session import Peer

__all__ = ["Counters", "Server"]

log = logging.getLogger("smtpx.server")
session_log = logging.getLogger("smtpx.session")

_session_ids = itertools.count(1)  # of all servers, so that the log never names two sessions alike
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_OVERLOADED = Response(421, "4.7.0 Too many connections, try again later")
_GRACE = 30.0  # seconds that stop() gives to what is in flight
_LAST_WORDS = 5.0  # and to the last replies after that


@dataclass(slots=True)
class Counters:
    """What happened since the server was made."""

    connections: int = 0
    refused: int = 0
    """Connections over a limit."""
    messages: int = 0
    closed: Counter[str] = field(default_factory=Counter)
    """Closed connections by reason."""


class Server:
    """An SMTP server (RFC 5321) for asyncio.

    Args:
        environment: whose mail is taken and who may log in; its primary domain names the server.
        handler: what is asked about commands and given the messages; None is a `LocalHandler`.
        listeners: where to listen; None is port 25, and port 465 when there is a certificate.
        extensions: service extensions of your own.
        tls: the context of STARTTLS and of the submissions service; see also `load_certificate`.
        limits: see `Limits`.
        sockets: bound sockets to listen on instead of binding; ``listeners``, if given, says in the same
            order what each of them serves, else its port does.

    Raises:
        ConfigurationError: there is neither an environment nor a handler; or not a listener for each socket.

    Attributes:
        listeners: after `start`, with the real host and port of each.
        counters: what happened so far.

    """

    def __init__(
        self,
        environment: Environment | None = None,
        handler: Handler | None = None,
        listeners: Sequence[Listener] | None = None,
        extensions: Sequence[ExtensionLike] = (),
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        sockets: Sequence[socket.socket] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._storage: LocalStorage | None = None
        if handler is None:
            if environment is None:
                raise ConfigurationError("give Server an environment, a handler, or both")
            self._storage = LocalStorage(reserve=self.limits.disk_reserve)
            checks = self.limits.password_checks
            handler = LocalHandler(environment, self._storage, password_checks=checks)
        for given in (handler, *extensions):
            if isinstance(given, type):
                raise ConfigurationError(f"give Server an instance, {given.__name__}(), not the class")
        if sockets is not None and listeners is not None and len(sockets) != len(listeners):
            raise ConfigurationError(f"{len(sockets)} sockets need as many listeners, not {len(listeners)}")
        self.environment = environment
        self.handler = handler
        self.extensions = tuple(extensions)
        self.listeners: list[Listener] = list(listeners or ())
        self.counters = Counters()
        self._asked_listeners = None if listeners is None else tuple(listeners)
        self._sockets = None if sockets is None else tuple(sockets)
        self._tls = tls
        self._tls_usable = tls is not None and tls_context.usable(tls)
        self._servers: list[asyncio.Server] = []
        self._desks: list[Desk] = []
        self._paths: list[Path] = []
        self._connections: set[Connection] = set()
        self._addresses: Counter[str] = Counter()
        self._executor: ThreadPoolExecutor | None = None
        self._empty = asyncio.Event()
        self._stopping = asyncio.Lock()
        self._stopped: asyncio.Event | None = None
        self._draining = False

    @property
    def hostname(self) -> str:
        """What the server calls itself in its banner."""
        return socket.getfqdn() if self.environment is None else self.environment.primary_domain.name

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The context for the next handshake."""
        return self._tls

    @property
    def sessions(self) -> list[Session]:
        """The sessions that are open now."""
        return [connection.session for connection in self._connections]

    def load_certificate(
        self, cert: str | os.PathLike[str], key: str | os.PathLike[str] | None = None
    ) -> None:
        """Use this certificate (PEM) from the next handshake on; at any time, also while running.

        With the first one, sessions that begin from then on are offered STARTTLS.

        Raises:
            ConfigurationError: it cannot be used; the one before stays in use.

        """
        context = tls_context.server_context(cert, key)
        self._tls, self._tls_usable = context, True
        for desk in self._desks:
            desk.offer_starttls()

    async def start(self) -> None:
        """Listen, and return.

        Raises:
            OSError: a port is taken, or is not ours to bind.
            ConfigurationError: a submission listener without a certificate; or it runs already.

        """
        if self._stopped is not None:
            raise ConfigurationError("the server runs already: stop() it first")
        loop = asyncio.get_running_loop()
        memory.keep_buffers()
        bound = self._bind()
        try:
            for listener, _ in bound:
                if listener.service != "smtp" and self._tls is None:
                    raise ConfigurationError(
                        f"the service {listener.service} needs a certificate:"
                        " call load_certificate() or give tls="
                    )
            self._executor = ThreadPoolExecutor(self.limits.password_checks, "smtpx-password")
            self._stopped, self._empty, self._stopping = asyncio.Event(), asyncio.Event(), asyncio.Lock()
            self._empty.set()
            self._draining = False
            if self._storage is not None:
                await self._storage.open()
            self.listeners = [_located(listener, socks[0]) for listener, socks in bound]
            executor = self._executor
            self._desks = [self._desk(listener, executor) for listener, _ in bound]
            for desk, (_, socks) in zip(self._desks, bound, strict=True):
                for sock in socks:
                    await self._listen(loop, desk, sock)
        except BaseException:
            _close(bound)
            self._remove_paths()
            await self.stop(grace=0)
            raise

    def _bind(self) -> list[tuple[Listener, list[socket.socket]]]:
        if self._sockets is not None:
            served = self._asked_listeners or [Listener(service_of(sock)) for sock in self._sockets]
            return [(listener, [sock]) for listener, sock in zip(served, self._sockets, strict=True)]
        listeners = self._asked_listeners
        if listeners is None:
            services: list[Service] = ["smtp"] if self._tls is None else ["smtp", "submissions"]
            listeners = tuple(Listener(service) for service in services)
        bound: list[tuple[Listener, list[socket.socket]]] = []
        try:
            for listener in listeners:
                bound.append((listener, bind(listener)))
                if listener.path is not None:
                    self._paths.append(Path(listener.path))
        except BaseException:
            _close(bound)
            self._remove_paths()
            raise
        return bound

    def _desk(self, listener: Listener, executor: ThreadPoolExecutor) -> Desk:
        return Desk(
            listener,
            self.hostname,
            self.handler,
            self.environment,
            self.extensions,
            self.limits,
            executor,
            tls=self._tls is not None,
            tls_usable=lambda: self._tls_usable,
        )

    async def _listen(self, loop: asyncio.AbstractEventLoop, desk: Desk, sock: socket.socket) -> None:
        patience = Patience(self.limits, loop)

        def connect() -> Connection:
            return Connection(self, desk, patience, loop)

        # asyncio's backlog is also how often it accepts in a row: with no descriptor left it would log each.
        options: dict[str, Any] = {"backlog": 1}
        if sock.family in _INTERNET:
            # Inherited by what it accepts. asyncio sets it only on sockets made with IPPROTO_TCP; without it
            # a reply behind an unacknowledged one waits 40 ms.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = await loop.create_server(connect, sock=sock, **options)
        else:
            if sys.version_info >= (3, 13):
                # What we bound is ours to remove; what was handed in is not, nor asyncio's.
                options["cleanup_socket"] = False
            server = await loop.create_unix_server(connect, sock=sock, **options)
        sock.listen(BACKLOG)
        self._servers.append(server)

    async def stop(self, grace: float = _GRACE) -> None:
        """Listen no more; let what is in flight finish for ``grace`` seconds; close the rest with 421."""
        if self._stopping.locked():
            await self._end_connections(grace)  # a second stop with less grace hastens the first
        async with self._stopping:
            if self._stopped is not None:
                await self._stop(self._stopped, grace)

    async def _stop(self, stopped: asyncio.Event, grace: float) -> None:
        await self.stop_listening()
        self._draining = True
        for connection in list(self._connections):
            connection.drain()
        await self._end_connections(grace)
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
        if self._storage is not None:
            await self._storage.close()
        self._stopped = None
        stopped.set()

    async def _end_connections(self, grace: float) -> None:
        if not await _reached(self._empty, grace):
            for connection in list(self._connections):
                connection.cut()
            if not await _reached(self._empty, min(grace, _LAST_WORDS)):
                for connection in list(self._connections):
                    connection.abort()
                await _reached(self._empty, _LAST_WORDS)

    async def stop_listening(self) -> None:
        """Accept no more clients; those that are here go on until `stop`, or until they leave."""
        loop = asyncio.get_running_loop()
        for server in self._servers:
            for sock in server.sockets:
                # asyncio drops, without closing it, a connection that it has accepted in the turn in which
                # its server is closed: so accept none, and let those that are on their way arrive.
                with contextlib.suppress(NotImplementedError):
                    loop.remove_reader(sock.fileno())
        for _ in range(3):
            await asyncio.sleep(0)
        self._remove_paths()
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _remove_paths(self) -> None:
        for path in self._paths:
            path.unlink(missing_ok=True)
        self._paths.clear()

    async def serve_forever(self) -> None:
        """Start, unless it runs already, and run until `stop` or until cancelled, which stops it too."""
        if self._stopped is None:
            await self.start()
        stopped = self._stopped
        assert stopped is not None  # noqa: S101 - for the type alone
        try:
            await stopped.wait()
        finally:
            await self.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # -- what a connection asks of its owner

    def admit(self, connection: Connection, peer: Peer, service: str) -> Session | Response:
        """Count the connection in, or refuse it: it is one too many, or was on its way when we stopped."""
        if self._draining:
            return STOPPING
        address = peer[0] if isinstance(peer, tuple) else None
        limits = self.limits
        crowded = address is not None and self._addresses[address] >= limits.connections_per_address
        if crowded or len(self._connections) >= limits.connections:
            self.counters.refused += 1
            return _OVERLOADED
        if address is not None:
            self._addresses[address] += 1
        self.counters.connections += 1
        self._connections.add(connection)
        self._empty.clear()
        return Session(f"{os.getpid():x}-{next(_session_ids):x}", peer, service)

    def dismiss(self, connection: Connection) -> None:
        """Count it out, and write its line into the log."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        session = connection.session
        if isinstance(session.peer, tuple):
            address = session.peer[0]
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
        if not self._connections:
            self._empty.set()
        self.counters.closed[connection.reason] += 1
        self.counters.messages += connection.messages
        if session_log.isEnabledFor(logging.INFO):
            log_event(session_log, "session", connection.summary())


def _close(bound: list[tuple[Listener, list[socket.socket]]]) -> None:
    for _, socks in bound:
        for sock in socks:
            sock.close()


async def _reached(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def _located(listener: Listener, sock: socket.socket) -> Listener:
    """Return the listener with the port that the system gave, or the path of a socket that was handed in."""
    if sock.family not in _INTERNET:
        return replace(listener, host="", port=None, path=listener.path or os.fsdecode(sock.getsockname()))
    host, port = sock.getsockname()[:2]
    return replace(listener, host=listener.host or host, port=port)
