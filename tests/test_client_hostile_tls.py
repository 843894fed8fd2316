"""HOSTILE rows 60 and 82 from the client's side: what happens on the way into TLS, and within it."""

from __future__ import annotations

import ssl
import warnings
from typing import TYPE_CHECKING

import pytest
import smtpx
from cryptography import x509
from smtpx import Mechanism
from smtpx.certificate import make_certificate
from smtpx.errors import ClientError, ConnectionLost, NotOffered, TLSFailed

from tests.clients import mail
from tests.scripted import (
    Script,
    Step,
    broken_tls,
    close,
    expect,
    hang,
    reset,
    say,
    start_tls,
    take,
    then,
)
from tests.sessions import ehlo, greeting, polite, upgrade

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients import Clients
    from tests.conftest import Scripted
    from tests.live import Certificate
    from tests.scripted import ScriptedServer

JOE = "joe@example.org"
LOGIN = {"username": "joe", "password": "secret"}
GO = b"220 2.0.0 go ahead\r\n"


def refused_in_plain(
    client: Clients, server: ScriptedServer, certificate: Certificate, **options: object
) -> ClientError:
    """Try to log in and send by STARTTLS; neither a login nor a message may be said in plain."""
    with (
        pytest.raises(ClientError) as failed,
        client(server.url("smtp+starttls"), tls=certificate.client, **LOGIN, **options) as session,
    ):
        session.mail_tx(mail())
    said = server.received[0].upper()
    assert b"AUTH" not in said
    assert b"MAIL" not in said
    return failed.value


# On the way into TLS


def test_h60_nothing_is_pipelined_behind_starttls(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    # The scripted server fails where anything but a ClientHello is behind STARTTLS.
    server = scripted(polite("STARTTLS", "PIPELINING", starttls=upgrade(certificate.server)))
    with client(server.url("smtp+starttls"), tls=certificate.client) as session:
        assert session.mail_tx(mail()).accepted == [JOE]
    assert server.received[0].count(b"EHLO ") == 2


INJECTED = [b"250 x\r\n", b"220 again\r\n", greeting("AUTH PLAIN")]


@pytest.mark.parametrize("injected", [*INJECTED, b"2", b"\r\n"], ids=repr)
def test_h82_what_is_injected_behind_the_reply_to_starttls_ends_the_session(
    client: Clients, scripted: Scripted, certificate: Certificate, injected: bytes
) -> None:
    server = scripted(polite("STARTTLS", starttls=then(say(GO + injected), hang())))
    assert isinstance(refused_in_plain(client, server, certificate), TLSFailed)


@pytest.mark.parametrize("injected", INJECTED, ids=repr)
def test_h82_what_is_injected_ahead_of_the_handshake_ends_the_session(
    client: Clients, scripted: Scripted, certificate: Certificate, injected: bytes
) -> None:
    server = scripted(polite("STARTTLS", starttls=then(say(GO, injected), hang())))
    assert isinstance(refused_in_plain(client, server, certificate), TLSFailed)


def test_h82_starttls_is_not_offered(client: Clients, scripted: Scripted, certificate: Certificate) -> None:
    server = scripted(polite("AUTH PLAIN"))
    assert isinstance(refused_in_plain(client, server, certificate), TLSFailed)
    assert b"STARTTLS" not in server.received[0]


@pytest.mark.parametrize("answer", [b"454 4.7.0 not now\r\n", b"502 5.5.1 no\r\n"], ids=repr)
def test_h82_starttls_is_refused(
    client: Clients, scripted: Scripted, certificate: Certificate, answer: bytes
) -> None:
    server = scripted(polite("STARTTLS", "AUTH PLAIN", starttls=answer))
    assert isinstance(refused_in_plain(client, server, certificate), TLSFailed)


def test_h82_starttls_is_answered_oddly(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    server = scripted(polite("STARTTLS", "AUTH PLAIN", starttls=b"354 go\r\n"))
    assert isinstance(refused_in_plain(client, server, certificate), (TLSFailed, ConnectionLost))


def test_h82_a_server_without_ehlo_has_no_starttls(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    server = scripted(polite(ehlo=b"502 5.5.1 what?\r\n"))
    assert isinstance(refused_in_plain(client, server, certificate), TLSFailed)


@pytest.mark.parametrize("end", [close(), reset()], ids=["close", "reset"])
def test_h82_the_connection_ends_instead_of_the_handshake(
    client: Clients, scripted: Scripted, certificate: Certificate, end: Step
) -> None:
    server = scripted(polite("STARTTLS", starttls=then(say(GO), take(50), end)))
    assert isinstance(refused_in_plain(client, server, certificate), ConnectionError)


def test_h82_plain_text_instead_of_the_handshake(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    plain = then(say(GO), take(50), say(b"250 who needs it\r\n"), hang())
    server = scripted(polite("STARTTLS", starttls=plain))
    assert isinstance(refused_in_plain(client, server, certificate), TLSFailed)


def test_h82_a_handshake_that_stalls(client: Clients, scripted: Scripted, certificate: Certificate) -> None:
    server = scripted(polite("STARTTLS", starttls=then(say(GO), hang())))
    failed = refused_in_plain(client, server, certificate, timeout=0.3)
    assert isinstance(failed, (TimeoutError, TLSFailed))


# Who the server is


def starttls_with(context: ssl.SSLContext) -> Script:
    return polite("STARTTLS", starttls=then(say(GO), broken_tls(context)))


def test_a_certificate_that_nobody_vouches_for(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    server = scripted(starttls_with(certificate.server), [broken_tls(certificate.server)])
    for scheme in ("smtp+starttls", "smtps"):
        with pytest.raises(TLSFailed), client(server.url(scheme), **LOGIN):
            pass
    assert b"AUTH" not in server.received[0]


@pytest.mark.parametrize("scheme", ["smtp+starttls", "smtps"])
def test_a_certificate_of_another_name(
    client: Clients, scripted: Scripted, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtpx.certificate, "_NAMES", (x509.DNSName("other.example"),))
    make_certificate(tmp_path / "certificate.pem", tmp_path / "key.pem")
    other = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    other.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    server = scripted(starttls_with(other) if scheme == "smtp+starttls" else [broken_tls(other)])
    trusting = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
    with pytest.raises(TLSFailed), client(server.url(scheme, "localhost"), tls=trusting):
        pass


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_certificate_of_the_right_name(
    client: Clients, scripted: Scripted, certificate: Certificate, host: str
) -> None:
    server = scripted([start_tls(certificate.server), *polite()])
    with client(server.url("smtps", host), tls=certificate.client) as session:
        session.noop()


def test_an_insecure_client_takes_any_certificate(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    server = scripted(polite("STARTTLS", starttls=upgrade(certificate.server)))
    with client(server.url("smtp+starttls"), insecure=True) as session:
        session.noop()


def test_tls_below_1_2_is_refused(client: Clients, scripted: Scripted, certificate: Certificate) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.load_cert_chain(certificate.path, certificate.key)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    server = scripted([broken_tls(old)])
    with pytest.raises(TLSFailed), client(server.url("smtps"), insecure=True):
        pass


def test_plain_text_on_the_port_of_smtps(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    server = scripted([say(b"220 plain\r\n"), hang()])
    with pytest.raises(TLSFailed), client(server.url("smtps"), tls=certificate.client, **LOGIN):
        pass
    assert b"AUTH" not in server.received[0]


# Within TLS


def test_h82_keywords_from_before_tls_are_forgotten(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    spoofed = greeting("STARTTLS", "SIZE 10", "SMTPUTF8", "CHUNKING", "AUTH PLAIN", "X-EVIL")
    server = scripted(polite(ehlo=[spoofed, greeting("8BITMIME")], starttls=upgrade(certificate.server)))
    with client(server.url("smtp+starttls"), tls=certificate.client) as session:
        assert list(session.server_info.extensions) == ["8BITMIME"]
        assert session.mail_tx(mail()).accepted == [JOE]  # of more than 10 octets, by DATA
        with pytest.raises(NotOffered, match="AUTH"):
            session.authenticate(Mechanism.PLAIN, "joe", "secret")


def test_h82_starttls_by_hand_forgets_too(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    replies = [greeting("STARTTLS", "SIZE 10"), greeting()]
    server = scripted(polite(ehlo=replies, starttls=upgrade(certificate.server)))
    with client(server.url(), tls=certificate.client) as session:
        session.starttls()
        assert list(session.server_info.extensions) == []


def test_h82_a_login_is_said_within_tls(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    replies = [greeting("STARTTLS"), greeting("AUTH PLAIN")]
    script = [*ehlo("STARTTLS"), expect("STARTTLS"), upgrade(certificate.server), expect("EHLO")]
    script += [say(replies[1]), expect("AUTH PLAIN AGpvZQBzZWNyZXQ="), say(b"235 2.7.0 welcome\r\n")]
    server = scripted([*script, expect("QUIT"), close()])
    with client(server.url("smtp+starttls"), tls=certificate.client, **LOGIN):
        pass
    server.finish()


@pytest.mark.parametrize("login", [LOGIN, {"username": "joe", "token": "t0ken"}], ids=["password", "token"])
def test_a_login_is_not_said_in_plain(client: Clients, scripted: Scripted, login: dict[str, str]) -> None:
    server = scripted(polite("AUTH PLAIN LOGIN XOAUTH2 OAUTHBEARER"))
    with pytest.raises((ClientError, smtpx.ConfigurationError)), client(server.url(), **login):
        pass
    assert b"AUTH" not in server.received[0]


def test_a_login_by_hand_is_not_said_in_plain(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("AUTH PLAIN LOGIN"))
    with client(server.url()) as session, pytest.raises((ClientError, smtpx.ConfigurationError)):
        session.authenticate(Mechanism.PLAIN, "joe", "secret")
    assert b"AUTH" not in server.received[0]


def test_a_login_is_said_in_plain_where_that_is_asked_for(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("AUTH PLAIN"))
    with client(server.url(), cleartext_auth=True, **LOGIN):
        pass
    assert b"AUTH PLAIN AGpvZQBzZWNyZXQ=" in server.received[0]


@pytest.mark.parametrize("end", [close(), reset()], ids=["close", "reset"])
def test_h82_tls_ends_within_the_content(
    client: Clients, scripted: Scripted, certificate: Certificate, end: Step
) -> None:
    large = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 100_000
    data = then(say(b"354 go\r\n"), take(1000), end)
    server = scripted([start_tls(certificate.server), *polite(data=data)])
    with (
        client(server.url("smtps"), tls=certificate.client) as session,
        pytest.raises(ConnectionLost) as lost,
    ):
        session.mail_tx(mail(data=large))
    assert lost.value.result is not None
    assert lost.value.result.retry() == [JOE]


@pytest.mark.parametrize("end", [close(), reset()], ids=["close", "reset"])
def test_h82_tls_ends_behind_the_content(
    client: Clients, scripted: Scripted, certificate: Certificate, end: Step
) -> None:
    server = scripted([start_tls(certificate.server), *polite(done=end)])
    with (
        client(server.url("smtps"), tls=certificate.client) as session,
        pytest.raises(ConnectionLost) as lost,
    ):
        session.mail_tx(mail())
    assert lost.value.result is not None
    assert lost.value.result.unknown == [JOE]


def test_require_tls_is_not_sent_in_plain(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("REQUIRETLS"))
    with client(server.url()) as session, pytest.raises(TLSFailed) as failed:
        session.send(b"Subject: x\r\n\r\n", mail_from=JOE, recipients=[JOE], require_tls=True)
    assert b"MAIL" not in server.received[0]
    assert failed.value.result is not None
    assert failed.value.result.permanent == [JOE]


def test_require_tls_is_not_sent_to_anybody(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    server = scripted([start_tls(certificate.server), *polite("REQUIRETLS")])
    with (
        client(server.url("smtps"), insecure=True) as session,
        pytest.raises(TLSFailed, match="certificate was not verified"),
    ):
        session.send(b"Subject: x\r\n\r\n", mail_from=JOE, recipients=[JOE], require_tls=True)
    assert b"MAIL" not in server.received[0]


def test_require_tls_is_not_dropped_for_a_server_that_lacks_it(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    server = scripted([start_tls(certificate.server), *polite()])
    with (
        client(server.url("smtps"), tls=certificate.client) as session,
        pytest.raises(NotOffered, match="REQUIRETLS"),
    ):
        session.send(b"Subject: x\r\n\r\n", mail_from=JOE, recipients=[JOE], require_tls=True)
    assert b"MAIL" not in server.received[0]


def test_require_tls_is_asked_of_the_server_within_tls(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    server = scripted([start_tls(certificate.server), *polite("REQUIRETLS")])
    with client(server.url("smtps"), tls=certificate.client) as session:
        session.send(b"Subject: x\r\n\r\n", mail_from=JOE, recipients=[JOE], require_tls=True)
    assert b" REQUIRETLS\r\n" in server.received[0]
