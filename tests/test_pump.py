"""`pump`: what a blocking client says and hears in one native call, and where it leaves off."""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import TYPE_CHECKING

import pytest
from smtpx import ClientEngine
from smtpx._core import ReplyEvent, SentEvent, pump
from smtpx.errors import ResponseError

from tests.recorder import JOE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.name != "posix", reason="it does nothing here")

CONTENT = b"Subject: x\r\n\r\nhi\r\n"
PROMPT = struct.pack("ll", 0, 1000)


class Ends:
    """A pair of sockets, ours with the time limit of a client's, and a session that has been greeted."""

    def __init__(self, kind: socket.SocketKind) -> None:
        self.ours, self.peer = socket.socketpair(socket.AF_UNIX, kind)
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, PROMPT)
        self.engine = ClientEngine("client.example")
        self.engine.receive_data(b"220 hello\r\n")
        self.engine.receive_data(b"250-mx.example\r\n250 PIPELINING\r\n")

    def pump(self, octets: bytes) -> tuple[object, bytes]:
        return pump(self.engine, self.ours.fileno(), octets)

    def mail(self) -> bytes:
        return self.engine.mail("ann@example.org", [JOE], data=CONTENT)


def ends(kind: socket.SocketKind) -> Iterator[Ends]:
    pair = Ends(kind)
    with pair.ours, pair.peer:
        yield pair


@pytest.fixture
def stream() -> Iterator[Ends]:
    yield from ends(socket.SOCK_STREAM)


@pytest.fixture
def reads() -> Iterator[Ends]:
    """Sockets that keep what was sent apart: each send of the peer's is a read of ours."""
    if sys.platform == "darwin":
        pytest.skip("there are no such sockets here")
    yield from ends(socket.SOCK_SEQPACKET)


@pytest.mark.parametrize(
    "replies",
    [
        [b"250 ok\r\n250 ok\r\n354 go\r\n", b"250 taken\r\n"],
        [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 taken\r\n"],
    ],
    ids=["in groups", "one by one"],
)
def test_a_prompt_server_takes_one_call(reads: Ends, replies: list[bytes]) -> None:
    for reply in replies:
        reads.peer.send(reply)
    envelope = reads.mail()
    event, unsent = reads.pump(envelope)
    assert isinstance(event, SentEvent)
    assert event.accepted == 1
    assert unsent == b""
    assert [reads.peer.recv(999), reads.peer.recv(999)] == [envelope, CONTENT + b".\r\n"]
    assert reads.engine.idle


def test_nothing_to_write_is_not_written(reads: Ends) -> None:
    # An empty write would be a packet of its own here, and on a stream a call for nothing.
    reads.engine.command(b"NOOP")
    reads.peer.send(b"250 ok\r\n")
    event, _ = reads.pump(b"")
    assert isinstance(event, ReplyEvent)
    reads.peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        reads.peer.recv(999)


def test_a_silent_server_is_left_to_the_driver(stream: Ends) -> None:
    line = stream.engine.command(b"NOOP")
    assert stream.pump(line) == (None, b"")
    assert stream.peer.recv(999) == line
    assert not stream.engine.idle


def test_a_reply_longer_than_a_read_is_left_to_the_driver(stream: Ends) -> None:
    reply = b"".join(b"214-%d\r\n" % line for line in range(1000)) + b"214 end\r\n"
    stream.peer.sendall(reply)
    assert stream.pump(stream.engine.command(b"HELP")) == (None, b"")
    event, _ = stream.engine.receive_data(stream.ours.recv(len(reply)))
    assert isinstance(event, ReplyEvent)
    assert len(event.response.body) == 1000


def test_octets_that_complete_no_reply_are_left_to_the_driver_whose_clock_runs(reads: Ends) -> None:
    line = reads.engine.command(b"NOOP")
    for octet in (b"2", b"5", b"0"):
        reads.peer.send(octet)
    assert reads.pump(line) == (None, b"")
    assert reads.ours.recv(999) == b"5"


def test_a_long_exchange_lets_the_driver_look_at_its_clock(reads: Ends) -> None:
    # Each read may wait a little; for the sum of them only the driver has a limit.
    recipients = [f"joe{number}@example.org" for number in range(90)]
    envelope = reads.engine.mail("ann@example.org", recipients, data=CONTENT)
    before = reads.engine.replies
    for _ in range(90):
        reads.peer.send(b"250 ok\r\n")
    assert reads.pump(envelope) == (None, b"")
    assert reads.engine.replies == before + 64


def test_what_the_kernel_has_no_room_for_is_given_back(stream: Ends) -> None:
    octets = os.urandom(8 << 20)
    event, unsent = stream.pump(octets)
    assert event is None
    assert 0 < len(unsent) < len(octets)
    stream.ours.close()
    came = b"".join(iter(lambda: stream.peer.recv(1 << 20), b""))
    assert came + unsent == octets


def test_a_write_that_fails_gives_everything_back(stream: Ends) -> None:
    stream.peer.close()
    line = stream.engine.command(b"NOOP")
    assert stream.pump(line) == (None, line)


def test_an_end_is_left_to_the_driver(stream: Ends) -> None:
    stream.peer.shutdown(socket.SHUT_WR)
    assert stream.pump(stream.engine.command(b"NOOP")) == (None, b"")
    assert stream.ours.recv(999) == b""


def test_a_farewell_ends_it(stream: Ends) -> None:
    stream.peer.send(b"421 leaving\r\n")
    event, _ = stream.pump(stream.engine.command(b"NOOP"))
    assert isinstance(event, ReplyEvent)
    assert stream.engine.closed


def test_a_read_that_fails_is_raised_as_of_a_socket(stream: Ends) -> None:
    with socket.socket() as unconnected:
        with pytest.raises(OSError) as by_socket:  # noqa: PT011 - whatever the system says
            unconnected.recv(1)
        with pytest.raises(type(by_socket.value)) as by_pump:
            pump(stream.engine, unconnected.fileno(), b"")
    assert by_pump.value.args == by_socket.value.args


def test_a_closed_socket_is_nobody_elses(stream: Ends) -> None:
    stream.ours.close()
    line = stream.engine.command(b"NOOP")
    assert stream.pump(line) == (None, line)


def test_a_server_that_breaks_the_protocol_is_refused(stream: Ends) -> None:
    stream.peer.send(b"hello\r\n")
    with pytest.raises(ResponseError):
        stream.pump(stream.engine.command(b"NOOP"))
