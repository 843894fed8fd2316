"""HOSTILE row 23: who talks before our 220 is refused, and nothing of it is run; on each loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from smtpx import EngineConfig, Listener, MessageEvent, ServerEngine

from tests.client import Client, said_within_the_handshake
from tests.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.client import Run
    from tests.live import Certificate

TALK = (
    b"EHLO me.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nBDAT 5 LAST\r\none\r\nNOOP\r\n"
)
ANSWERS = ["250", "250", "250", "250", "250"]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket that takes connections before any server does: what they say then is early for certain."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


async def early(sock: socket.socket, words: bytes = TALK) -> Client:
    """Connect and talk, and be heard by nobody yet."""
    if sock.family is socket.AF_INET:
        client = Client(*await asyncio.open_connection("127.0.0.1", sock.getsockname()[1]))
    else:
        client = Client(*await asyncio.open_unix_connection(sock.getsockname()))
    client.writer.write(words)
    return client


async def refused(sock: socket.socket, handler: Recorder) -> None:
    client = await early(sock)
    async with smtpx.Server(handler=handler, listeners=[Listener()], sockets=[sock]) as server:
        assert (await client.reply()).startswith("554 5.5.0")
        assert await client.reply() == ""
        await client.close()
    assert server.counters.closed == {"input before the banner": 1}
    assert handler.messages == []


def test_h23_a_client_that_does_not_wait_for_the_banner_is_refused(
    run: Run, listening: socket.socket
) -> None:
    run(refused(listening, Recorder()))


@pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets in asyncio on Windows")
def test_h23_a_client_of_a_unix_socket_that_does_not_wait_is_refused(run: Run, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "smtp.sock"))
        sock.listen()
        run(refused(sock, Recorder()))


def test_h23_who_talks_early_is_refused_whatever_the_handler_thinks_of_him(
    run: Run, listening: socket.socket
) -> None:
    class Welcoming(Recorder):
        async def check_connect(self, session: smtpx.Session) -> None:
            await asyncio.sleep(0)

    run(refused(listening, Welcoming()))


def test_h23_early_talk_is_run_after_the_banner_where_the_listener_accepts_it(
    run: Run, listening: socket.socket
) -> None:
    class Slow(Recorder):
        async def check_connect(self, session: smtpx.Session) -> None:
            await asyncio.sleep(0.01)

    async def main(handler: Recorder) -> None:
        sock = listening.dup()
        client = await early(sock)
        listeners = [Listener(early_input="accept")]
        async with smtpx.Server(handler=handler, listeners=listeners, sockets=[sock]):
            replies = [await client.reply() for _ in ["220", *ANSWERS]]
            assert [reply[:3] for reply in replies] == ["220", *ANSWERS]
            await client.close()
        assert [message.data for message in handler.messages] == [b"one\r\n"]

    run(main(Recorder()))
    run(main(Slow()))


def test_a_client_that_has_left_before_the_banner_has_said_nothing(
    run: Run, listening: socket.socket
) -> None:
    async def main() -> None:
        gone, other = await early(listening, b""), await early(listening, b"")
        await gone.close()
        async with smtpx.Server(handler=Recorder(), listeners=[Listener()], sockets=[listening]) as server:
            assert (await other.reply()).startswith("220")
            assert (await other.ask("QUIT")).startswith("221")
            await other.close()
        assert server.counters.closed == {"closed by the client": 1, "quit": 1}

    run(main())


def test_a_client_that_resets_before_the_banner_hurts_nobody(run: Run, listening: socket.socket) -> None:
    async def main() -> None:
        gone, other = await early(listening), await early(listening, b"")
        gone.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
        )
        gone.writer.transport.abort()
        async with smtpx.Server(handler=Recorder(), listeners=[Listener()], sockets=[listening]):
            assert (await other.reply()).startswith("220")
            await other.close()

    run(main())


def test_h23_the_engine_takes_early_talk_behind_its_banner_where_it_is_told_to() -> None:
    engine = ServerEngine(EngineConfig("mx.example.org", early_input="accept"))
    assert engine.receive_data(TALK) == (None, b"")
    event, output = engine.start()
    assert isinstance(event, MessageEvent)
    assert output.startswith(b"220 ")
    assert engine.reply()[1].count(b"250 2.0.0") == 2


def in_tls(early_input: Any, environment: smtpx.Environment, certificate: Certificate) -> smtpx.Server:
    listener = Listener("submissions", "127.0.0.1", 0, early_input=early_input)
    server = smtpx.Server(environment, Recorder(), [listener])
    server.load_certificate(certificate.path, certificate.key)
    return server


def test_h23_a_client_that_talks_inside_tls_before_the_banner_is_refused(
    run: Run, certificate: Certificate, environment: smtpx.Environment
) -> None:
    async def main() -> None:
        async with in_tls("reject", environment, certificate) as server:
            client = await Client.to(server)
            words = b"EHLO me.example\r\n"
            said = await said_within_the_handshake(client, certificate.client, words, until=b"\r\n")
            assert said.startswith(b"554 5.5.0")
        assert server.counters.closed["input before the banner"] == 1

    run(main())


def test_h23_early_talk_inside_tls_is_run_where_the_listener_accepts_it(
    run: Run, certificate: Certificate, environment: smtpx.Environment
) -> None:
    async def main() -> None:
        async with in_tls("accept", environment, certificate) as server:
            client = await Client.to(server)
            words = b"EHLO me.example\r\n"
            said = await said_within_the_handshake(client, certificate.client, words, until=b"250 HELP")
            assert said.startswith(b"220 ")

    run(main())


def test_a_client_of_tls_that_leaves_after_its_handshake_has_said_nothing(
    run: Run, certificate: Certificate, environment: smtpx.Environment
) -> None:
    async def main() -> None:
        async with in_tls("reject", environment, certificate) as server:
            client = await Client.to(server, ssl=certificate.client, server_hostname="localhost")
            client.writer.close()
            with contextlib.suppress(OSError):
                await client.writer.wait_closed()
        assert "input before the banner" not in server.counters.closed

    run(main())
