"""A blocking client's connection: octets between a socket and the engine, and the clock.

It pumps what `dialogue` says, and knows no protocol.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import select
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING, Any, TypeVar

from smtpx.dialogue import Call, Dialogue, Push, Read
from smtpx.errors import (
    ClientError,
    ConfigurationError,
    ConnectionLost,
    ReplyTimeout,
    ResponseError,
    TLSFailed,
)
from smtpx.target import TLSMode
from smtpx.tls import words_of

if TYPE_CHECKING:
    from smtpx._core import Response
    from smtpx.dialogue import Event, Request, Verb
    from smtpx.options import Options, Trace

__all__ = ["SyncLink"]

_T = TypeVar("_T")

_READ = 64 << 10  # octets a read; replies are short
_CLOSING = 5.0  # seconds that a goodbye may take; all is said and done by then


class SyncLink:
    """One connection, from its first octet to its last.

    Attributes:
        dialogue: the verbs on it.
        welcome: the last reply to EHLO.

    """

    __slots__ = ("_began", "_engine", "_event", "_heard", "_options", "_socket", "dialogue", "welcome")

    welcome: Response

    def __init__(self, options: Options, sock: socket.socket) -> None:
        self._options = options
        self._socket = sock
        self._event: Event | None = None
        self._began = self._heard = 0.0
        self._be_patient()
        self.dialogue = Dialogue(options, sock.getsockname())
        self._engine = self.dialogue.engine
        self._note_certificate()

    @classmethod
    def open(cls, options: Options) -> SyncLink:
        """Connect, say hello, go over to TLS and log in as the options say; raises as `Client.connect`."""
        link = cls._to(options)
        try:
            link.welcome = link.run(link.dialogue.open())
        except BaseException:
            link.close()
            raise
        return link

    @classmethod
    def _to(cls, options: Options) -> SyncLink:
        target, patience = options.target, options.timeouts.connect
        sock: socket.socket | None = None
        try:
            if target.path:
                sock = socket.socket(socket.AF_UNIX)
                sock.settimeout(patience)
                sock.connect(target.path)
            else:
                sock = socket.create_connection((target.host, target.port), patience, options.source_address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if target.tls is TLSMode.IMPLICIT:
                sock = options.context.wrap_socket(sock, server_hostname=target.host)
            return cls(options, sock)
        except BaseException as error:
            if sock is not None:
                sock.close()
            if isinstance(error, ssl.SSLError):
                raise TLSFailed(f"{target}: {words_of(error)}") from error
            if isinstance(error, TimeoutError):
                raise ConnectionLost(f"{target}: no connection within {patience:g} s") from error
            if isinstance(error, OSError):
                raise ConnectionLost(f"{target}: {error.strerror or error}") from error
            raise

    @property
    def usable(self) -> bool:
        """Whether a verb may begin."""
        return self._engine.idle and self._socket.fileno() >= 0

    def run(self, verb: Verb[_T]) -> _T:
        """Have the verb said; see `Link.run`."""
        self._began = time.monotonic()
        try:
            request = next(verb)
            while True:
                try:
                    answer = self._exchange(request) if type(request) is bytes else self._do(request)
                except ClientError as error:
                    request = verb.throw(error)
                else:
                    request = verb.send(answer)
        except StopIteration as stop:
            value: _T = stop.value
            return value
        finally:
            verb.close()
            if not self._engine.idle:
                self.close()

    def _exchange(self, octets: bytes) -> Event:
        """Write, and read until an event comes of it."""
        if octets:
            self._write(octets)
        while self._event is None:
            self._read()
        event, self._event = self._event, None
        return event

    def _do(self, request: Request) -> Any:
        if isinstance(request, Push):
            self._write(request.octets)
            # The server may refuse the rest.
            while self._event is None and self._readable():
                self._read()
            event, self._event = self._event, None
            return event
        if isinstance(request, Read):
            return request.function()
        if isinstance(request, Call):
            answer = request.function()
            if inspect.isawaitable(answer):
                raise ConfigurationError("token: SyncClient takes a function that is not async")
            return answer
        self._shake_hands()
        return None

    def _write(self, octets: bytes) -> None:
        try:
            self._socket.sendall(octets)
        except (TimeoutError, BlockingIOError) as error:
            raise self._late() from error
        except OSError as error:
            # It may have said why.
            with contextlib.suppress(ClientError):
                while self._event is None:
                    self._read()
            if self._event is None:
                raise self._broken(error) from error
        self._heard = time.monotonic()
        if self._options.trace is not None:
            self._tell(self._options.trace)

    def _read(self) -> None:
        while True:
            try:
                octets = self._socket.recv(_READ)
                break
            except (TimeoutError, BlockingIOError) as error:
                if not self._wait_on():
                    raise self._late() from error
            except OSError as error:
                raise self._broken(error) from error
        if not octets:
            raise self._broken(None)
        self._heard = time.monotonic()
        try:
            self._event, output = self._engine.receive_data(octets)
        except ResponseError as error:
            raise ConnectionLost(f"the server broke the protocol: {error}") from error
        if output:
            self._write(output)
        elif self._options.trace is not None:
            self._tell(self._options.trace)

    def _be_patient(self, seconds: float | None = None) -> None:
        """Have each read wait for so long at most; by default as long as every state of the engine allows.

        A plain socket has the kernel count: Python's own timeouts ask poll() before each call, which made a
        sixth of what a message costs.
        """
        timeouts = self._options.timeouts
        seconds = timeouts.shortest if seconds is None else seconds
        if os.name != "posix" or isinstance(self._socket, ssl.SSLSocket):
            self._socket.settimeout(seconds)
            return
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(seconds))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(timeouts.data_block))

    def _wait_on(self) -> bool:
        """Tell whether the server has time left, and have the next read wait for as long."""
        timeouts, now = self._options.timeouts, time.monotonic()
        due = self._heard + float(getattr(timeouts, self._engine.waiting or "command"))
        if timeouts.total is not None:
            due = min(due, self._began + timeouts.total)
        if now >= due:
            return False
        self._be_patient(min(due - now, timeouts.shortest))
        return True

    def _readable(self) -> bool:
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        return bool(select.select([self._socket], [], [], 0)[0])

    def _shake_hands(self) -> None:
        options = self._options
        self._socket.settimeout(options.timeouts.connect)
        try:
            self._socket = options.context.wrap_socket(self._socket, server_hostname=options.target.host)
        except ssl.SSLError as error:
            raise TLSFailed(f"{options.target}: {words_of(error)}") from error
        except OSError as error:
            raise TLSFailed(f"{options.target}: the TLS handshake failed: {error}") from error
        self._be_patient()
        self._note_certificate()

    def _note_certificate(self) -> None:
        if isinstance(self._socket, ssl.SSLSocket):
            self.dialogue.certificate = self._socket.getpeercert(True)

    def _late(self) -> ReplyTimeout:
        waiting = self._engine.waiting.replace("_", " ")
        return ReplyTimeout(f"the server did not answer in time ({waiting})")

    def _broken(self, error: OSError | None) -> ConnectionLost:
        farewell = self._engine.farewell
        if farewell is not None:
            return ConnectionLost(f"the server closed the connection: {farewell.code} {farewell.message}")
        return ConnectionLost(
            "the server closed the connection" if error is None else f"the connection broke: {error}"
        )

    def _tell(self, trace: Trace) -> None:
        for direction, line in self._engine.take_transcript():
            trace(direction, line)

    def part(self) -> None:
        """Say QUIT where that can be said, and close; what goes wrong in it concerns nobody any more."""
        if self.usable:
            self._be_patient(_CLOSING)
            with contextlib.suppress(ClientError):
                self.run(self.dialogue.command(b"QUIT"))
        self.close()

    def close(self) -> None:
        """Close at once, and say nothing."""
        self._socket.close()


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    # 0 would be for ever.
    return struct.pack("ll", whole, max(int((seconds - whole) * 1e6), 0 if whole else 1))
