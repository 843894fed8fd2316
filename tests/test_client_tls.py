"""TLS of the clients, with smtpx's own server and with scripted ones."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from smtpx import ConnectionLost, EngineError, ReplyTimeout, Timeouts, TLSFailed
from smtpx.errors import MessageRefused
from smtpx.link import Link
from smtpx.options import Options
from smtpx.target import Target, TLSMode

from tests.clients import mail
from tests.recorder import JOE, PASSWORD
from tests.scripted import close, hang, reset, say, signal, take, then, wait
from tests.sessions import polite, upgrade

if TYPE_CHECKING:
    from tests.client import Run
    from tests.clients import Clients
    from tests.conftest import Scripted
    from tests.live import Certificate, Live, LiveServers
    from tests.scripted import Step

SOON = 0.2
LARGE = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 60_000
SCHEMES = ["smtps", "smtp+starttls"]


@pytest.fixture
def secure(live_server: LiveServers) -> Any:
    """A server of ours for a scheme: its URL, under a name."""

    def start(scheme: str, host: str = "localhost") -> tuple[str, Live]:
        live = live_server(service="submissions" if scheme == "smtps" else "submission")
        return f"{scheme}://joe%40example.org:{PASSWORD}@{host}:{live.address[1]}", live

    return start


def within(certificate: Certificate, *keywords: str, **answers: Any) -> list[Step]:
    """A session that goes over to TLS."""
    return polite("STARTTLS", *keywords, starttls=upgrade(certificate.server), **answers)


# Who is the server


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_name_of_the_server_is_verified(
    client: Clients, secure: Any, certificate: Certificate, scheme: str
) -> None:
    url, live = secure(scheme)
    with client(url, tls=certificate.client) as session:
        assert session.tls
        assert session.mail_tx(smtpx.MailTx(JOE, [JOE], b"x\r\n")).accepted == [JOE]
    assert live.recorder.messages[0].data == b"x\r\n"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_certificate_of_nobody_is_refused(client: Clients, secure: Any, scheme: str) -> None:
    url, live = secure(scheme)
    with pytest.raises(TLSFailed, match="certificate"), client(url):
        pass
    assert live.recorder.messages == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_insecure_takes_any_certificate(client: Clients, secure: Any, scheme: str, host: str) -> None:
    url, _ = secure(scheme, host)
    with client(url, insecure=True) as session:
        assert session.tls


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_password_is_not_in_what_is_raised(client: Clients, secure: Any, scheme: str) -> None:
    url, _ = secure(scheme)
    with pytest.raises(TLSFailed) as failed, client(url):
        pass
    assert PASSWORD not in str(failed.value)


# STARTTLS


def test_hello_is_said_again(client: Clients, scripted: Scripted, certificate: Certificate) -> None:
    server = scripted(within(certificate))
    with client(server.url("smtp+starttls", "localhost"), "me.example", tls=certificate.client):
        pass
    assert server.received[0] == b"EHLO me.example\r\nSTARTTLS\r\nEHLO me.example\r\nQUIT\r\n"


def test_starttls_by_hand(client: Clients, scripted: Scripted, certificate: Certificate) -> None:
    server = scripted(within(certificate))
    with client(server.url(host="localhost"), tls=certificate.client) as session:
        before = session.tls
        assert session.starttls().code == 250
        assert (before, session.tls) == (False, True)
        assert session.mail_tx(mail()).accepted == [JOE]


def test_starttls_twice_is_a_fault_of_the_program(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    server = scripted(within(certificate))
    with client(server.url("smtp+starttls", "localhost"), tls=certificate.client) as session:
        with pytest.raises(EngineError, match="in TLS already"):
            session.starttls()
        session.noop()


def test_starttls_that_is_not_offered_leaves_the_session(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite())
    with client(server.url()) as session:
        with pytest.raises(TLSFailed, match="does not offer STARTTLS"):
            session.starttls()
        session.noop()


def test_a_handshake_that_fails_ends_the_session(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    server = scripted(polite("STARTTLS", starttls=then(say(b"220 go\r\n"), close())))
    with client(server.url(host="localhost"), tls=certificate.client) as session:
        with pytest.raises(TLSFailed):
            session.starttls()
        assert not session.connected
        with pytest.raises(ConnectionLost):
            session.noop()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_handshake_has_the_time_of_a_connection(
    client: Clients, scripted: Scripted, certificate: Certificate, scheme: str
) -> None:
    stall = [hang()] if scheme == "smtps" else polite("STARTTLS", starttls=then(say(b"220 go\r\n"), hang()))
    server = scripted(stall)
    with (
        pytest.raises(TLSFailed),
        client(server.url(scheme, "localhost"), tls=certificate.client, timeout=Timeouts(connect=SOON)),
    ):
        pass


@pytest.mark.parametrize("end", [close(), reset()], ids=["close", "reset"])
def test_a_server_that_ends_instead_of_a_handshake(
    client: Clients, scripted: Scripted, certificate: Certificate, end: Step
) -> None:
    server = scripted([take(5), end])
    with pytest.raises(TLSFailed), client(server.url("smtps", "localhost"), tls=certificate.client):
        pass


def test_a_tls_port_that_speaks_in_the_clear(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite())
    with pytest.raises(TLSFailed), client(server.url("smtps", "localhost")):
        pass


def test_a_verb_after_a_failed_handshake_may_connect_again(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    server = scripted(polite("STARTTLS", starttls=b"454 4.7.0 not now\r\n"), within(certificate))
    session = client(server.url("smtp+starttls", "localhost"), tls=certificate.client)
    with pytest.raises(TLSFailed, match="454"):
        session.connect()
    with session:
        assert session.tls


# Within TLS: the same as without


@pytest.mark.parametrize("step", ["mail", "data", "done", "noop"])
def test_each_wait_has_its_time(
    client: Clients, scripted: Scripted, certificate: Certificate, step: str
) -> None:
    name = {"data": "data_init", "done": "data_end"}.get(step, "command")
    server = scripted(within(certificate, **{step: hang()}))
    url = server.url("smtp+starttls", "localhost")
    with (
        pytest.raises(ReplyTimeout) as late,
        client(url, tls=certificate.client, timeout=Timeouts(**{name: SOON})) as session,
    ):
        session.noop() if step == "noop" else session.mail_tx(mail())
    if step == "done":
        assert late.value.result is not None
        assert late.value.result.unknown == [JOE]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_large_content_arrives(client: Clients, secure: Any, certificate: Certificate, scheme: str) -> None:
    url, live = secure(scheme)
    with client(url, tls=certificate.client) as session:
        for _ in range(2):
            assert session.mail_tx(smtpx.MailTx(JOE, [JOE], LARGE)).accepted == [JOE]
    assert [message.data == LARGE for message in live.recorder.messages] == [True, True]


def test_a_short_time_for_one_wait_does_not_shorten_that_of_content(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    go = threading.Event()
    slow = then(say(b"354 go\r\n"), wait(go), take(len(LARGE)), say(b"250 taken\r\n"), hang())
    server = scripted(within(certificate, data=slow))
    late = threading.Timer(5 * SOON, go.set)
    late.start()
    url = server.url("smtp+starttls", "localhost")
    session = client(url, tls=certificate.client, timeout=Timeouts(banner=SOON))
    session.connect()
    assert session.mail_tx(mail(data=LARGE)).accepted == [JOE]
    session.close()
    late.join()


def test_a_refusal_within_large_content_is_heard_at_once(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    done = threading.Event()
    early = then(say(b"354 go\r\n"), take(1000), say(b"552 5.3.4 too large\r\n"), wait(done), close())
    server = scripted(within(certificate, data=early))
    url = server.url("smtp+starttls", "localhost")
    with client(url, tls=certificate.client) as session, pytest.raises(MessageRefused) as refused:
        session.mail_tx(mail(data=LARGE))
    done.set()
    assert refused.value.result.permanent == [JOE]


@pytest.mark.parametrize("end", [close(), reset()], ids=["close", "reset"])
@pytest.mark.parametrize("step", ["noop", "mail"])
def test_a_connection_that_ends(
    client: Clients, scripted: Scripted, certificate: Certificate, end: Step, step: str
) -> None:
    server = scripted(within(certificate, **{step: end}), within(certificate))
    with client(server.url("smtp+starttls", "localhost"), tls=certificate.client) as session:
        with pytest.raises(ConnectionLost):
            session.noop() if step == "noop" else session.mail_tx(mail())
        session.connect()
        session.noop()


def test_a_reply_to_nothing_is_not_taken_for_that_to_the_next_command(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    go, said = threading.Event(), threading.Event()
    answer = then(say(b"250 ok\r\n"), wait(go), say(b"250 unasked\r\n"), signal(said))
    server = scripted(within(certificate, noop=answer, vrfy=b"550 no\r\n"))
    with client(server.url("smtp+starttls", "localhost"), tls=certificate.client) as session:
        session.noop()
        go.set()
        assert said.wait(20)
        with pytest.raises(ConnectionLost):
            session.verify("joe")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_cancelled_handshake_leaves_nothing(
    run: Run, scripted: Scripted, certificate: Certificate, scheme: str
) -> None:
    there = threading.Event()
    stall = then(signal(there), hang())
    begun = (
        [take(5), stall]
        if scheme == "smtps"
        else polite("STARTTLS", starttls=then(say(b"220 go\r\n"), stall))
    )
    server = scripted(begun)

    async def main() -> None:
        client = smtpx.Client(server.url(scheme, "localhost"), tls=certificate.client)
        connecting = asyncio.create_task(client.connect())
        assert await asyncio.to_thread(there.wait, 20)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert not client.connected

    run(main())


@pytest.mark.parametrize(("host", "trusted"), [("localhost", True), ("elsewhere.invalid", False)])
def test_a_link_to_an_address_asks_for_the_certificate_of_the_host(
    run: Run, live_server: LiveServers, certificate: Certificate, host: str, trusted: bool
) -> None:
    live = live_server(service="submissions")
    target = Target(TLSMode.IMPLICIT, host=host, port=live.address[1])

    async def main() -> None:
        with contextlib.nullcontext() if trusted else pytest.raises(TLSFailed, match="certificate"):
            link = await Link.open(Options(target, None, tls=certificate.client), "127.0.0.1")
            await link.part()

    run(main())
