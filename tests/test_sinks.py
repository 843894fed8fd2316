"""The sinks of the tests keep what they take, as it was sent."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING

import pytest

from tests.recorder import JOE, PASSWORD, Message
from tests.sinks import Dump, running_aiosmtpd

if TYPE_CHECKING:
    from tests.conftest import Sinks
    from tests.live import Certificate

SENDER = "sender@example.net"
CONTENT = b"Subject: dots\r\n\r\n.one\r\n\r\nReceived: \xff\r\n\r\n"


def test_smtp_sink_keeps_a_message(sink: Sinks) -> None:
    server = sink()
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        client.sendmail(SENDER, [JOE, SENDER], CONTENT, ["BODY=8BITMIME"])
    assert server.dumps() == [Dump(f"<{SENDER}> BODY=8BITMIME", [f"<{JOE}>", f"<{SENDER}>"], CONTENT)]


def test_smtp_sink_has_options(sink: Sinks) -> None:
    server = sink("-8", "-p", "-r", "RCPT")
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        client.ehlo()
        assert not client.has_extn("8bitmime")
        assert not client.has_extn("pipelining")
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            client.sendmail(SENDER, [JOE], CONTENT)
    assert refused.value.recipients[JOE][0] == 450


def test_aiosmtpd_keeps_a_message() -> None:
    with running_aiosmtpd() as server, smtplib.SMTP("127.0.0.1", server.port) as client:
        client.sendmail(SENDER, [JOE], CONTENT, ["BODY=8BITMIME"])
    params = {"SIZE": str(len(CONTENT)), "BODY": "8BITMIME"}
    assert server.messages == [Message(SENDER, params, [JOE], [], CONTENT)]


def test_aiosmtpd_has_starttls_and_an_account(certificate: Certificate) -> None:
    with running_aiosmtpd(certificate.server) as server, smtplib.SMTP("localhost", server.port) as client:
        client.starttls(context=certificate.client)
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(JOE, "wrong")
        client.login(JOE, PASSWORD)
        client.sendmail(SENDER, [JOE], CONTENT)
    assert len(server.messages) == 1
