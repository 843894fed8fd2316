"""The server on a real loop: asyncio's own, and uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import smtplib
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from smtpx import Listener, Response
from smtpx.certificate import make_certificate

from tests.recorder import JOE, PASSWORD, Recorder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from tests.live import Certificate

    Run = Callable[[Coroutine[Any, Any, None]], None]

LOOPBACK = Listener("smtp", "127.0.0.1", 0)
CONTENT = b"Subject: x\r\n\r\n.hi\r\n"


def _loops() -> list[Any]:
    if sys.platform == "win32":
        return [pytest.param(asyncio.new_event_loop, id="asyncio")]
    import uvloop

    return [
        pytest.param(asyncio.new_event_loop, id="asyncio"),
        pytest.param(uvloop.new_event_loop, id="uvloop"),
    ]


@pytest.fixture(params=_loops())
def run(request: pytest.FixtureRequest) -> Run:
    def run_on_loop(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(main, 60))

    return run_on_loop


class Client:
    """A client that writes octets and reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, server: smtpx.Server, **kwargs: Any) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", server.listeners[0].port, **kwargs))

    async def reply(self) -> str:
        """The last line of the next reply; "" once the server has closed."""
        while True:
            line = (await self.reader.readline()).decode()
            if line[3:4] != "-":
                return line.rstrip()

    async def ask(self, line: str) -> str:
        self.writer.write(line.encode() + b"\r\n")
        return await self.reply()

    async def begin(self) -> None:
        """Go as far as RCPT."""
        assert (await self.reply()).startswith("220")
        for line in ("EHLO me.example", "MAIL FROM:<a@b.example>", f"RCPT TO:<{JOE}>"):
            assert (await self.ask(line)).startswith("250")

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def in_thread(call: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, call)


def submit(client: smtplib.SMTP, sender: str = JOE, recipients: tuple[str, ...] = (JOE,)) -> None:
    client.sendmail(sender, recipients, CONTENT)
    client.quit()


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


@pytest.mark.parametrize("service", ["submission", "submissions"])
def test_submission_with_tls_and_login(
    run: Run, certificate: Certificate, environment: smtpx.Environment, service: Any
) -> None:
    seen: list[smtpx.Session] = []

    class Handler(smtpx.Handler):
        def serve_mail_tx(self, mail: smtpx.MailTx) -> None:
            assert mail.session is not None
            seen.append(mail.session)

    def send(port: int) -> None:
        context = certificate.client
        if service == "submissions":
            client: smtplib.SMTP = smtplib.SMTP_SSL("localhost", port, context=context)
        else:
            client = smtplib.SMTP("localhost", port)
            client.starttls(context=context)
        client.login(JOE, PASSWORD)
        submit(client)

    async def main() -> None:
        server = smtpx.Server(environment, Handler(), [Listener(service, "localhost", 0)])
        server.load_certificate(certificate.path, certificate.key)
        async with server:
            port = server.listeners[0].port
            assert port
            await in_thread(lambda: send(port))
        (session,) = seen
        assert session.tls
        assert session.tls_info.startswith("TLSv1.3 ")
        assert session.user == JOE

    run(main())


def test_commands_in_the_same_segment_as_the_end_of_the_handshake_are_not_lost(
    run: Run, certificate: Certificate, environment: smtpx.Environment
) -> None:
    async def main() -> None:
        server = smtpx.Server(environment, Recorder(), [Listener("submission", "127.0.0.1", 0)])
        server.load_certificate(certificate.path, certificate.key)
        async with server:
            client = await Client.to(server)
            await client.reply()
            await client.ask("EHLO me.example")
            assert (await client.ask("STARTTLS")).startswith("220")
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = certificate.client.wrap_bio(incoming, outgoing, server_hostname="localhost")
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    client.writer.write(outgoing.read())
                    incoming.write(await client.reader.read(65536))
            tls.write(b"EHLO again.example\r\n")
            client.writer.write(outgoing.read())  # the client's Finished and its EHLO at once
            said = b""
            while b"250 HELP" not in said:
                incoming.write(await client.reader.read(65536))
                try:
                    said += tls.read()
                except ssl.SSLWantReadError:
                    continue
            assert b"250-AUTH PLAIN LOGIN" in said
            client.writer.transport.abort()

    run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets in asyncio on Windows")
def test_unix_socket_is_listened_on_and_removed_at_stop(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "smtp.sock"

    async def main() -> None:
        recorder = Recorder()
        async with smtpx.Server(handler=recorder, listeners=[Listener("smtp", path=path)]):
            client = Client(*await asyncio.open_unix_connection(str(path)))
            await client.begin()
            await client.close()
        assert not path.exists()

    run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets in asyncio on Windows")
def test_unix_socket_that_a_killed_server_left_is_replaced(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "smtp.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    async def main() -> None:
        async with smtpx.Server(handler=Recorder(), listeners=[Listener("smtp", path=path)]):
            client = Client(*await asyncio.open_unix_connection(str(path)))
            assert (await client.reply()).startswith("220")
            await client.close()

    run(main())


def test_every_address_is_listened_on_under_one_port(run: Run) -> None:
    async def main() -> None:
        async with smtpx.Server(handler=Recorder(), listeners=[Listener("smtp", "", 0)]) as server:
            for host in ("127.0.0.1", "::1") if socket.has_ipv6 else ("127.0.0.1",):
                client = Client(*await asyncio.open_connection(host, server.listeners[0].port))
                assert (await client.reply()).startswith("220")
                await client.close()

    run(main())


def test_sockets_handed_in_are_served_as_their_listeners_say(run: Run) -> None:
    async def main() -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        listeners = [Listener("smtp", strict=True)]
        async with smtpx.Server(handler=Recorder(), listeners=listeners, sockets=[sock]) as server:
            assert server.listeners[0].port == port
            client = await Client.to(server)
            await client.reply()
            await client.ask("EHLO me.example")
            assert (await client.ask("MAIL FROM:a@b.example")).startswith("501 5.5.4")
            await client.close()

    run(main())


def test_new_certificate_is_used_from_the_next_handshake_on(
    run: Run, certificate: Certificate, environment: smtpx.Environment, tmp_path: Path
) -> None:
    path, key = tmp_path / "new.pem", tmp_path / "new.key"
    make_certificate(path, key)

    async def shown(server: smtpx.Server) -> bytes | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = await Client.to(server, ssl=context)
        assert (await client.reply()).startswith("220")
        der: bytes | None = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        client.writer.transport.abort()
        return der

    async def main() -> None:
        server = smtpx.Server(environment, Recorder(), [Listener("submissions", "127.0.0.1", 0)])
        server.load_certificate(certificate.path, certificate.key)
        async with server:
            before = await shown(server)
            server.load_certificate(path, key)
            after = await shown(server)
            assert after != before
            with pytest.raises(smtpx.ConfigurationError, match="give a PEM chain"):
                server.load_certificate(certificate.path, key)
            assert await shown(server) == after

    run(main())


def test_context_without_a_certificate_answers_starttls_with_454(run: Run) -> None:
    async def main() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        async with smtpx.Server(handler=Recorder(), listeners=[LOOPBACK], tls=context) as server:
            client = await Client.to(server)
            await client.reply()
            await client.ask("EHLO me.example")
            assert (await client.ask("STARTTLS")).startswith("454 4.7.0")
            assert (await client.ask("NOOP")).startswith("250")
            await client.close()

    run(main())


def test_context_given_to_the_server_serves_starttls(run: Run, certificate: Certificate) -> None:
    async def main() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.path, certificate.key)
        async with smtpx.Server(handler=Recorder(), listeners=[LOOPBACK], tls=context) as server:
            client = await Client.to(server)
            await client.reply()
            await client.ask("EHLO me.example")
            assert (await client.ask("STARTTLS")).startswith("220")
            client.writer.transport.abort()

    run(main())


@pytest.mark.parametrize("service", ["submission", "submissions"])
async def test_submission_without_a_certificate_is_an_error_at_start(service: Any) -> None:
    server = smtpx.Server(handler=Recorder(), listeners=[Listener(service, "127.0.0.1", 0)])
    with pytest.raises(smtpx.ConfigurationError, match="needs a certificate"):
        await server.start()


async def test_taken_port_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        server = smtpx.Server(handler=Recorder(), listeners=[Listener("smtp", "127.0.0.1", port)])
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}"):
            await server.start()


async def test_server_that_runs_is_not_started_again() -> None:
    async with smtpx.Server(handler=Recorder(), listeners=[LOOPBACK]) as server:
        with pytest.raises(smtpx.ConfigurationError, match="runs already"):
            await server.start()


async def test_server_starts_again_after_stop() -> None:
    server = smtpx.Server(handler=Recorder(), listeners=[LOOPBACK])
    for _ in range(2):
        async with server:
            client = await Client.to(server)
            assert (await client.reply()).startswith("220")
            await client.close()


async def test_server_needs_an_environment_or_a_handler() -> None:
    with pytest.raises(smtpx.ConfigurationError, match="an environment, a handler, or both"):
        smtpx.Server()


def test_stop_lets_the_message_in_flight_finish_and_then_says_421(run: Run) -> None:
    async def main() -> None:
        recorder = Recorder()
        server = smtpx.Server(handler=recorder, listeners=[LOOPBACK])
        await server.start()
        client = await Client.to(server)
        await client.begin()
        assert (await client.ask("DATA")).startswith("354")
        client.writer.write(b"first\r\n")
        stopping = asyncio.ensure_future(server.stop())
        await asyncio.sleep(0)
        assert (await client.ask("second\r\n.")).startswith("250")
        assert (await client.reply()).startswith("421 4.3.2")
        assert await client.reply() == ""
        await client.close()
        await stopping
        assert [message.data for message in recorder.messages] == [b"first\r\nsecond\r\n"]

    run(main())


def test_stop_says_421_to_an_idle_session_at_once(run: Run) -> None:
    async def main() -> None:
        async with smtpx.Server(handler=Recorder(), listeners=[LOOPBACK]) as server:
            client = await Client.to(server)
            await client.reply()
            stopping = asyncio.ensure_future(server.stop())
            assert (await client.reply()).startswith("421 4.3.2")
            await client.close()
            await stopping

    run(main())


def test_stop_cuts_what_outlasts_its_grace(run: Run) -> None:
    async def main() -> None:
        recorder = Recorder()
        server = smtpx.Server(handler=recorder, listeners=[LOOPBACK])
        await server.start()
        client = await Client.to(server)
        await client.begin()
        await client.ask("DATA")
        client.writer.write(b"never finished\r\n")
        stopping = asyncio.ensure_future(server.stop(grace=0.05))
        assert (await client.reply()).startswith("421 4.3.2")
        await client.close()
        await stopping
        assert recorder.messages == []

    run(main())


async def test_serve_forever_stops_the_server_when_cancelled() -> None:
    server = smtpx.Server(handler=Recorder(), listeners=[LOOPBACK])
    await server.start()
    task = asyncio.ensure_future(server.serve_forever())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(OSError):  # noqa: PT011 - which one differs between systems
        await Client.to(server)


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


async def test_server_given_a_class_for_a_handler_says_so() -> None:
    handler: Any = Recorder
    with pytest.raises(smtpx.ConfigurationError, match=r"an instance, Recorder\(\), not the class"):
        smtpx.Server(handler=handler)


def test_stop_may_be_called_twice_at_once(run: Run) -> None:
    async def main() -> None:
        server = smtpx.Server(handler=Recorder(), listeners=[LOOPBACK])
        await server.start()
        client = await Client.to(server)
        await client.begin()
        await client.ask("DATA")
        stops = [asyncio.ensure_future(server.stop(grace=0.05)) for _ in range(2)]
        await asyncio.gather(*stops)
        await client.close()
        await server.stop()

    run(main())


def test_plain_text_behind_starttls_is_dropped_also_when_an_async_hook_came_before(
    run: Run, certificate: Certificate
) -> None:
    class Handler(smtpx.Handler):
        async def check_helo(self, session: smtpx.Session, name: str) -> None:
            await asyncio.sleep(0)

        def check_mail(self, session: smtpx.Session, sender: str, params: dict[str, str]) -> None:
            raise AssertionError("a command in clear text was run inside TLS")

    async def main() -> None:
        limits = smtpx.Limits(handshake_timeout=0.5)
        server = smtpx.Server(handler=Handler(), listeners=[LOOPBACK], limits=limits)
        server.load_certificate(certificate.path, certificate.key)
        async with server:
            client = await Client.to(server)
            await client.reply()
            injected = b"MAIL FROM:<evil@b.example>\r\n" * 8000  # more than one read takes
            client.writer.write(b"EHLO me.example\r\nSTARTTLS\r\n" + injected)
            assert (await client.reply()).startswith("250")
            assert (await client.reply()).startswith("220")
            with contextlib.suppress(OSError):
                assert b"Sender" not in await client.reader.read()
            client.writer.transport.abort()

    run(main())


async def test_listener_that_cannot_start_leaves_no_unix_socket_behind(tmp_path: Path) -> None:
    path = tmp_path / "smtp.sock"
    listeners = [Listener("smtp", path=path), Listener("submissions", "127.0.0.1", 0)]
    server = smtpx.Server(handler=Recorder(), listeners=listeners)
    with pytest.raises(smtpx.ConfigurationError, match="needs a certificate"):
        await server.start()
    assert not path.exists()


async def test_unix_socket_of_a_server_that_lives_is_not_taken_over(tmp_path: Path) -> None:
    listeners = [Listener("smtp", path=tmp_path / "smtp.sock")]
    async with smtpx.Server(handler=Recorder(), listeners=listeners):
        with pytest.raises(OSError, match="cannot listen on"):
            await smtpx.Server(handler=Recorder(), listeners=listeners).start()
        client = Client(*await asyncio.open_unix_connection(str(tmp_path / "smtp.sock")))
        assert (await client.reply()).startswith("220")
        await client.close()


def test_clients_that_never_begin_their_handshake_count_as_connections(
    run: Run, certificate: Certificate, environment: smtpx.Environment
) -> None:
    async def main() -> None:
        limits = smtpx.Limits(connections_per_address=2)
        server = smtpx.Server(
            environment, Recorder(), [Listener("submissions", "127.0.0.1", 0)], limits=limits
        )
        server.load_certificate(certificate.path, certificate.key)
        async with server:
            silent = [await Client.to(server) for _ in range(2)]
            one_too_many = await Client.to(server)
            assert await one_too_many.reader.read() == b""  # closed at once: no clear text on a TLS port
            for client in (*silent, one_too_many):
                await client.close()
        assert server.counters.refused == 1

    run(main())
