"""A blocking client's connection: octets between a socket and the engine, and the clock.

It pumps what `dialogue` says, and knows no protocol.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import select
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING, Any, TypeVar

from smtpx._core import pump
from smtpx.dialogue import Call, Dialogue, Push, Read, returned
from smtpx.errors import (
    ClientError,
    ConfigurationError,
    ConnectionLost,
    ReplyTimeout,
    ResponseError,
)
from smtpx.target import TLSMode
from smtpx.tls import handshake_failed

if TYPE_CHECKING:
    from smtpx._core import Response
    from smtpx.dialogue import Event, Request, Verb
    from smtpx.newlines import Octets
    from smtpx.options import Options, Trace

__all__ = ["SyncLink"]

_T = TypeVar("_T")

_READ = 8 << 10  # octets a read; replies are short
_PROMPT = struct.pack("ll", 0, 1000)  # a struct timeval: 1 ms, in effect a tick or two of the kernel's
_CLOSING = 5.0  # seconds that a goodbye may take; all is said and done by then


class SyncLink:
    """One connection, from its first octet to its last.

    Attributes:
        dialogue: the verbs on it.
        welcome: the last reply to EHLO.

    """

    __slots__ = (
        "_at_once",
        "_due",
        "_engine",
        "_event",
        "_heard",
        "_native",
        "_options",
        "_plain",
        "_poll",
        "_replies",
        "_socket",
        "_trace",
        "dialogue",
        "welcome",
    )

    welcome: Response

    def __init__(self, options: Options, sock: socket.socket) -> None:
        self._options = options
        self._trace = options.trace
        self._take_over(sock)
        self._event: Event | None = None
        self._replies = 0
        self._due, self._heard = math.inf, 0.0
        self._be_patient()
        self.dialogue = Dialogue(options, sock.getsockname())
        self._engine = self.dialogue.engine
        self._note_certificate()

    @classmethod
    def open(cls, options: Options) -> SyncLink:
        """Connect, say hello, go over to TLS and log in as the options say; raises as `Client.connect`."""
        timeouts, began = options.timeouts, time.monotonic()
        sock = _connected(options)
        if options.target.tls is TLSMode.IMPLICIT:
            sock = _secured(options, sock, timeouts.patience(time.monotonic() - began))
        link = cls(options, sock)
        try:
            total = None if timeouts.total is None else timeouts.left(time.monotonic() - began)
            link.welcome = link.run(link.dialogue.open(), total)
        except BaseException:
            link.close()
            raise
        return link

    @property
    def usable(self) -> bool:
        """Whether a verb may begin."""
        return self._engine.idle and self._socket.fileno() >= 0

    def run(self, verb: Verb[_T], total: float | None = None) -> _T:
        """Have the verb said, in so many seconds at most; see `Link.run`."""
        engine = self._engine
        self._heard = time.monotonic()
        if total is None:
            total = self._options.timeouts.total
        if total is not None:
            self._due = self._heard + total
            self._be_patient()
        try:
            if engine.idle and self._ready():
                self._look_up()  # one look a verb: what it finds would pass for the next reply
            request = next(verb)
            while True:
                try:
                    answer = self._exchange(request) if type(request) is bytes else self._do(request)
                except ClientError as error:
                    request = verb.throw(error)
                else:
                    request = verb.send(answer)
        except StopIteration as stop:
            return returned(verb, stop)
        finally:
            verb.close()
            if not engine.idle or self._event is not None:  # what nobody took, the next verb would
                self.close()

    def _look_up(self) -> None:
        """Read what came while nobody waited, be it a farewell."""
        try:
            self._hear()
        except ClientError:
            self._engine.lost()

    def _exchange(self, octets: bytes) -> Event:
        """Write, and read until an event comes of it."""
        if self._native:
            octets = self._pump(octets)
        if octets:
            self._write(octets)
        while self._event is None:
            self._read()
        event, self._event = self._event, None
        return event

    def _pump(self, octets: bytes) -> bytes:
        """Do it all in one call, as long as the server is prompt; return what is still to be written."""
        engine = self._engine
        try:
            self._event, unsent = pump(engine, self._socket.fileno(), octets)
        except (OSError, ResponseError) as error:
            raise self.dialogue.lost(error) from error
        if self._event is None:
            if engine.closed:
                raise self.dialogue.lost()
            self._replies, self._heard = engine.replies, time.monotonic()
            if not unsent:
                self._ready(seconds=self._left())  # it is not prompt: no read of a tick or two once more
        return unsent

    def _do(self, request: Request) -> Any:
        if isinstance(request, Push):
            self._write_all(request.parts)
            if self._trace is not None:
                self._tell(self._trace)
            if self._event is None and self._ready():
                self._hear()  # it may refuse the rest
            event, self._event = self._event, None
            return event
        if isinstance(request, Read):
            return request.function()
        if isinstance(request, Call):
            answer = request.function()
            if inspect.isawaitable(answer):
                if inspect.iscoroutine(answer):
                    answer.close()
                raise ConfigurationError("token: SyncClient takes a function that is not async")
            return answer
        self._shake_hands()
        return None

    # -- octets

    def _take_over(self, sock: socket.socket) -> None:
        self._socket = sock
        # A plain socket is told by the call not to wait; one in TLS, or on Windows, has to be set to it.
        self._plain = os.name == "posix" and not isinstance(sock, ssl.SSLSocket)
        self._at_once = socket.MSG_DONTWAIT if self._plain else 0
        self._native = self._plain and self._trace is None
        if self._plain:
            # Python's own timeouts ask poll() before each call, a tenth of what a message costs. The kernel's
            # begin anew behind each signal: prompt replies are left to them, poll() waits for the others.
            sock.settimeout(None)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PROMPT)
        self._poll = None
        if hasattr(select, "poll"):  # select() knows no descriptor over 1,023
            self._poll = select.poll()
            self._poll.register(sock, select.POLLIN)

    def _write(self, octets: bytes) -> None:
        self._write_all([octets])
        if self._trace is not None:
            self._tell(self._trace)

    def _write_all(self, parts: list[Octets]) -> None:
        """Write as the server takes it, and hear what it says meanwhile: it may end the session."""
        parts = _behind(parts, 0)
        self._heard = time.monotonic()
        self._dont_wait()
        try:
            while parts and not self._engine.closed:
                try:
                    parts = _behind(parts, self._send(parts))
                    self._heard = time.monotonic()
                except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError) as error:
                    writing = not isinstance(error, ssl.SSLWantReadError)
                    if not self._ready(writing=writing, seconds=self._left()):
                        if self._left() > 0:
                            continue
                        if self._event is None:
                            raise self._late() from error
                        self.close()  # all is said, but not all was read
                        return
                    if output := self._take():
                        parts.append(output)
                except OSError as error:
                    self._hear_why(error)
                    return
        finally:
            self._wait_again()

    def _send(self, parts: list[Octets]) -> int:
        """Have the kernel take what it has room for."""
        if self._plain:
            return self._socket.sendmsg(parts, (), socket.MSG_DONTWAIT)
        return self._socket.send(parts[0])

    def _hear_why(self, error: OSError) -> None:
        """Read the server's last words, which a write that failed would hide; raise where there are none."""
        if self._event is None:
            self._dont_wait()
            with contextlib.suppress(ClientError):
                self._take()
        if self._event is None:
            raise self.dialogue.lost(error) from error
        self.close()

    def _read(self) -> None:
        """Wait for octets, and feed the engine."""
        while True:
            try:
                octets = self._socket.recv(_READ)
                break
            except (TimeoutError, BlockingIOError) as error:
                left = self._left()
                if left <= 0:
                    raise self._late() from error
                if self._plain:
                    self._ready(seconds=left)
                else:
                    self._be_patient(left)
            except OSError as error:
                raise self.dialogue.lost(error) from error
        if output := self._feed(octets):
            self._write(output)

    def _hear(self) -> None:
        """Feed the engine what has come, without waiting."""
        self._dont_wait()
        try:
            output = self._take()
        finally:
            self._wait_again()
        if output:
            self._write(output)

    def _take(self) -> bytes:
        """Feed the engine what has come; the socket does not block. Return what is to be written."""
        output = b""
        while self._event is None and not self._engine.closed:
            try:
                octets = self._socket.recv(_READ, self._at_once)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError as error:
                raise self.dialogue.lost(error) from error
            output += self._feed(octets)
        return output

    def _feed(self, octets: bytes) -> bytes:
        if not octets:
            raise self.dialogue.lost()
        engine = self._engine
        try:
            self._event, output = engine.receive_data(octets)
        except ResponseError as error:
            raise self.dialogue.lost(error) from error
        # A server that lets octets drip, and completes no reply, gets no more time for each of them.
        if engine.replies != self._replies:
            self._replies = engine.replies
            self._heard = time.monotonic()
        if self._trace is not None:
            self._tell(self._trace)
        if self._event is None and engine.closed:
            raise self.dialogue.lost()
        if self._event is None and (self._heard >= self._due or (not output and self._left() <= 0)):
            raise self._late()
        return output

    def _dont_wait(self) -> None:
        if not self._plain:
            self._socket.settimeout(0)

    def _wait_again(self) -> None:
        if not self._plain:
            self._be_patient()

    # -- the clock

    def _be_patient(self, seconds: float = math.inf) -> None:
        """Have each read wait for so long at most, and no longer than every state of the engine allows."""
        if not self._plain and self._socket.fileno() >= 0:
            left = min(seconds, self._options.timeouts.shortest, self._due - time.monotonic())
            self._socket.settimeout(max(left, 1e-6))

    def _left(self) -> float:
        """Seconds that the server has left."""
        timeouts, now = self._options.timeouts, time.monotonic()
        due: float = self._heard + getattr(timeouts, self._engine.waiting or "command")
        return min(due, self._due) - now

    def _ready(self, *, writing: bool = False, seconds: float = 0) -> bool:
        """Wait until octets can be read or, with `writing`, be written; an hour at most."""
        if self._plain and self._poll is not None and not seconds:
            return bool(self._poll.poll(0))
        sock = self._socket
        if not self._plain and isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        seconds = max(0, min(seconds, 3600))
        if self._poll is None:
            return any(select.select([sock], [sock] if writing else [], [], seconds))
        if not writing:
            return bool(self._poll.poll(seconds * 1000))
        self._poll.modify(sock, select.POLLIN | select.POLLOUT)
        try:
            return bool(self._poll.poll(seconds * 1000))
        finally:
            self._poll.modify(sock, select.POLLIN)

    # -- TLS

    def _shake_hands(self) -> None:
        patience = min(self._options.timeouts.connect, max(self._due - time.monotonic(), 1e-3))
        self._take_over(_secured(self._options, self._socket, patience))
        self._be_patient()
        self._note_certificate()

    def _note_certificate(self) -> None:
        if isinstance(self._socket, ssl.SSLSocket):
            self.dialogue.certificate = self._socket.getpeercert(True)

    def _late(self) -> ReplyTimeout:
        waiting = self._engine.waiting.replace("_", " ")
        return ReplyTimeout(f"the server did not answer in time ({waiting})")

    def _tell(self, trace: Trace) -> None:
        for direction, line in self._engine.take_transcript():
            trace(direction, line)

    # -- the end

    def part(self) -> None:
        """Say QUIT where that can be said, and close; what goes wrong in it concerns nobody any more."""
        if self.usable:
            with contextlib.suppress(Exception):
                self.run(self.dialogue.command(b"QUIT"), _CLOSING)
        self.close()

    def shut(self) -> None:
        """End a verb of another thread, which closes; to close under its hands might hit another file."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close at once, and say nothing."""
        self._engine.lost()
        self._socket.close()


def _connected(options: Options) -> socket.socket:
    """Connect to the first of the host's addresses that answers; they have one time together."""
    target, patience = options.target, options.timeouts.patience(0.0)
    due = time.monotonic() + patience
    failure: OSError | None = None
    try:
        if target.path:
            return _opened(socket.AF_UNIX, target.path, patience)
        addresses = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        for number, (family, _, _, _, address) in enumerate(addresses):
            # A dead one leaves a share of the time to each of those behind it.
            seconds = max((due - time.monotonic()) / (len(addresses) - number), 1e-3)
            try:
                return _opened(family, address, seconds, options.source_address)
            except OSError as error:
                failure = failure or error
    except OSError as error:
        failure = error
    if isinstance(failure, TimeoutError):
        raise ConnectionLost(f"{target}: no connection within {patience:g} s") from failure
    raise ConnectionLost(f"{target}: {getattr(failure, 'strerror', '') or failure}") from failure


def _opened(
    family: int, address: Any, seconds: float, source_address: tuple[str, int] | None = None
) -> socket.socket:
    sock = socket.socket(family)
    try:
        sock.settimeout(seconds)
        if source_address is not None:
            sock.bind(source_address)
        sock.connect(address)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _secured(options: Options, sock: socket.socket, patience: float) -> ssl.SSLSocket:
    try:
        sock.settimeout(patience)
        return options.context.wrap_socket(sock, server_hostname=options.target.host or None)
    except (OSError, ValueError) as error:
        raise handshake_failed(options.target, error) from error


def _behind(parts: list[Octets], sent: int) -> list[Octets]:
    """Return what is left of them behind so many octets."""
    for index, part in enumerate(parts):
        if sent < len(part):
            return [memoryview(part)[sent:], *parts[index + 1 :]] if sent else parts[index:]
        sent -= len(part)
    return []
