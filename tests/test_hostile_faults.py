"""HOSTILE rows 102-107: clients that stall, vanish or crowd, and the end of the server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.peer import Peer
from tests.recorder import Gated, Hanging, Recorder

if TYPE_CHECKING:
    import smtpx

    from tests.live import LiveServers

pytestmark = pytest.mark.usefixtures("each_loop")

# Row 102: slowloris.


def trickle(peer: Peer, octets: bytes) -> None:
    """Send one octet after the other, each within any timeout between two reads, until the server answers."""
    peer.socket.settimeout(0.05)
    for at in range(len(octets)):
        peer.send(octets[at : at + 1])
        try:
            if peer.socket.recv(1, socket.MSG_PEEK) is not None:
                break
        except TimeoutError:
            continue
    else:
        raise AssertionError("the server has waited through it all")
    peer.socket.settimeout(20)


def test_h102_a_command_that_comes_an_octet_at_a_time_is_cut_off(live_server: LiveServers) -> None:
    peer = live_server(limits={"command_timeout": 0.4}).connect()
    peer.expect("220")
    trickle(peer, b"N" * 1000)
    peer.expect("421 4.4.2")
    peer.expect_close()


def test_h102_a_client_that_says_nothing_is_cut_off(live_server: LiveServers) -> None:
    peer = live_server(limits={"command_timeout": 0.2}).connect()
    peer.expect("220")
    peer.expect("421 4.4.2")
    peer.expect_close()


def test_h102_content_that_stops_is_cut_off_and_not_stored(live_server: LiveServers) -> None:
    live = live_server(limits={"data_timeout": 0.2})
    peer = live.connect()
    peer.open()
    peer.command("DATA", "354")
    peer.send(b"one\r\n")
    peer.expect("421 4.4.2")
    peer.expect_close()
    assert live.recorder.messages == []


def test_h102_a_chunk_that_stops_is_cut_off_and_not_stored(live_server: LiveServers) -> None:
    live = live_server(limits={"data_timeout": 0.2})
    peer = live.connect()
    peer.open()
    peer.send(b"BDAT 100 LAST\r\none")
    peer.expect("421 4.4.2")
    peer.expect_close()
    assert live.recorder.messages == []


def test_h102_content_that_trickles_ends_with_the_transaction(live_server: LiveServers) -> None:
    live = live_server(limits={"transaction_timeout": 0.5})
    peer = live.connect()
    peer.open()
    peer.command("DATA", "354")
    trickle(peer, b"x" * 1000)
    peer.expect("421 4.4.2")
    peer.expect_close()
    assert live.recorder.messages == []


def test_h102_time_of_our_own_handler_is_not_the_clients(live_server: LiveServers) -> None:
    class Slow(Recorder):
        async def serve_mail_tx(self, mail: smtpx.MailTx) -> None:  # type: ignore[override]
            await asyncio.sleep(0.5)

    limits = {"command_timeout": 0.2, "data_timeout": 0.2, "transaction_timeout": 0.3}
    peer = live_server(Slow(), limits=limits).connect()
    peer.open()
    peer.message(b"one\r\n")


# Row 103: a client that never reads.


def test_h103_a_client_that_never_reads_is_not_read_from_and_then_cut_off(live_server: LiveServers) -> None:
    live = live_server(limits={"write_buffer": 4096, "data_timeout": 0.3, "recipients": 1})
    peer = live.connect()
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.open()
    flood = b"RCPT TO:<one.too.many@example.org>\r\n" * 2000  # each one is 452, and no error
    sent = 0
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while sent < 256 << 20:
            sent += peer.socket.send(flood)
    # What the two kernels hold, and no more than that: then it was cut off.
    assert sent < 64 << 20
    live.settle()


def test_h103_a_client_that_floods_while_its_message_is_handled_is_not_read_from(
    live_server: LiveServers,
) -> None:
    handler = Hanging("message")
    live = live_server(handler)
    peer = live.connect()
    peer.open()
    peer.command("DATA", "354")
    peer.send(b"one\r\n.\r\n")
    assert handler.entered.wait(20)
    peer.socket.settimeout(1)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 256 << 20:
            sent += peer.socket.send(b"NOOP\r\n" * 10_000)
    assert sent < 64 << 20
    live.server.stop(grace=0.1)  # the handler hangs for good


# Row 105: too many connections.


@pytest.mark.parametrize("limit", ["connections", "connections_per_address"])
def test_h105_a_connection_over_the_limit_is_421_and_its_place_is_free_again(
    live_server: LiveServers, limit: str
) -> None:
    live = live_server(limits={limit: 2})
    peers = [live.connect(), live.connect()]
    for peer in peers:
        peer.expect("220")
    surplus = live.connect()
    surplus.expect("421 4.7.0")
    surplus.expect_close()
    peers[0].command("QUIT", "221")
    peers[0].expect_close()
    live.connect().expect("220")
    peers[1].command("NOOP", "250 2.0.0")


# Row 106: the server is stopped.


class Stopping:
    """Stops a server from another thread; an idle client tells when that has begun."""

    def __init__(self, live: Any, grace: float) -> None:
        idle = live.connect()
        idle.expect("220")
        self._thread = threading.Thread(target=live.server.stop, args=(grace,))
        self._thread.start()
        idle.expect("421 4.3.2")
        idle.expect_close()
        idle.close()

    def join(self) -> None:
        self._thread.join()


def test_h106_the_message_in_flight_is_finished(live_server: LiveServers) -> None:
    live = live_server()
    peer = live.connect()
    peer.open()
    peer.command("DATA", "354")
    peer.send(b"one\r\n")
    stopping = Stopping(live, grace=60)
    with pytest.raises(ConnectionRefusedError):
        Peer(live.address)
    peer.send(b"two\r\n.\r\n")
    peer.expect("250 2.0.0")
    assert peer.last_reply().matches("421 4.3.2")
    peer.close()
    stopping.join()
    assert [message.data for message in live.recorder.messages] == [b"one\r\ntwo\r\n"]


def test_h106_a_transaction_that_is_begun_is_finished(live_server: LiveServers) -> None:
    live = live_server()
    peer = live.connect()
    peer.open()
    stopping = Stopping(live, grace=60)
    peer.message(b"one\r\n")
    peer.close()
    stopping.join()
    assert len(live.recorder.messages) == 1


def test_h106_what_is_not_finished_in_time_gets_421_and_is_not_stored(live_server: LiveServers) -> None:
    live = live_server()
    peer = live.connect()
    peer.open()
    peer.command("DATA", "354")
    peer.send(b"one\r\n")
    stopping = Stopping(live, grace=0.2)
    peer.expect("421 4.3.2")
    peer.expect_close()
    peer.close()
    stopping.join()
    assert live.recorder.messages == []


def test_h106_a_message_that_the_handler_has_is_answered(live_server: LiveServers) -> None:
    handler = Gated()
    live = live_server(handler)
    peer = live.connect()
    peer.open()
    peer.command("DATA", "354")
    peer.send(b"one\r\n.\r\n")
    assert handler.entered.wait(20)
    stopping = Stopping(live, grace=60)
    handler.open()
    peer.expect("250 2.0.0")
    peer.close()
    stopping.join()


# Row 107: the client is gone.


def test_h107_a_client_that_is_gone_while_its_message_is_taken_cancels_nothing(
    live_server: LiveServers,
) -> None:
    """A handler that is half way through storing must not be torn out of it."""
    handler = Gated()
    live = live_server(handler)
    peer = live.connect()
    peer.open()
    peer.command("DATA", "354")
    peer.send(b"one\r\n.\r\n")
    assert handler.entered.wait(20)
    peer.close()
    live.settle()
    handler.open()
    assert handler.done.wait(20)


def test_h107_a_client_that_is_gone_while_a_hook_thinks_cancels_it(live_server: LiveServers) -> None:
    handler = Hanging("rcpt")
    live = live_server(handler)
    peer = live.connect()
    peer.expect("220")
    peer.send(b"EHLO client.example\r\nMAIL FROM:<joe@example.org>\r\nRCPT TO:<ann@example.org>\r\n")
    assert handler.entered.wait(20)
    peer.close()
    assert handler.cancelled.wait(20)
    live.settle()


def test_h107_a_reset_in_the_content_stores_nothing_and_frees_the_place(live_server: LiveServers) -> None:
    live = live_server(limits={"connections": 2})
    for _ in range(5):
        peer = live.connect()
        peer.open()
        peer.command("DATA", "354")
        peer.send(b"one\r\n")
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # RST, not FIN
        peer.close()
        live.settle()
    assert live.recorder.messages == []
