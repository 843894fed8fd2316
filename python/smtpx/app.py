"""What ``smtpx serve`` runs: storage, handler and server, built from a configuration, and their lives."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import signal
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from smtpx import logs, systemd
from smtpx.delivery import Transport
from smtpx.errors import ConfigurationError
from smtpx.listener import PORTS, Listener, Service, bind
from smtpx.local import LocalHandler
from smtpx.networks import Networks
from smtpx.queue import Queue
from smtpx.server import Server
from smtpx.site import Ways, live_environment
from smtpx.storage import SQLiteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from smtpx.accounts import LiveEnvironment
    from smtpx.config import Config
    from smtpx.mail import MailTx
    from smtpx.session import Session
    from smtpx.storage import Storage

__all__ = ["App", "Way", "run"]

_logger = logging.getLogger("smtpx.app")

_RELOAD, _STOP = "reload", "stop"
_LONGEST = 10 * 365 * 86400.0  # seconds; a message that is never given up has no date for it

_Place: TypeAlias = tuple[Listener, list[socket.socket]]


class Way(Transport, Protocol):
    """A `Transport` that can be closed."""

    async def close(self) -> None:
        """Let what is under way finish, and close."""


class _Handler(LocalHandler):
    """A LocalHandler whose accounts are those of the account file as it is when a session begins."""

    def __init__(self, live: LiveEnvironment, storage: Storage, saved: Callable[[MailTx], None]) -> None:
        super().__init__(live, storage, on_saved=saved)
        self.live = live

    def follow(self, live: LiveEnvironment, config: Config) -> None:
        self.environment = self.live = live
        self.hostname = live.primary_domain.name
        self.relay_networks = Networks(config.relay.networks)
        self.lifetime = timedelta(seconds=min(config.queue.lifetime, _LONGEST))

    def check_connect(self, session: Session) -> None:  # noqa: ARG002 - whose session it is makes no difference
        self.live.refresh()


class App:
    """A server from its start to its end: reloads at SIGHUP, ends at SIGTERM and SIGINT.

    A configuration that cannot work changes nothing: at the start it is raised, at a reload it is logged and
    the old one stays in use, certificate and all (HOSTILE 66).

    Args:
        load: reads the configuration; called again at each reload.
        log: the form of the log, whatever the configuration says.

    """

    _config: Config
    _handler: _Handler
    _queue: Queue
    _server: Server
    _storage: SQLiteStorage
    _way: Way

    def __init__(self, load: Callable[[], Config], *, log: Literal["text", "json"] | None = None) -> None:
        self._load = load
        self._log = log
        self._asked: asyncio.Queue[str] = asyncio.Queue()
        self._given: list[_Place] = []
        self._places: list[_Place] = []
        self._draining: list[asyncio.Task[None]] = []

    # -- what a subclass may add

    def prepare(self) -> None:
        """Run before anything but the configuration is read."""

    def way(self, config: Config, live: LiveEnvironment) -> Way:
        """Return where mail goes.

        Raises:
            ConfigurationError: that cannot work.

        """
        return Ways(config, live)

    def started(self, listeners: Sequence[Listener]) -> None:
        """Run when the server listens."""

    def saved(self, mail: MailTx) -> None:
        """Run with each message that is safely in the spool; must not block."""

    # -- its life

    async def run(self) -> None:
        """Serve until told to end.

        Raises:
            ConfigurationError: the configuration cannot work; the message says the mend.
            StorageError: the spool cannot be used, likewise.

        """
        config = self._load()
        self._set_up_log(config)
        self._given = [(Listener(service), [sock]) for service, sock in systemd.listening_sockets()]
        self.prepare()
        keep = timedelta(days=config.queue.keep_days)
        self._storage = SQLiteStorage(config.database, reserve=config.limits.disk_reserve, keep=keep)
        async with self._storage:
            with _signals(self._asked):
                await self._start(config)
                try:
                    self.started(self._server.listeners)
                    systemd.notify("READY=1")
                    while await self._asked.get() == _RELOAD:
                        await self._reload()
                    _logger.info("stopping", extra={"event": "stop"})
                    systemd.notify("STOPPING=1")
                finally:
                    _close(self._places)
                    await self._server.stop()
                    await self._queue.stop()  # what it has not begun waits for the next start
                    await asyncio.gather(self._way.close(), *self._draining)

    async def _start(self, config: Config) -> None:
        live = live_environment(config)
        self._handler = _Handler(live, self._storage, self.saved)
        self._handler.follow(live, config)
        self._way = self.way(config, live)
        self._queue = Queue(
            self._storage,
            self._way,
            schedule=config.queue.schedule(),
            on_outcomes=self._handler.serve_bounce,
            concurrency=config.queue.concurrency,
        )
        await self._queue.start()
        try:
            self._server = await self._start_server(config, live)
        except BaseException:
            await self._queue.stop()
            await self._way.close()
            raise
        self._config = config

    async def _reload(self) -> None:
        systemd.notify_reloading()
        try:
            await self._apply(self._load())
        except ConfigurationError as error:
            for line in str(error).splitlines():
                _logger.error("the old configuration stays in use: %s", line)
        except OSError as error:  # of the system, as too many open files: no reason to end what runs
            _logger.error("the old configuration stays in use: %s", error)
        else:
            _logger.info("reloaded", extra={"event": "reload"})
        systemd.notify("READY=1")

    async def _apply(self, config: Config) -> None:
        """Go over to another configuration; what can fail comes first."""
        old = self._config
        if config.spool != old.spool:
            raise ConfigurationError(f"the spool {old.spool} is in use until the end: restart to change it")
        live = live_environment(config)
        way = self.way(config, live)
        self._draining = [task for task in self._draining if not task.done()]
        if _frame(config) != _frame(old):
            # The old server lets its sessions finish. For a moment both listen on the same sockets, so that
            # no connection is refused in between.
            try:
                old_server, self._server = self._server, await self._start_server(config, live)
            except BaseException:
                await way.close()
                raise
            await old_server.stop_listening()
            self._draining.append(asyncio.create_task(old_server.stop()))
        elif config.tls is not None:
            self._server.load_certificate(config.tls.certificate, config.tls.key)
        self._set_up_log(config)
        self._storage.reserve = config.limits.disk_reserve
        self._storage.keep = timedelta(days=config.queue.keep_days)
        self._handler.follow(live, config)
        self._draining.append(asyncio.create_task(self._way.close()))
        self._way = self._queue.transport = way
        if config.queue != old.queue:
            self._queue.follow(config.queue.schedule(), config.queue.concurrency)
        self._config = config

    async def _start_server(self, config: Config, live: LiveEnvironment) -> Server:
        # What the configuration itself lists was looked at with its file.
        if config.tls is None and any(listener.service != "smtp" for listener, _ in self._given):
            raise ConfigurationError(
                "a socket was handed in whose service needs a certificate: write [tls] certificate and key"
            )
        places = self._given or self._occupy(_listeners(config))
        duplicates = [sock.dup() for _, sockets in places for sock in sockets]
        listeners = [listener for listener, sockets in places for _ in sockets]
        try:
            server = Server(live, self._handler, listeners, limits=config.limits, sockets=duplicates)
            if config.tls is not None:
                server.load_certificate(config.tls.certificate, config.tls.key)
            await server.start()
        except BaseException:
            for sock in duplicates:
                sock.close()
            _close(places, keep=self._places)
            raise
        _close(self._places, keep=places)
        self._places = places
        for listener in server.listeners:
            where = {"host": listener.host, "port": listener.port, "path": listener.path}
            _logger.info("listening", extra={"event": "listening", "service": listener.service, **where})
        return server

    def _occupy(self, listeners: Sequence[Listener]) -> list[_Place]:
        """Bind what is not bound already."""
        held = list(self._places)
        places: list[_Place] = []
        with contextlib.ExitStack() as undo:
            undo.callback(_close, places, keep=held[:])
            for listener in listeners:
                place = next((one for one in held if _where(one[0]) == _where(listener)), None)
                if place is not None:
                    held.remove(place)
                    places.append((listener, place[1]))
                    continue
                try:
                    places.append((listener, bind(listener)))
                except OSError as error:
                    raise ConfigurationError(_mend(error, listener)) from error
            undo.pop_all()
        return places

    def _set_up_log(self, config: Config) -> None:
        logs.configure(self._log or config.log.format, config.log.level, sys.stderr)


def _frame(config: Config) -> object:
    """Return what a running server cannot change: the rest is taken over in place."""
    return config.hostname, config.listeners, config.limits, config.tls is None


def _listeners(config: Config) -> Sequence[Listener]:
    services: Sequence[Service] = ("smtp",) if config.tls is None else ("smtp", "submissions")
    return config.listeners or [Listener(service) for service in services]


def _where(listener: Listener) -> object:
    return listener.path, listener.host, PORTS[listener.service] if listener.port is None else listener.port


def _close(places: Sequence[_Place], keep: Sequence[_Place] = ()) -> None:
    """Close the sockets, and remove those of the file system, that are not among those to keep."""
    kept = {sock for _, sockets in keep for sock in sockets}
    for listener, sockets in places:
        for sock in sockets:
            if sock not in kept:
                sock.close()
                if listener.path is not None:
                    Path(listener.path).unlink(missing_ok=True)


def _mend(error: OSError, listener: Listener) -> str:
    told = error.strerror or str(error)
    if isinstance(error, socket.gaierror):
        return f"a listener's host has no address here: {told}; correct 'host'"
    if listener.path is not None:
        folder = Path(listener.path).parent
        mends = {
            errno.EACCES: f"let the server write to {folder} (chown), or correct 'path'",
            errno.ENOENT: f"make the folder {folder} (RuntimeDirectory= of systemd), or correct 'path'",
            errno.EADDRINUSE: "stop the server that has it, remove the file, or correct 'path'",
        }
        mend = mends.get(error.errno or 0, "correct 'path'")
        return f"{told}: {mend}"
    mends = {
        errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE: give it to the service"
        " (AmbientCapabilities= of systemd), hand in a socket, or set another port",
        errno.EADDRINUSE: "stop the server that has it, or set another port",
        errno.EADDRNOTAVAIL: "this machine has no such address; correct 'host'",
    }
    return f"{told}: {mends[error.errno]}" if error.errno in mends else told


@contextlib.contextmanager
def _signals(asked: asyncio.Queue[str]) -> Iterator[None]:
    """Turn signals into words of the queue; a second one to stop has its default action: to end at once."""
    if sys.platform == "win32":  # which has none that a loop can take; Ctrl-C cancels `App.run`
        yield
        return
    loop = asyncio.get_running_loop()

    def stop() -> None:
        asked.put_nowait(_STOP)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    loop.add_signal_handler(signal.SIGHUP, asked.put_nowait, _RELOAD)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def run(app: App) -> None:
    """Run to the end, on uvloop where it is installed."""
    # The threads that sync need the interpreter's lock for microseconds at a time, and the loop is busy: at
    # the usual 5 ms they wait for it longer than for the disk (a tenth fewer messages reach a Maildir).
    sys.setswitchinterval(5e-4)
    # What is imported by now stays, and need not be looked through for cycles. All else is, as often as ever:
    # an attempt that failed is a cycle with its message in it, until that is found.
    gc.freeze()
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=factory) as runner:
        runner.run(app.run())
