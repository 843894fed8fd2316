"""The server on a real loop, asyncio's own and uvloop: its sessions and its handler."""

from __future__ import annotations

import asyncio
import logging
import smtplib
import socket
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from smtpx import Listener, Response
from smtpx.connection import Connection

from tests.client import CONTENT, LOOPBACK, Client, in_thread, submit
from tests.recorder import JOE, Recorder

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.client import Run
    from tests.live import Certificate


def test_message_of_smtplib_reaches_the_handler_with_its_envelope(run: Run) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with smtpx.Server(handler=recorder, listeners=[LOOPBACK]) as server:
            port = server.listeners[0].port
            await in_thread(
                lambda: submit(smtplib.SMTP("127.0.0.1", port or 0), "a@b.example", (JOE, "x@y.example"))
            )
        (message,) = recorder.messages
        assert (message.mail_from, message.recipients) == ("a@b.example", [JOE, "x@y.example"])
        assert message.params == {"SIZE": str(len(CONTENT))}
        assert message.data == CONTENT

    run(main())


def test_handler_sees_the_session_the_id_and_the_time_of_a_message(run: Run) -> None:
    seen: list[smtpx.MailTx] = []

    class Handler(smtpx.Handler):
        def serve_mail_tx(self, mail: smtpx.MailTx) -> None:
            seen.append(mail)

    async def main() -> None:
        async with smtpx.Server(handler=Handler(), listeners=[LOOPBACK]) as server:
            client = await Client.to(server)
            await client.begin()
            assert (await client.ask("DATA")).startswith("354")
            assert await client.ask("hi\r\n.") == "250 2.0.0 Message accepted"
            sockname = client.writer.get_extra_info("sockname")
            await client.close()
        (mail,) = seen
        assert mail.session is not None
        assert (mail.session.peer, mail.session.helo, mail.session.esmtp) == (sockname, "me.example", True)
        assert (mail.session.tls, mail.session.user, mail.session.service) == (False, None, "smtp")
        assert mail.id
        assert mail.received is not None
        assert mail.received.tzname() == "UTC"

    run(main())


def test_async_handler_may_use_timeouts_and_task_groups(run: Run) -> None:
    class Handler(smtpx.Handler):
        async def serve_mail_tx(self, mail: smtpx.MailTx) -> Response:
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                first = group.create_task(asyncio.sleep(0, "one"))
                second = group.create_task(asyncio.sleep(0, "two"))
            try:
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            except TimeoutError:
                return Response(250, f"2.0.0 {first.result()} {second.result()} late")
            return Response(451, "4.3.0 no timeout")

    async def main() -> None:
        async with smtpx.Server(handler=Handler(), listeners=[LOOPBACK]) as server:
            client = await Client.to(server)
            await client.begin()
            await client.ask("DATA")
            assert await client.ask("hi\r\n.") == "250 2.0.0 one two late"
            await client.close()

    run(main())


def test_async_handler_that_never_waits_is_answered_in_the_same_write_as_its_group(run: Run) -> None:
    class Handler(smtpx.Handler):
        async def check_rcpt(
            self, session: smtpx.Session, recipient: str, params: dict[str, str]
        ) -> Response:
            return Response(250, f"2.1.5 {recipient}")

    async def main() -> None:
        async with smtpx.Server(handler=Handler(), listeners=[LOOPBACK]) as server:
            client = await Client.to(server)
            await client.reply()
            await client.ask("EHLO me.example")
            client.writer.write(
                b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<e@f.example>\r\n"
            )
            replies = [await client.reply() for _ in range(3)]
            assert replies == ["250 2.1.0 Sender OK", "250 2.1.5 c@d.example", "250 2.1.5 e@f.example"]
            await client.close()

    run(main())


def test_handler_that_waits_holds_up_only_its_own_session(run: Run) -> None:
    class Handler(smtpx.Handler):
        def __init__(self) -> None:
            self.gate = asyncio.Event()

        async def check_rcpt(self, session: smtpx.Session, recipient: str, params: dict[str, str]) -> None:
            if recipient.startswith("slow"):
                await self.gate.wait()

    async def main() -> None:
        handler = Handler()
        async with smtpx.Server(handler=handler, listeners=[LOOPBACK]) as server:
            slow, quick = await Client.to(server), await Client.to(server)
            for client in (slow, quick):
                await client.reply()
                await client.ask("EHLO me.example")
                await client.ask("MAIL FROM:<a@b.example>")
            slow.writer.write(b"RCPT TO:<slow@d.example>\r\nNOOP\r\n")
            assert (await quick.ask("RCPT TO:<quick@d.example>")).startswith("250")
            handler.gate.set()
            assert await slow.reply() == "250 2.1.5 Recipient OK"
            assert await slow.reply() == "250 2.0.0 OK"
            await slow.close()
            await quick.close()

    run(main())


async def test_server_needs_an_environment_or_a_handler() -> None:
    with pytest.raises(smtpx.ConfigurationError, match="an environment, a handler, or both"):
        smtpx.Server()


def test_extension_is_advertised_and_asked_about_its_parameters(run: Run) -> None:
    class Priority(smtpx.Extension):
        name = "MT-PRIORITY"
        params = "MIXER"

        def validate_command(self, command: smtpx.Command) -> Response | None:
            value = command.params.get("MT-PRIORITY")
            if value is not None and not value.lstrip("-").isdigit():
                raise smtpx.CommandError("no number", 501, "5.5.4")
            return Response(550, "5.7.15 Too urgent") if value == "9" else None

    async def main() -> None:
        recorder = Recorder()
        server = smtpx.Server(handler=recorder, listeners=[LOOPBACK], extensions=[Priority()])
        async with server:
            client = await Client.to(server)
            await client.reply()
            client.writer.write(b"EHLO me.example\r\n")
            advertised = [(await client.reader.readline()).decode().rstrip() for _ in range(10)]
            assert "250-MT-PRIORITY MIXER" in advertised
            assert (await client.ask("MAIL FROM:<a@b.example> MT-PRIORITY=x")).startswith("501 5.5.4")
            assert (await client.ask("MAIL FROM:<a@b.example> MT-PRIORITY=9")).startswith("550 5.7.15")
            assert (await client.ask("MAIL FROM:<a@b.example> UNKNOWN=9")).startswith("555 5.5.4")
            assert (await client.ask("MAIL FROM:<a@b.example> MT-PRIORITY=-1")).startswith("250")
            await client.close()

    run(main())


@pytest.mark.parametrize("wait", [False, True], ids=["def", "async def"])
def test_client_refused_at_connect_gets_the_refusal_as_its_banner(run: Run, wait: bool) -> None:
    class Handler(smtpx.Handler):
        def check_connect(self, session: smtpx.Session) -> Awaitable[Response] | Response:
            refusal = Response(554, "5.7.1 Not you")
            return asyncio.sleep(0.01, refusal) if wait else refusal

    async def main() -> None:
        async with smtpx.Server(handler=Handler(), listeners=[LOOPBACK]) as server:
            client = await Client.to(server)
            assert await client.reply() == "554 5.7.1 Not you"
            assert await client.reply() == ""
            await client.close()
        assert server.counters.closed == {"refused at connect": 1}

    run(main())


async def test_handler_answers_vrfy_and_expn() -> None:
    class Handler(smtpx.Handler):
        def serve_verify(self, session: smtpx.Session, name: str) -> Response:
            return Response(250, f"2.1.5 <{name}@example.org>")

        async def serve_expand(self, session: smtpx.Session, name: str) -> Response:
            return Response(250, "2.1.5 <a@example.org>", [f"2.1.5 <{name}@example.org>"])

    async with smtpx.Server(handler=Handler(), listeners=[LOOPBACK]) as server:
        client = await Client.to(server)
        await client.reply()
        assert await client.ask("VRFY joe") == "250 2.1.5 <joe@example.org>"
        assert await client.ask("EXPN staff") == "250 2.1.5 <staff@example.org>"
        await client.close()


async def test_one_line_a_session_and_one_a_message_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "smtpx"):
        async with smtpx.Server(handler=Recorder(), listeners=[LOOPBACK]) as server:
            client = await Client.to(server)
            await client.begin()
            await client.ask("DATA")
            await client.ask("hi\r\n.")
            await client.ask("NONSENSE")
            await client.ask("QUIT")
            await client.close()
    message, session = (vars(record) for record in caplog.records if record.name != "asyncio")
    assert (message["event"], message["mail_from"], message["recipients"]) == ("message", "a@b.example", 1)
    assert (message["size"], message["code"]) == (4, 250)
    assert (session["event"], session["helo"], session["service"]) == ("session", "me.example", "smtp")
    assert (session["messages"], session["errors"], session["reason"]) == (1, 1, "quit")
    assert session["session"] == message["session"]


def test_what_is_accepted_sends_each_reply_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nagle's algorithm would hold a reply behind one that is not acknowledged, for 40 ms."""
    delays: list[bool] = []

    def accepted(connection: Connection, transport: asyncio.BaseTransport) -> None:
        sock = transport.get_extra_info("socket")
        delays.append(not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        made(connection, transport)

    made = Connection.connection_made
    monkeypatch.setattr(Connection, "connection_made", accepted)

    async def main() -> None:
        async with smtpx.Server(handler=Recorder(), listeners=[LOOPBACK]) as server:
            client = await Client.to(server)
            await client.reply()
            await client.close()

    run(main())
    assert delays == [False]


def test_failed_logins_are_in_the_log(
    certificate: Certificate, environment: smtpx.Environment, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        server = smtpx.Server(environment, Recorder(), [Listener("submissions", "127.0.0.1", 0)])
        server.load_certificate(certificate.path, certificate.key)
        async with server:
            client = await Client.to(server, ssl=certificate.client, server_hostname="localhost")
            await client.reply()
            await client.ask("EHLO me.example")
            for _ in range(2):
                assert (await client.ask("AUTH PLAIN AGpvZQB3cm9uZw==")).startswith("535")
            assert (await client.ask("QUIT")).startswith("221")
            client.writer.transport.abort()

    with caplog.at_level(logging.INFO, "smtpx"):
        run(main())
    (session,) = (vars(record) for record in caplog.records if record.name == "smtpx.session")
    assert (session["auth_failures"], session["errors"], session["user"]) == (2, 0, None)


def test_no_two_servers_of_a_process_name_their_sessions_alike(run: Run) -> None:
    """As at a reload, when the old one's sessions go on beside the new one's."""
    seen: list[str] = []

    class Handler(smtpx.Handler):
        def check_connect(self, session: smtpx.Session) -> None:
            seen.append(session.id)

    async def main() -> None:
        old, new = (smtpx.Server(handler=Handler(), listeners=[LOOPBACK]) for _ in range(2))
        async with old, new:
            for server in (old, new, old, new):
                client = await Client.to(server)
                await client.reply()
                await client.close()

    run(main())
    assert len(seen) == len(set(seen)) == 4


async def test_server_given_a_class_for_a_handler_says_so() -> None:
    handler: Any = Recorder
    with pytest.raises(smtpx.ConfigurationError, match=r"an instance, Recorder\(\), not the class"):
        smtpx.Server(handler=handler)
