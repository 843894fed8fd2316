"""The real MTA of the tests takes mail by every extension, and what arrives is what was sent."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING

import pytest

from tests.peer import Peer
from tests.postfix import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.postfix import Postfix

SENDER, JOE = "sender@example.net", "joe@example.org"
CONTENT = b"Subject: dots\r\nX-Odd:  kept \r\n\r\n.one\r\n..two\r\nlast"


def open_session(postfix: Postfix) -> Peer:
    peer = Peer(("127.0.0.1", postfix.smtp))
    peer.expect("220")
    return peer


def test_a_message_arrives_as_it_was_sent(postfix: Postfix) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.smtp) as client:
        client.sendmail(SENDER, [JOE], CONTENT)
    delivered = postfix.take(JOE)
    assert delivered.content == CONTENT + b"\r\n"
    assert delivered.added.startswith(b"Return-Path: <sender@example.net>\n")
    assert b"\nDelivered-To: joe@example.org\n" in delivered.added


def test_a_bcc_header_is_not_taken_out(postfix: Postfix) -> None:
    content = b"Bcc: secret@example.net\r\nReturn-Path: <x@example.net>\r\n\r\n"
    with smtplib.SMTP("127.0.0.1", postfix.smtp) as client:
        client.sendmail(SENDER, [JOE], content)
    assert postfix.take(JOE).content == content


def test_eight_bits_arrive(postfix: Postfix) -> None:
    content = b"Subject: x\r\n\r\n" + bytes(range(0x80, 0x100)) + b"\r\n"
    with smtplib.SMTP("127.0.0.1", postfix.smtp) as client:
        client.sendmail(SENDER, [JOE], content, ["BODY=8BITMIME"])
    assert postfix.take(JOE).content == content


def test_an_address_in_utf_8(postfix: Postfix) -> None:
    content = "Subject: grüße\r\n\r\n".encode()
    with open_session(postfix) as peer:
        peer.command("EHLO client.example", "250")
        peer.command("MAIL FROM:<ärger@bücher.example> SMTPUTF8", "250 2.1.0")
        peer.command("RCPT TO:<jörg@bücher.example>", "250 2.1.5")
        peer.message(content, "250 2.0.0")
    delivered = postfix.take("jörg@bücher.example")
    assert delivered.content == content
    assert "\nDelivered-To: jörg@bücher.example\n".encode() in delivered.added


def test_chunks(postfix: Postfix) -> None:
    with open_session(postfix) as peer:
        peer.command("EHLO client.example", "250")
        peer.command(f"MAIL FROM:<{SENDER}>", "250 2.1.0")
        peer.command(f"RCPT TO:<{JOE}>", "250 2.1.5")
        peer.send(b"BDAT 10\r\n" + CONTENT[:10])
        peer.expect("250 2.0.0")
        peer.send(b"BDAT %d LAST\r\n" % (len(CONTENT) - 10) + CONTENT[10:])
        peer.expect("250 2.0.0")
    assert postfix.take(JOE).content == CONTENT + b"\r\n"


def test_a_notice_of_success(postfix: Postfix) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.smtp) as client:
        client.sendmail("ann@example.org", [JOE], CONTENT, ["RET=HDRS", "ENVID=QQ314159"], ["NOTIFY=SUCCESS"])
    postfix.take(JOE)
    notice = postfix.take("ann@example.org").content
    assert b"\r\nOriginal-Envelope-Id: QQ314159\r\n" in notice
    assert b"\r\nAction: delivered\r\n" in notice


@pytest.mark.parametrize(("recipient", "code"), [("nobody@example.org", 550), ("busy@example.org", 450)])
def test_a_recipient_is_refused(postfix: Postfix, recipient: str, code: int) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.smtp) as client:
        refused = client.sendmail(SENDER, [JOE, recipient], CONTENT)
    assert {address: reply[0] for address, reply in refused.items()} == {recipient: code}
    postfix.take(JOE)


def test_starttls(postfix: Postfix) -> None:
    with smtplib.SMTP("localhost", postfix.smtp) as client:
        client.starttls(context=postfix.certificate.client)
        client.sendmail(SENDER, [JOE], CONTENT)
    assert b"using TLSv1.3" in postfix.take(JOE).added


def submission(postfix: Postfix) -> smtplib.SMTP:
    client = smtplib.SMTP("localhost", postfix.submission)
    client.starttls(context=postfix.certificate.client)
    return client


def submissions(postfix: Postfix) -> smtplib.SMTP:
    return smtplib.SMTP_SSL("localhost", postfix.submissions, context=postfix.certificate.client)


@pytest.mark.parametrize("connect", [submission, submissions])
def test_submission_asks_for_a_login(postfix: Postfix, connect: Callable[[Postfix], smtplib.SMTP]) -> None:
    with connect(postfix) as client, pytest.raises(smtplib.SMTPRecipientsRefused):
        client.sendmail(SENDER, [JOE], CONTENT)


@pytest.mark.parametrize("mechanism", ["plain", "login"])
@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("connect", [submission, submissions])
def test_a_login(
    postfix: Postfix, connect: Callable[[Postfix], smtplib.SMTP], mechanism: str, initial: bool
) -> None:
    with connect(postfix) as client:
        client.user, client.password = USER, PASSWORD
        client.auth(mechanism, getattr(client, f"auth_{mechanism}"), initial_response_ok=initial)
        client.sendmail(SENDER, [JOE], CONTENT)
    postfix.take(JOE)


def test_a_wrong_password_is_refused_and_the_next_one_may_be_right(postfix: Postfix) -> None:
    with submission(postfix) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(USER, "wrong")
        assert client.login(USER, PASSWORD)[0] == 235


def test_submission_asks_for_tls(postfix: Postfix) -> None:
    with smtplib.SMTP("localhost", postfix.submission) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.mail(SENDER)[0] == 530
