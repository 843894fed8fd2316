"""Clients that shut down their sending side and wait for the answer (``nc -N``), and those that have left."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
import smtpx

from tests.client import LOOPBACK, Client, in_thread
from tests.recorder import Gated, Hanging, Recorder

if TYPE_CHECKING:
    from tests.client import Run

ENVELOPE = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
RESET = b"\x01\0\0\0\0\0\0\0"  # SO_LINGER: close() is a RST


async def waiting_for_the_handler(server: smtpx.Server, handler: Gated) -> Client:
    """Send a message, shut the sending side, and see to it that the server has heard of it."""
    client = await Client.to(server)
    await client.begin()
    await client.ask("DATA")
    client.writer.write(b"one\r\n.\r\nQUIT\r\n")
    client.writer.write_eof()
    await in_thread(handler.entered.wait)
    await settled(server)
    return client


async def settled(server: smtpx.Server) -> None:
    """Return once the server has read what reached it before."""
    other = await Client.to(server)
    assert (await other.reply()).startswith("220")
    assert (await other.ask("QUIT")).startswith("221")
    await other.close()


def test_a_client_that_has_shut_its_side_hears_the_answer_to_its_message(run: Run) -> None:
    async def main() -> None:
        handler = Gated()
        async with smtpx.Server(handler=handler, listeners=[LOOPBACK]) as server:
            client = await waiting_for_the_handler(server, handler)
            handler.open()
            assert (await client.reply()).startswith("250")
            assert (await client.reply()).startswith("221")
            assert await client.reply() == ""
            await client.close()
        assert [message.data for message in handler.messages] == [b"one\r\n"]

    run(main())


def test_what_was_sent_before_the_side_was_shut_is_done_also_behind_a_hook_that_waits(run: Run) -> None:
    class Slow(Recorder):
        async def check_rcpt(self, session: smtpx.Session, recipient: str, params: dict[str, str]) -> None:  # type: ignore[override]
            await asyncio.sleep(0.05)

        async def serve_mail_tx(self, mail: smtpx.MailTx) -> None:  # type: ignore[override]
            await asyncio.sleep(0.05)
            super().serve_mail_tx(mail)

    async def main() -> None:
        handler = Slow()
        async with smtpx.Server(handler=handler, listeners=[LOOPBACK]) as server:
            client = await Client.to(server)
            await client.reply()
            client.writer.write(b"EHLO me.example\r\n" + ENVELOPE + b"BDAT 5 LAST\r\none\r\n")
            client.writer.write_eof()
            assert [(await client.reply())[:3] for _ in range(5)] == ["250", "250", "250", "250", ""]
            await client.close()
            await settled(server)
        assert server.counters.closed == {"closed by the client": 1, "quit": 1}
        assert len(handler.messages) == 1

    run(main())


@pytest.mark.parametrize("words", [b"", b"EHLO me.example\r\n", b"EHLO me.example\r\n" + ENVELOPE])
def test_a_client_that_has_shut_its_side_and_is_owed_nothing_is_left_at_once(run: Run, words: bytes) -> None:
    async def main() -> None:
        async with smtpx.Server(handler=Recorder(), listeners=[LOOPBACK]) as server:
            client = await Client.to(server)
            await client.reply()
            client.writer.write(words)
            client.writer.write_eof()
            while await client.reply():
                pass
            await client.close()
            await settled(server)
        assert server.counters.closed == {"closed by the client": 1, "quit": 1}

    run(main())


def test_a_hook_with_nothing_behind_it_is_cancelled_when_the_side_is_shut(run: Run) -> None:
    async def main() -> None:
        handler = Hanging("rcpt")
        async with smtpx.Server(handler=handler, listeners=[LOOPBACK]) as server:
            client = await Client.to(server)
            await client.reply()
            client.writer.write(b"EHLO me.example\r\n" + ENVELOPE)
            await in_thread(handler.entered.wait)
            client.writer.write_eof()
            await in_thread(handler.cancelled.wait)
            await client.close()

    run(main())


def test_h106_stop_waits_for_the_answer_to_a_client_that_has_shut_its_side(run: Run) -> None:
    async def main() -> None:
        handler = Gated()
        async with smtpx.Server(handler=handler, listeners=[LOOPBACK]) as server:
            client = await waiting_for_the_handler(server, handler)
            stopping = asyncio.ensure_future(server.stop(grace=600))
            await asyncio.sleep(0)
            handler.open()
            assert (await client.reply()).startswith("250")
            await stopping
            await client.close()

    run(main())


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_h106_stop_does_not_wait_for_a_client_that_has_left_once_its_message_is_answered(
    run: Run, how: str
) -> None:
    async def main() -> None:
        handler = Gated()
        async with smtpx.Server(handler=handler, listeners=[LOOPBACK]) as server:
            client = await waiting_for_the_handler(server, handler)
            if how == "reset":
                sock = client.writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.writer.transport.abort()
            await settled(server)
            handler.open()
            await server.stop(grace=600)
        assert len(handler.messages) == 1

    run(main())


def test_h106_stop_does_not_wait_for_a_client_that_has_left_and_is_owed_nothing(run: Run) -> None:
    async def main() -> None:
        async with smtpx.Server(handler=Recorder(), listeners=[LOOPBACK]) as server:
            client = await Client.to(server)
            await client.begin()
            await client.ask("DATA")
            client.writer.write(b"half a message\r\n")
            await client.close()
            await server.stop(grace=600)

    run(main())


def test_what_outlasts_the_grace_is_cut_off_also_when_the_side_is_shut(run: Run) -> None:
    async def main() -> None:
        handler = Gated()
        async with smtpx.Server(handler=handler, listeners=[LOOPBACK]) as server:
            client = await waiting_for_the_handler(server, handler)
            await server.stop(grace=0)
            assert (await client.reply()).startswith("421 4.3.2")
            await client.close()

    run(main())
