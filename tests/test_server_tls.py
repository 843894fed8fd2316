"""The server's TLS on a real loop, asyncio's own and uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from smtpx import Listener
from smtpx.certificate import make_certificate

from tests.client import LOOPBACK, Client, in_thread, said_within_the_handshake, submit
from tests.recorder import JOE, PASSWORD, Recorder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client import Run
    from tests.live import Certificate


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
            said = await said_within_the_handshake(
                client, certificate.client, b"EHLO again.example\r\n", until=b"250 HELP"
            )
            assert b"250-AUTH PLAIN LOGIN" in said

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


def test_the_first_certificate_of_a_server_that_runs_has_starttls_offered(
    run: Run, certificate: Certificate
) -> None:
    async def offers(client: Client) -> bool:
        client.writer.write(b"EHLO me.example\r\n")
        lines = b""
        while b"250 " not in lines:
            lines += await client.reader.read(1000)
        return b"-STARTTLS\r\n" in lines

    async def main() -> None:
        async with smtpx.Server(handler=Recorder(), listeners=[LOOPBACK]) as server:
            old = await Client.to(server)
            assert (await old.reply()).startswith("220")
            server.load_certificate(certificate.path, certificate.key)
            new = await Client.to(server)
            assert (await new.reply()).startswith("220")
            assert await offers(new)
            assert (await new.ask("STARTTLS")).startswith("220")
            await new.writer.start_tls(certificate.client, server_hostname="localhost")
            assert (await new.ask("NOOP")).startswith("250")
            assert not await offers(old)  # it goes on as it began
            assert (await old.ask("STARTTLS")).startswith("502")
            new.writer.transport.abort()
            await old.close()

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
