"""A hostile SMTP server that follows a script, for tests of the client.

A script is a list of steps, one script a connection::

    server = scripted([say(b"220 x\r\n"), expect("EHLO"), say(b"250 x\r\n"), expect("MAIL"), close()])
    ... a client talks to 127.0.0.1, server.port ...
    assert server.received[0].startswith(b"EHLO ")

tests/sessions.py has whole sessions, in which single answers are replaced: ``polite(mail=close())``.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.peer import PATIENCE

__all__ = [
    "Connection",
    "Script",
    "ScriptedServer",
    "Step",
    "bdat",
    "broken_tls",
    "close",
    "content",
    "drip",
    "expect",
    "flood",
    "half_close",
    "hang",
    "nag",
    "play",
    "reset",
    "say",
    "signal",
    "start_tls",
    "take",
    "take_chunk",
    "then",
    "wait",
]

PAUSE = 0.005
"""Seconds between pieces that are to arrive apart."""
BUFFER = 64 * 1024
"""The send buffer, so small that what a client does not read is soon noticed."""


@dataclass(frozen=True)
class Step:
    """One thing that the server does; ``text`` is its name in a failure."""

    text: str
    run: Callable[[Connection], None]


Script = Sequence[Step]


class Connection:
    """One client's connection, as the steps see it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.received = bytearray()
        """All that the client has sent: what came inside TLS is here as plain text."""
        self.contents: list[bytes] = []
        self.said = b""
        self.ended = False
        self._unread = bytearray()

    def send(self, data: bytes) -> bool:
        """Whether the client still took it: a client may go whenever it likes, the next read notices."""
        try:
            self.socket.sendall(data)
        except (ConnectionError, ssl.SSLError):
            return False
        return True

    def receive(self) -> bool:
        """Whether more came: False is the end."""
        try:
            data = self.socket.recv(BUFFER)
        except TimeoutError:
            raise AssertionError(f"the client neither sent nor closed, after {self.tail()}") from None
        except (ConnectionError, ssl.SSLError):
            data = b""
        self.received += data
        self._unread += data
        return bool(data)

    def until(self, end: bytes) -> bytes | None:
        """Read up to and with the end; None where the client closed before it."""
        while (at := self._unread.find(end)) < 0:
            if not self.receive():
                return None
        return self._cut(at + len(end))

    def octets(self, count: int) -> bytes:
        while len(self._unread) < count:
            assert self.receive(), f"the client closed before {count} octets, after {self.tail()}"
        return self._cut(count)

    def read_to_the_end(self) -> None:
        while self.receive():
            pass
        self.ended = True

    def read_content(self) -> None:
        """Read up to the final dot, into `contents`."""
        data = self.until(b".\r\n")
        while data is not None and data != b".\r\n" and not data.endswith(b"\r\n.\r\n"):
            more = self.until(b".\r\n")
            data = None if more is None else data + more
        assert data is not None, f"the client closed within the content, after {self.tail()}"
        self.contents.append(data)

    def shake_hands(self, context: ssl.SSLContext) -> None:
        assert not self._unread, f"behind STARTTLS, before its reply, the client sent {bytes(self._unread)!r}"
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.socket.do_handshake()

    def close(self) -> None:
        self.ended = True
        self.socket.close()

    def tail(self) -> str:
        return repr(bytes(self.received[-200:]))

    def _cut(self, count: int) -> bytes:
        data = bytes(self._unread[:count])
        del self._unread[:count]
        return data


# Steps that talk


def say(*pieces: bytes) -> Step:
    """Say this; each piece in a segment of its own."""

    def run(connection: Connection) -> None:
        connection.said = b"".join(pieces)
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(PAUSE)
            connection.send(piece)

    return Step(f"say({', '.join(repr(piece[:60]) for piece in pieces[:3])})", run)


def drip(data: bytes) -> Step:
    """Say this an octet at a time."""
    return say(*(data[at : at + 1] for at in range(len(data))))


def nag(piece: bytes) -> Step:
    """Say this again and again, with a little pause between, until the client closes."""

    def run(connection: Connection) -> None:
        while connection.send(piece):
            time.sleep(PAUSE)
        connection.read_to_the_end()

    return Step(f"nag({piece[:60]!r})", run)


def flood(piece: bytes, size: int = 10 * 1024 * 1024) -> Step:
    """Say this over and over, ``size`` octets in all; the client must close before it has taken them."""

    def run(connection: Connection) -> None:
        sent = 0
        while sent < size:
            if not connection.send(piece):
                connection.read_to_the_end()
                return
            sent += len(piece)
        raise AssertionError(f"the client took all the {sent} octets")

    return Step(f"flood({piece[:60]!r})", run)


# Steps that listen


def expect(prefix: str) -> Step:
    """Read a line that begins so, in any case."""

    def run(connection: Connection) -> None:
        line = connection.until(b"\r\n")
        assert line is not None, f"the client closed, after {connection.tail()}"
        assert line.upper().startswith(prefix.upper().encode()), f"got {line!r}"

    return Step(f"expect({prefix!r})", run)


def content() -> Step:
    """Read up to the final dot, which is kept in `contents` as it came, stuffed."""
    return Step("content()", Connection.read_content)


def bdat() -> Step:
    """Read ``BDAT size``, and the octets of it."""

    def run(connection: Connection) -> None:
        line = connection.until(b"\r\n")
        assert line is not None, f"the client closed, after {connection.tail()}"
        take_chunk(connection, line)

    return Step("bdat()", run)


def take_chunk(connection: Connection, line: bytes) -> None:
    """Read the octets that a line of BDAT announces, into `contents`."""
    verb, size, *_ = line.split()
    assert verb.upper() == b"BDAT", f"got {line!r}"
    connection.contents.append(connection.octets(int(size)))


def take(count: int) -> Step:
    """Read so many octets, whatever they are."""

    def run(connection: Connection) -> None:
        connection.octets(count)

    return Step(f"take({count})", run)


def hang() -> Step:
    """Say nothing until the client has closed."""
    return Step("hang()", Connection.read_to_the_end)


# Steps that keep time with the test


def wait(event: threading.Event) -> Step:
    """Go on when the test sets the event."""

    def run(connection: Connection) -> None:
        assert event.wait(PATIENCE), "the test did not set the event"

    return Step("wait()", run)


def signal(event: threading.Event) -> Step:
    """Tell the test that the script has come so far."""
    return Step("signal()", lambda connection: event.set())


# Steps that end


def close() -> Step:
    """Close; a client that goes on sending is answered with a reset."""
    return Step("close()", Connection.close)


def half_close() -> Step:
    """Say no more, and read until the client has closed too."""

    def run(connection: Connection) -> None:
        with contextlib.suppress(OSError):  # the client was faster
            connection.socket.shutdown(socket.SHUT_WR)
        connection.read_to_the_end()

    return Step("half_close()", run)


def reset() -> Step:
    """Break the connection: the client meets ECONNRESET."""

    def run(connection: Connection) -> None:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    return Step("reset()", run)


# TLS


def start_tls(context: ssl.SSLContext) -> Step:
    """Shake hands as the server; what follows is inside TLS."""
    return Step("start_tls()", lambda connection: connection.shake_hands(context))


def broken_tls(context: ssl.SSLContext) -> Step:
    """Shake hands with a client that has to break it off."""

    def run(connection: Connection) -> None:
        try:
            connection.shake_hands(context)
        except OSError:
            connection.close()
            return
        raise AssertionError("the client shook hands")

    return Step("broken_tls()", run)


# Steps of steps


def then(*steps: Step) -> Step:
    """Several steps as one: ``polite(data=then(say(b"354 go\r\n"), take(100), reset()))``."""

    def run(connection: Connection) -> None:
        play(steps, connection)

    return Step("then()", run)


def play(script: Script, connection: Connection) -> None:
    """Take the steps until one of them has ended the connection."""
    for number, step in enumerate(script, 1):
        if connection.ended:
            return
        try:
            step.run(connection)
        except (AssertionError, OSError) as error:
            error.add_note(f"at step {number}, {step.text}")
            raise


# The server


class ScriptedServer:
    """A server on threads of its own and a port of the loopback; each client meets the next script."""

    def __init__(self, *scripts: Script, listener: socket.socket | None = None) -> None:
        self._scripts = scripts
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)  # inherited by connections
        self._address = self._listener.getsockname()
        self.port: int = self._address[1]
        self._connections: list[Connection] = []
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._finishing = ("", 0)
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def url(self, scheme: str = "smtp", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}"

    @property
    def received(self) -> list[bytes]:
        """What each client sent; waits until all scripts have ended."""
        self.finish()
        return [bytes(connection.received) for connection in self._connections]

    @property
    def contents(self) -> list[bytes]:
        """The contents as they came: stuffed and with the final dot, or by BDAT; waits as `received`."""
        self.finish()
        return [content for connection in self._connections for content in connection.contents]

    def finish(self) -> None:
        """Wait until every script has been played to its end, and raise what failed in one."""
        if not self._finishing[1]:
            with socket.socket() as last:  # behind all the clients that came before
                last.bind((self._address[0], 0))
                self._finishing = last.getsockname()
                last.connect(self._address)
            self._acceptor.join(PATIENCE)
            for thread in self._threads:
                thread.join(2 * PATIENCE)
                assert not thread.is_alive(), "a script did not end"
            missing = len(self._scripts) - len(self._threads)
            if missing > 0 and not self._failures:
                self._failures.append(AssertionError(f"no client came for the last {missing} scripts"))
        if self._failures:
            raise self._failures[0]

    def _accept(self) -> None:
        with self._listener:
            while True:
                sock, address = self._listener.accept()
                if address == self._finishing:
                    sock.close()
                    return
                sock.settimeout(PATIENCE)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = Connection(sock)
                self._connections.append(connection)
                thread = threading.Thread(
                    target=self._run, args=(len(self._connections), connection), daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def _run(self, number: int, connection: Connection) -> None:
        try:
            assert number <= len(self._scripts), "there is no script for another connection"
            play(self._scripts[number - 1], connection)
            if not connection.ended:
                connection.read_to_the_end()
        except BaseException as error:  # raised on the thread of the test
            error.add_note(f"in the script of connection {number}")
            self._failures.append(error)
        finally:
            connection.close()
