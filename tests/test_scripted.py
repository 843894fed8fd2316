"""The scripted server of the tests does what its scripts say, and tells what came instead."""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from tests.peer import Peer
from tests.scripted import (
    ScriptedServer,
    Step,
    bdat,
    broken_tls,
    close,
    content,
    drip,
    expect,
    flood,
    half_close,
    hang,
    nag,
    reset,
    say,
    signal,
    start_tls,
    take,
    then,
    wait,
)
from tests.sessions import ehlo, polite, upgrade

if TYPE_CHECKING:
    from tests.conftest import Scripted
    from tests.live import Certificate

CONTENT = b"Subject: x\r\n\r\n.hi\r\n"


def send(client: smtplib.SMTP) -> None:
    client.sendmail("a@b.example", ["c@d.example"], CONTENT)


def connect(server: ScriptedServer) -> Peer:
    return Peer(("127.0.0.1", server.port))


def test_a_polite_session_takes_a_message(scripted: Scripted) -> None:
    server = scripted(polite("8BITMIME"))
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        send(client)
    assert server.contents == [b"Subject: x\r\n\r\n..hi\r\n.\r\n"]
    assert b"mail from:<a@b.example>" in server.received[0].lower()  # smtplib's case is its version's


def test_a_single_answer_is_replaced(scripted: Scripted) -> None:
    server = scripted(polite(done=b"554 5.6.0 no\r\n"))
    with smtplib.SMTP("127.0.0.1", server.port) as client, pytest.raises(smtplib.SMTPDataError):
        send(client)


def test_answers_follow_one_another(scripted: Scripted) -> None:
    server = scripted(polite(noop=[b"451 first\r\n", b"250 then\r\n"]))
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        assert [client.noop()[0] for _ in range(3)] == [451, 250, 250]


def test_every_connection_has_its_script(scripted: Scripted) -> None:
    server = scripted(polite(banner=b"554 no\r\n"), polite())
    with pytest.raises(smtplib.SMTPConnectError):
        smtplib.SMTP("127.0.0.1", server.port)
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        send(client)
    assert len(server.received) == 2


def test_a_script_goes_step_by_step(scripted: Scripted) -> None:
    server = scripted([*ehlo("CHUNKING"), expect("BDAT 3"), take(3), say(b"250 ok\r\n"), half_close()])
    with connect(server) as peer:
        peer.expect("220")
        peer.command("EHLO x", "250")
        peer.send(b"BDAT 3 LAST\r\nabc")
        peer.expect("250")
        peer.expect_close()


def test_bdat_and_content_are_kept_as_they_came(scripted: Scripted) -> None:
    server = scripted([bdat(), content(), content(), take(2)])
    with connect(server) as peer:
        peer.send(b"BDAT 3 LAST\r\nabc.\r\nx\r\n.\r\nyz")
    assert server.contents == [b"abc", b".\r\n", b"x\r\n.\r\n"]


def failure(said: bytes, *script: Step) -> str:
    """What the server has to say of a client that says this, after a test with such a script."""
    server = ScriptedServer(script)
    with connect(server) as peer:
        peer.send(said)
    with pytest.raises(AssertionError) as failed:
        server.finish()
    return "; ".join([str(failed.value), *failed.value.__notes__])


def test_a_step_that_fails_says_which_and_what_came_instead() -> None:
    assert failure(b"HELO x\r\n", say(b"220 x\r\n"), expect("EHLO")) == (
        r"got b'HELO x\r\n'; at step 2, expect('EHLO'); in the script of connection 1"
    )


def test_a_client_that_closes_too_soon_fails_the_test() -> None:
    assert failure(b"BDAT 3\r\nab", bdat()).startswith("the client closed before 3 octets")
    assert failure(b"a\r\n", content()).startswith("the client closed within the content")
    assert failure(b"EHLO", expect("EHLO")).startswith("the client closed, after b'EHLO'")


def test_a_flood_that_is_taken_whole_fails_the_test() -> None:
    server = ScriptedServer([flood(b"220 x\r\n", size=7)])
    with connect(server) as peer:
        peer.expect("220")
        with pytest.raises(AssertionError, match="the client took all the 7 octets"):
            server.finish()


@pytest.mark.parametrize(("clients", "told"), [(0, "no client came"), (2, "no script for another")])
def test_a_client_too_few_or_too_many_fails_the_test(clients: int, told: str) -> None:
    server = ScriptedServer([hang()])
    for _ in range(clients):
        connect(server).close()
    with pytest.raises(AssertionError, match=told):
        server.finish()


@pytest.mark.parametrize("end", [close(), half_close()], ids=["close", "half_close"])
def test_the_server_ends_the_connection(scripted: Scripted, end: Step) -> None:
    server = scripted(polite(banner=end))
    with connect(server) as peer:
        peer.expect_close()


def test_the_server_resets_the_connection(scripted: Scripted) -> None:
    server = scripted([reset()])
    with (
        socket.create_connection(("127.0.0.1", server.port)) as client,
        pytest.raises(ConnectionResetError),
    ):
        client.recv(1)


def test_octets_are_dripped(scripted: Scripted) -> None:
    server = scripted([drip(b"220 x\r\n"), close()])
    with connect(server) as peer:
        peer.expect("220")
        peer.expect_close()


def test_a_flood_ends_when_the_client_closes(scripted: Scripted) -> None:
    server = scripted([flood(b"220-x\r\n" * 1000)], [nag(b"220-x\r\n")])
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.recv(1000)
    server.finish()


def test_the_test_and_the_script_wait_for_each_other(scripted: Scripted) -> None:
    there, go = threading.Event(), threading.Event()
    server = scripted([expect("NOOP"), signal(there), wait(go), say(b"250 ok\r\n")])
    with connect(server) as peer:
        peer.send(b"NOOP\r\n")
        assert there.wait(20)
        go.set()
        peer.expect("250")


def test_starttls_and_what_is_said_inside_it(scripted: Scripted, certificate: Certificate) -> None:
    server = scripted(polite("STARTTLS", starttls=upgrade(certificate.server)))
    with smtplib.SMTP("localhost", server.port) as client:
        client.starttls(context=certificate.client)
        send(client)
    assert server.received[0].count(b"ehlo") == 2


def test_implicit_tls(scripted: Scripted, certificate: Certificate) -> None:
    server = scripted([start_tls(certificate.server), *polite()])
    with smtplib.SMTP_SSL("localhost", server.port, context=certificate.client) as client:
        send(client)


def test_a_handshake_that_the_client_breaks_off(scripted: Scripted, certificate: Certificate) -> None:
    server = scripted([broken_tls(certificate.server)])
    with pytest.raises(ssl.SSLCertVerificationError):
        smtplib.SMTP_SSL("localhost", server.port, context=ssl.create_default_context())


def test_several_steps_answer_one_command(scripted: Scripted) -> None:
    server = scripted(polite(data=then(say(b"354 go\r\n"), take(100), reset())))
    with smtplib.SMTP("127.0.0.1", server.port) as client, pytest.raises(smtplib.SMTPServerDisconnected):
        client.sendmail("a@b.example", ["c@d.example"], b"x" * 100)
