"""HOSTILE rows 16-34 that no transcript can hold: endless lines, early clients, other protocols."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest
import smtpx
from smtpx import CloseEvent, CommandEvent, CommandKind, EngineConfig, Response, ServerEngine

from tests.peer import take_reply
from tests.recorder import Recorder

if TYPE_CHECKING:
    from tests.live import LiveServers

MIB = 1024 * 1024


@pytest.mark.parametrize("greeting", [b"", b"EHLO client.example\r\n"], ids=["before-helo", "after-helo"])
@pytest.mark.parametrize("chunk", [b"x" * MIB, b"AUTH PLAIN " + b"A" * MIB, b" " * MIB])
def test_h17_a_line_without_end_is_cut_off_and_not_kept(greeting: bytes, chunk: bytes) -> None:
    engine = ServerEngine(EngineConfig("mx.example.org"))
    engine.start()
    engine.receive_data(greeting)
    held = 0
    for _ in range(1024):
        engine.receive_data(chunk)
        held = max(held, engine.buffered)
        if engine.closed:
            break
    assert engine.closed
    assert held <= 2 * MIB


def test_h17_a_line_without_end_in_an_auth_exchange() -> None:
    engine = ServerEngine(EngineConfig("mx.example.org", mechanisms=["PLAIN"], auth_required=True), tls=True)
    engine.start()
    event, _ = engine.receive_data(b"EHLO client.example\r\nAUTH PLAIN\r\n")
    assert isinstance(event, smtpx.AuthEvent)
    engine.challenge(b"")
    for _ in range(1024):
        engine.receive_data(b"A" * MIB)
        if engine.closed:
            break
    assert engine.closed
    assert engine.buffered <= 2 * MIB


def test_h17_live(live_server: LiveServers) -> None:
    peer = live_server().connect()
    peer.expect("220")
    for _ in range(64):
        peer.send(b"x" * MIB)
    # No CRLF ever came: the server has not waited for one.
    assert peer.last_reply().matches("500 5.5.2|421 4.7.0")


def test_h37_content_without_end_is_not_kept() -> None:
    """The bound on what is held is the message limit, whatever the client says it will send."""
    engine = ServerEngine(EngineConfig("mx.example.org", max_message_size=MIB))
    engine.start()
    engine.receive_data(b"EHLO c.example\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
    held = 0
    for _ in range(1024):
        engine.receive_data(b"y" * 65534 + b"\r\n")
        held = max(held, engine.buffered)
        if engine.closed:
            break
    assert engine.closed
    assert held <= 2 * MIB


def test_h23_a_client_that_talks_before_the_banner_is_refused_by_the_engine() -> None:
    engine = ServerEngine(EngineConfig("mx.example.org"))
    _, early = engine.receive_data(b"EHLO client.example\r\nMAIL FROM:<evil@example.net>\r\n")
    event, output = engine.start()
    received = bytearray(early + output)
    reply = take_reply(received)
    assert reply is not None
    assert reply.matches("554 5.5.0")
    assert not received
    assert isinstance(event, CloseEvent) or engine.closed


class Slow(Recorder):
    """Lets a client in when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.let_in = asyncio.Event()

    async def check_connect(self, session: smtpx.Session) -> Response | None:
        self.loop = asyncio.get_running_loop()
        self.asked.set()
        await self.let_in.wait()
        return None

    def release(self) -> None:
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.let_in.set)


def test_h23_a_client_that_talks_before_the_banner_is_refused(live_server: LiveServers) -> None:
    handler = Slow()
    peer = live_server(handler).connect()
    assert handler.asked.wait(20)
    peer.send(b"EHLO client.example\r\nMAIL FROM:<evil@example.net>\r\n")
    handler.release()
    peer.expect("554 5.5.0")
    peer.expect_close()


def test_h23_a_client_that_waits_for_the_banner_gets_it(live_server: LiveServers) -> None:
    handler = Slow()
    peer = live_server(handler).connect()
    assert handler.asked.wait(20)
    handler.release()
    peer.open()
    peer.message(b"one\r\n")
    assert handler.messages[0].data == b"one\r\n"


NASTY = {
    "comments": b"(" * MIB + b"a@example.org",
    "closed-comments": b"(" * MIB + b")" * MIB + b"a@example.org",
    "quoted-pairs": b'"' + b"\\" * MIB + b'"@example.org',
    "quotes": b'"' * MIB + b"@example.org",
    "route": b"<" + b"@a," * MIB + b":a@example.org>",
    "dots": b"a." * MIB + b"@example.org",
    "at-signs": b"@" * MIB,
    "literal": b"a@[" + b"IPv6:" * MIB + b"]",
    "colons": b"a@[IPv6:" + b":" * MIB + b"]",
    "spaces": b" " * MIB + b"a@example.org",
    "brackets": b"<" * MIB + b">" * MIB,
    "parameters": b"<a@example.org>" + b" A=1" * MIB,
    "octets": b"\xff" * MIB,
}


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
def test_h29_a_mebibyte_of_structure_needs_no_recursion(text: bytes) -> None:
    """On a small stack, so that recursion would end the process; what is quadratic would not end at all."""

    def parse() -> None:
        calls = (
            lambda: smtpx.parse_path(text),
            lambda: smtpx.parse_mailbox(text),
            lambda: smtpx.parse_command(b"MAIL FROM:" + text + b"\r\n"),
            lambda: smtpx.parse_command(b"RCPT TO:<" + text + b">\r\n"),
        )
        for call in calls:
            try:
                call()
            except smtpx.SyntaxRefused:
                refused.append(text)
        done.append(True)

    refused: list[bytes] = []
    done: list[bool] = []
    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=parse)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert done
    assert refused


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
def test_h29_in_a_session_with_a_long_line_limit(text: bytes) -> None:
    engine = ServerEngine(EngineConfig("mx.example.org", max_command_line=16 * MIB))
    engine.start()
    engine.receive_data(b"EHLO client.example\r\n")
    _, output = engine.receive_data(b"MAIL FROM:<" + text + b">\r\nNOOP\r\n")
    received = bytearray(output)
    answer, noop = take_reply(received), take_reply(received)
    assert answer is not None
    assert noop is not None
    assert noop.matches("250 2.0.0")
    assert engine.buffered == 0


def test_h32_a_tls_client_on_the_plain_port_is_closed_at_once(live_server: LiveServers) -> None:
    live = live_server()
    peer = live.connect()
    peer.expect("220")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        peer.start_tls(live.certificate.client)
    assert live.recorder.messages == []


def test_h33_20_errors_are_the_default_limit() -> None:
    assert closed_after(b"XYZZY\r\n") == 20


def test_h33_100_idle_commands_are_the_default_limit() -> None:
    # Our EHLO may count as one of them: a client can send nothing else for ever.
    assert closed_after(b"NOOP\r\n") in (99, 100)


def test_h33_starttls_that_is_refused_is_an_error() -> None:
    engine = ServerEngine(EngineConfig("mx.example.org", starttls=True, max_errors=3))
    engine.start()
    for _ in range(2):
        event, _ = engine.receive_data(b"STARTTLS\r\n")
        assert isinstance(event, CommandEvent)
        assert engine.reply(Response(454, "4.7.0 Not now")) == (None, b"454 4.7.0 Not now\r\n")
    engine.receive_data(b"STARTTLS\r\n")
    event, output = engine.reply(Response(454, "4.7.0 Not now"))
    assert isinstance(event, CloseEvent)
    assert output.startswith(b"421 4.7.0")


@pytest.mark.parametrize("line", [b"DATA\r\n", b"BDAT 0 LAST\r\n"])
def test_h33_content_that_is_refused_is_an_error_but_cuts_no_transaction(line: bytes) -> None:
    config = EngineConfig("mx.example.org", decide=CommandKind.DATA | CommandKind.BDAT, max_errors=2)
    engine = ServerEngine(config)
    engine.start()
    engine.receive_data(b"EHLO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n")
    for _ in range(3):
        engine.receive_data(line)
        if engine.owes_answer:  # a chunk behind a refused one is refused by the engine
            engine.reply(Response(450, "4.7.1 Not now"))
    assert (engine.errors, engine.closed) == (3, False)
    engine.receive_data(b"RSET\r\nXYZZY\r\n")
    assert engine.closed


def closed_after(line: bytes) -> int:
    """Return how often a session may hear the line."""
    engine = ServerEngine(EngineConfig("mx.example.org"))
    engine.start()
    engine.receive_data(b"EHLO client.example\r\n")
    for count in range(1, 1000):
        engine.receive_data(line)
        if engine.closed:
            return count
    raise AssertionError("never closed")


def test_h34_vrfy_of_a_known_and_an_unknown_name_is_the_same_octet_for_octet(
    live_server: LiveServers,
) -> None:
    live = live_server(smtpx.LocalHandler(live_server.environment))
    peer = live.connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    for verb in ("VRFY", "EXPN"):
        replies = {
            peer.command(f"{verb} {name}", "252") for name in ("joe", "nobody", "joe@example.org", "<x@y>")
        }
        assert len(replies) == 1


def test_h42_what_follows_a_bad_bdat_is_not_read_as_commands_and_the_reply_arrives(
    live_server: LiveServers,
) -> None:
    """A reset while the client still writes would take the reply with it."""
    peer = live_server().connect()
    peer.open()
    peer.send(b"BDAT 1e6 LAST\r\n" + b"RSET\r\n" * 100_000)
    peer.expect("501 5.5.4")
    peer.expect_close()


def test_h11_the_refusal_of_a_bare_newline_arrives_after_all_the_content(live_server: LiveServers) -> None:
    peer = live_server().connect()
    peer.open()
    peer.command("DATA", "354")
    peer.send(b"one\ntwo\r\n" + b"x" * 998 + b"\r\n")
    peer.send((b"x" * 998 + b"\r\n") * 2000 + b".\r\n")
    peer.expect("554 5.6.0")
    peer.expect_close()


def test_half_a_close_is_no_end_of_the_content(live_server: LiveServers) -> None:
    """Row 107, by a client that closes its sending side only."""
    live = live_server()
    peer = live.connect()
    peer.open()
    peer.command("DATA", "354")
    peer.send(b"one\r\n.\r")
    peer.socket.shutdown(socket.SHUT_WR)
    peer.expect_close()
    assert live.recorder.messages == []
