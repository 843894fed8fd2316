"""HOSTILE rows 100-107: handlers that fail or hang, clients that stall, vanish or crowd, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from smtpx import Response

from tests.peer import Peer
from tests.recorder import Recorder

if TYPE_CHECKING:
    from tests.live import LiveServers

pytestmark = pytest.mark.usefixtures("each_loop")

SECRET = "the database at 10.1.2.3 said no"


# Row 100: a handler raises.

HOOKS = {
    "check_helo": "EHLO client.example",
    "check_mail": "MAIL FROM:<joe@example.org>",
    "check_rcpt": "RCPT TO:<ann@example.org>",
    "check_data": "DATA",
    "serve_verify": "VRFY joe",
    "serve_expand": "EXPN joe",
}


def failing(hook: str, *, is_async: bool) -> Recorder:
    """A Recorder of which one method raises."""

    def fail(*_: Any) -> Response | None:
        raise RuntimeError(SECRET)

    async def fail_later(*_: Any) -> Response | None:
        await asyncio.sleep(0)
        raise RuntimeError(SECRET)

    made: Recorder = type("Failing", (Recorder,), {hook: fail_later if is_async else fail})()
    return made


def play(peer: Peer, until: str) -> None:
    """Send what comes before a command, and have it accepted."""
    peer.expect("220")
    for line in ("EHLO client.example", "MAIL FROM:<joe@example.org>", "RCPT TO:<ann@example.org>"):
        if line == until:
            return
        peer.command(line, "250")


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async-def"])
@pytest.mark.parametrize("hook", HOOKS)
def test_h100_a_hook_that_raises_is_451_and_the_session_goes_on(
    live_server: LiveServers, caplog: pytest.LogCaptureFixture, hook: str, is_async: bool
) -> None:
    peer = live_server(failing(hook, is_async=is_async)).connect()
    play(peer, HOOKS[hook])
    reply = peer.command(HOOKS[hook], "451 4.3.0")
    assert SECRET not in str(reply)
    assert SECRET in caplog.text
    peer.command("NOOP", "250 2.0.0")


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async-def"])
def test_h100_a_message_handler_that_raises_is_451_and_the_next_message_is_taken(
    live_server: LiveServers, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    peer = live_server(failing("serve_mail_tx", is_async=is_async)).connect()
    peer.open()
    reply = peer.message(b"one\r\n", "451 4.3.0")
    assert SECRET not in str(reply)
    assert SECRET in caplog.text
    peer.command("MAIL FROM:<joe@example.org>", "250 2.1.0")


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async-def"])
def test_h100_a_connect_hook_that_raises_lets_nobody_in(
    live_server: LiveServers, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    peer = live_server(failing("check_connect", is_async=is_async)).connect()
    # A banner is 220, 421 or 554 (RFC 5321 4.3.2); as a refusal before the session 451 is sent by some, too.
    reply = peer.last_reply()
    assert reply.code in (421, 451, 554)
    assert SECRET not in str(reply)
    assert SECRET in caplog.text


@pytest.mark.parametrize("answer", ["250 OK", 250, True, b"250 OK\r\n"])
def test_h100_a_handler_that_answers_nonsense_is_451(
    live_server: LiveServers, caplog: pytest.LogCaptureFixture, answer: object
) -> None:
    class Wrong(smtpx.Handler):
        def serve_mail_tx(self, mail: smtpx.MailTx) -> Response:
            return answer  # type: ignore[return-value]

    peer = live_server(Wrong()).connect()
    peer.open()
    peer.message(b"one\r\n", "451 4.3.0")
    peer.command("NOOP", "250 2.0.0")
    assert "Response" in caplog.text


def test_h100_a_handler_whose_own_task_was_cancelled_is_451(live_server: LiveServers) -> None:
    """It awaits something that somebody else has cancelled: CancelledError, which is no Exception."""

    class Cancelled(Recorder):
        async def check_rcpt(  # type: ignore[override]
            self, session: smtpx.Session, recipient: str, params: dict[str, str]
        ) -> None:
            if recipient == "cancelled@example.org":
                raise asyncio.CancelledError  # at once: before it ever waits

        async def serve_mail_tx(self, mail: smtpx.MailTx) -> None:  # type: ignore[override]
            task = asyncio.ensure_future(asyncio.sleep(60))
            task.cancel()
            await task

        def serve_verify(self, session: smtpx.Session, name: str) -> Response:
            raise asyncio.CancelledError

    peer = live_server(Cancelled()).connect()
    peer.open()
    peer.command("RCPT TO:<cancelled@example.org>", "451 4.3.0")
    peer.message(b"one\r\n", "451 4.3.0")
    peer.command("VRFY joe", "451 4.3.0")
    peer.command("NOOP", "250 2.0.0")


def test_h100_a_login_that_is_cancelled_is_a_temporary_failure(live_server: LiveServers) -> None:
    class Cancelled(Recorder):
        async def serve_auth(self, session: smtpx.Session, username: str, password: str) -> Response:  # type: ignore[override]
            raise asyncio.CancelledError

    peer = live_server(Cancelled(), service="submissions").connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    # An exception is 454 (row 58), a cancellation 451 (row 101); it is both, and 535 it is not.
    peer.command("AUTH PLAIN AGEAYg==", "454 4.7.0|451 4.3.0")
    peer.command("NOOP", "250 2.0.0")


# Row 101: an async handler hangs.


class Hanging(Recorder):
    """Waits for ever, in what it is told to, and tells when it was cancelled."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where
        self.entered = threading.Event()
        self.cancelled = threading.Event()

    async def hang(self, where: str) -> None:
        if where != self.where:
            return
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def check_rcpt(self, session: smtpx.Session, recipient: str, params: dict[str, str]) -> None:  # type: ignore[override]
        await self.hang("rcpt")

    async def serve_mail_tx(self, mail: smtpx.MailTx) -> None:  # type: ignore[override]
        await self.hang("message")


def test_h101_a_hook_that_hangs_is_cancelled_and_the_session_goes_on(live_server: LiveServers) -> None:
    handler = Hanging("rcpt")
    peer = live_server(handler, limits={"hook_timeout": 0.1}).connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    peer.command("MAIL FROM:<joe@example.org>", "250 2.1.0")
    peer.command("RCPT TO:<ann@example.org>", "451 4.3.0")
    assert handler.cancelled.wait(20)
    handler.where = ""
    peer.command("RCPT TO:<ann@example.org>", "250 2.1.5")


def test_h101_a_message_handler_that_hangs_is_cancelled_and_the_session_goes_on(
    live_server: LiveServers,
) -> None:
    handler = Hanging("message")
    peer = live_server(handler, limits={"message_timeout": 0.1}).connect()
    peer.open()
    peer.message(b"one\r\n", "451 4.3.0")
    assert handler.cancelled.wait(20)
    peer.command("NOOP", "250 2.0.0")


def test_h101_a_handler_that_hangs_holds_up_nobody_else(live_server: LiveServers) -> None:
    handler = Hanging("message")
    live = live_server(handler)
    peer = live.connect()
    peer.open()
    peer.command("DATA", "354")
    peer.send(b"one\r\n.\r\n")
    assert handler.entered.wait(20)
    handler.where = ""
    other = live.connect()
    other.open()
    other.message(b"two\r\n")


def test_h101_what_is_pipelined_behind_an_answer_that_takes_long_waits_for_it(
    live_server: LiveServers,
) -> None:
    handler = Hanging("rcpt")
    peer = live_server(handler, limits={"hook_timeout": 0.1}).connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    peer.send(b"MAIL FROM:<joe@example.org>\r\nRCPT TO:<ann@example.org>\r\nRSET\r\nQUIT\r\n")
    for pattern in ("250 2.1.0", "451 4.3.0", "250 2.0.0", "221 2.0.0"):
        peer.expect(pattern)
    peer.expect_close()


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
    class Waiting(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.entered = threading.Event()
            self.loop: asyncio.AbstractEventLoop | None = None
            self.go_on = asyncio.Event()

        async def serve_mail_tx(self, mail: smtpx.MailTx) -> None:  # type: ignore[override]
            self.loop = asyncio.get_running_loop()
            self.entered.set()
            await self.go_on.wait()

    handler = Waiting()
    live = live_server(handler)
    peer = live.connect()
    peer.open()
    peer.command("DATA", "354")
    peer.send(b"one\r\n.\r\n")
    assert handler.entered.wait(20)
    stopping = Stopping(live, grace=60)
    assert handler.loop is not None
    handler.loop.call_soon_threadsafe(handler.go_on.set)
    peer.expect("250 2.0.0")
    peer.close()
    stopping.join()


# Row 107: the client is gone.


def test_h107_a_client_that_is_gone_while_its_message_is_taken_cancels_nothing(
    live_server: LiveServers,
) -> None:
    """A handler that is half way through storing must not be torn out of it."""

    class Waiting(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.entered = threading.Event()
            self.done = threading.Event()
            self.loop: asyncio.AbstractEventLoop | None = None
            self.go_on = asyncio.Event()

        async def serve_mail_tx(self, mail: smtpx.MailTx) -> None:  # type: ignore[override]
            self.loop = asyncio.get_running_loop()
            self.entered.set()
            await self.go_on.wait()
            self.done.set()

    handler = Waiting()
    live = live_server(handler)
    peer = live.connect()
    peer.open()
    peer.command("DATA", "354")
    peer.send(b"one\r\n.\r\n")
    assert handler.entered.wait(20)
    peer.close()
    live.settle()
    assert handler.loop is not None
    handler.loop.call_soon_threadsafe(handler.go_on.set)
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
