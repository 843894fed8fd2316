"""The client and the servers of this world: what is delivered is, byte for byte, what was sent."""

from __future__ import annotations

import io
import random
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING

import pytest
from smtpx import DSN, MailTx, Mechanism, Outcome
from smtpx.errors import ClientError, CommandRefused, LoginRefused, MessageRefused

from tests import postfix as accounts
from tests.clients import CONTENT
from tests.recorder import JOE, PASSWORD, Recorder
from tests.sinks import running_aiosmtpd

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients import Clients
    from tests.conftest import Sinks
    from tests.live import Certificate, LiveServers
    from tests.postfix import Postfix

ANN, UMLAUT = "ann@example.com", "jörg@bücher.example"

CONTENTS = {
    "dots": b"Subject: dots\r\n\r\n.\r\n..\r\n...a\r\n.\r\n",
    "empty body": b"Subject: x\r\n\r\n",
    "header alone": b"Subject: x\r\n",
    "white space": b"Subject: x \r\nX-Folded: a\r\n\t b\r\n\r\n \r\n\t\r\n\r\n\r\n",
    "eight bits": b"Subject: x\r\n\r\n" + bytes(range(0x80, 0x100)) * 3 + b"\r\n",
    "long lines": b"Subject: x\r\n\r\n" + b"y" * 998 + b"\r\n." + b"z" * 997 + b"\r\n",
    "from": b"Subject: x\r\n\r\nFrom here on\r\n>From there\r\n",
}
each_content = pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)


def large(octets: int) -> bytes:
    """Lines of all lengths, many of which begin with a dot."""
    dice = random.Random(1)
    lines = [b"Subject: large\r\n\r\n"]
    size = len(lines[0])
    while size < octets:
        lines.append(dice.choice([b"", b".", b".."]) + b"x" * dice.randrange(80) + b"\r\n")
        size += len(lines[-1])
    return b"".join(lines)


def letter() -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = f"Ann <{ANN}>", f"Joe <{JOE}>", "Bücher"
    message.set_content("Grüße, Jörg\n")
    message.add_attachment(bytes(range(256)), maintype="application", subtype="octet-stream", filename="all")
    return message


# smtpx's own server


@each_content
def test_smtpx_takes_what_was_sent(client: Clients, live_server: LiveServers, content: bytes) -> None:
    live = live_server()
    with client(f"smtp://127.0.0.1:{live.address[1]}") as session:
        assert session.mail_tx(MailTx(ANN, [JOE], content)).accepted == [JOE]
    assert [message.data for message in live.recorder.messages] == [content]


def test_smtpx_takes_a_large_message_from_a_file(
    client: Clients, live_server: LiveServers, tmp_path: Path
) -> None:
    content = large(3_000_000)
    path = tmp_path / "message.eml"
    path.write_bytes(content)
    live = live_server()
    with client(f"smtp://127.0.0.1:{live.address[1]}") as session:
        session.send(path, mail_from=ANN, recipients=[JOE])
        session.send(io.BytesIO(content), mail_from=ANN, recipients=[JOE])
    assert [message.data == content for message in live.recorder.messages] == [True, True]


def test_smtpx_takes_many_messages_on_one_connection(client: Clients, live_server: LiveServers) -> None:
    live = live_server()
    with client(f"smtp://127.0.0.1:{live.address[1]}") as session:
        for number in range(50):
            session.mail_tx(MailTx(ANN, [JOE], b"Subject: %d\r\n\r\n" % number))
    assert [message.data for message in live.recorder.messages] == [
        b"Subject: %d\r\n\r\n" % number for number in range(50)
    ]


@pytest.mark.parametrize("mechanism", [Mechanism.PLAIN, Mechanism.LOGIN])
def test_smtpx_takes_a_login(
    client: Clients, live_server: LiveServers, certificate: Certificate, mechanism: Mechanism
) -> None:
    live = live_server(service="submission")
    url = f"smtp+starttls://localhost:{live.address[1]}"
    with client(url, tls=certificate.client) as session:
        with pytest.raises(LoginRefused):
            session.authenticate(mechanism, JOE, "wrong")
        assert session.authenticate(mechanism, JOE, PASSWORD).code == 235
        session.mail_tx(MailTx(JOE, [JOE], CONTENT))
    assert live.recorder.messages[0].data == CONTENT


def test_smtpx_takes_a_login_of_the_url(
    client: Clients, live_server: LiveServers, certificate: Certificate
) -> None:
    live = live_server(service="submissions")
    url = f"smtps://joe%40example.org:{PASSWORD}@localhost:{live.address[1]}"
    with client(url, tls=certificate.client) as session:
        session.mail_tx(MailTx(JOE, [JOE], CONTENT))
    assert live.recorder.messages[0].mail_from == JOE


def test_smtpx_takes_parameters(client: Clients, live_server: LiveServers) -> None:
    live = live_server(Recorder(dsn=True))
    message = MailTx(
        ANN,
        [JOE, ANN],
        CONTENT,
        params={"RET": "HDRS", "ENVID": "QQ314159"},
        rcpt_params=[{"NOTIFY": "SUCCESS,DELAY"}, {}],
    )
    with client(f"smtp://127.0.0.1:{live.address[1]}") as session:
        session.mail_tx(message)
    (taken,) = live.recorder.messages
    assert message.params.items() <= taken.params.items()
    assert taken.rcpt_params == message.rcpt_params


# Postfix, a real MTA


@each_content
def test_postfix_delivers_what_was_sent(client: Clients, postfix: Postfix, content: bytes) -> None:
    with client(f"smtp://127.0.0.1:{postfix.smtp}") as session:
        assert session.mail_tx(MailTx(ANN, [JOE], content)).accepted == [JOE]
    assert postfix.take(JOE).content == content


def test_postfix_delivers_a_large_message_from_a_file(
    client: Clients, postfix: Postfix, tmp_path: Path
) -> None:
    content = large(2_000_000)
    path = tmp_path / "message.eml"
    path.write_bytes(content)
    with client(f"smtp://127.0.0.1:{postfix.smtp}") as session:
        session.send(path, mail_from=ANN, recipients=[JOE])
    assert postfix.take(JOE).content == content


def test_postfix_delivers_a_message_of_the_email_package(client: Clients, postfix: Postfix) -> None:
    message = letter()
    with client(f"smtp://127.0.0.1:{postfix.smtp}") as session:
        session.send(message)
    arrived = message_from_bytes(postfix.take(JOE).content, policy=SMTP)
    assert arrived["Subject"] == message["Subject"]
    # Boundaries and encodings are the client's choice; what they hold is the program's.
    text, attachment = (part.get_content() for part in arrived.iter_parts())
    assert text.rstrip() == "Grüße, Jörg"
    assert attachment == bytes(range(256))


def test_postfix_delivers_to_each_recipient(client: Clients, postfix: Postfix) -> None:
    everybody = [*accounts.MAILBOXES]
    with client(f"smtp://127.0.0.1:{postfix.smtp}") as session:
        assert session.mail_tx(MailTx(ANN, everybody, CONTENT)).accepted == everybody
    assert [postfix.take(address).content for address in everybody] == [CONTENT] * len(everybody)


def test_postfix_refuses_some_recipients(client: Clients, postfix: Postfix) -> None:
    recipients = [JOE, "nobody@example.org", "busy@example.org"]
    with client(f"smtp://127.0.0.1:{postfix.smtp}") as session:
        result = session.mail_tx(MailTx(ANN, recipients, CONTENT))
    assert [result[address].outcome for address in recipients] == [
        Outcome.ACCEPTED,
        Outcome.PERMANENT,
        Outcome.TEMPORARY,
    ]
    assert result.retry() == ["busy@example.org"]
    assert postfix.take(JOE).content == CONTENT


def test_postfix_refuses_all_recipients_and_the_session_goes_on(client: Clients, postfix: Postfix) -> None:
    with client(f"smtp://127.0.0.1:{postfix.smtp}") as session:
        with pytest.raises(MessageRefused):
            session.mail_tx(MailTx(ANN, ["nobody@example.org"], CONTENT))
        session.mail_tx(MailTx(ANN, [JOE], CONTENT))
    assert postfix.take(JOE).content == CONTENT


def test_postfix_takes_a_null_sender(client: Clients, postfix: Postfix) -> None:
    with client(f"smtp://127.0.0.1:{postfix.smtp}") as session:
        session.mail_tx(MailTx("", [JOE], CONTENT))
    assert postfix.take(JOE).added.startswith(b"Return-Path: <>\n")


def test_postfix_delivers_to_an_address_in_utf_8(client: Clients, postfix: Postfix) -> None:
    content = "Subject: grüße\r\nTo: jörg@bücher.example\r\n\r\n".encode()
    with client(f"smtp://127.0.0.1:{postfix.smtp}") as session:
        session.mail_tx(MailTx("ärger@bücher.example", [UMLAUT], content))
    delivered = postfix.take(UMLAUT)
    assert delivered.content == content
    assert "\nDelivered-To: jörg@bücher.example\n".encode() in delivered.added


def test_postfix_delivers_within_tls(client: Clients, postfix: Postfix) -> None:
    url = f"smtp+starttls://localhost:{postfix.smtp}"
    with client(url, tls=postfix.certificate.client) as session:
        session.mail_tx(MailTx(ANN, [JOE], CONTENT))
    delivered = postfix.take(JOE)
    assert b"using TLSv1.3" in delivered.added
    assert delivered.content == CONTENT


@pytest.mark.parametrize("mechanism", [Mechanism.PLAIN, Mechanism.LOGIN])
@pytest.mark.parametrize("scheme", ["smtp+starttls", "smtps"])
def test_postfix_takes_a_login(client: Clients, postfix: Postfix, scheme: str, mechanism: Mechanism) -> None:
    port = postfix.submissions if scheme == "smtps" else postfix.submission
    with client(f"{scheme}://localhost:{port}", tls=postfix.certificate.client) as session:
        with pytest.raises(LoginRefused):
            session.authenticate(mechanism, accounts.USER, "wrong")
        assert session.authenticate(mechanism, accounts.USER, accounts.PASSWORD).code == 235
        session.mail_tx(MailTx(ANN, [JOE], CONTENT))
    delivered = postfix.take(JOE)
    assert b"with ESMTPSA " in delivered.added
    assert delivered.content == CONTENT


def test_postfix_refuses_who_has_not_logged_in(client: Clients, postfix: Postfix) -> None:
    url = f"smtp+starttls://localhost:{postfix.submission}"
    with client(url, tls=postfix.certificate.client) as session, pytest.raises(MessageRefused) as refused:
        session.mail_tx(MailTx(ANN, [JOE], CONTENT))
    assert refused.value.result.permanent == [JOE]


def test_postfix_sends_the_notice_that_was_asked_for(client: Clients, postfix: Postfix) -> None:
    sender = "ann@example.org"
    message = MailTx(
        sender, [JOE], CONTENT, params={"ENVID": "QQ314159"}, rcpt_params=[{"NOTIFY": "SUCCESS"}]
    )
    with client(f"smtp://127.0.0.1:{postfix.smtp}") as session:
        session.mail_tx(message)
    postfix.take(JOE)
    notice = postfix.take(sender).content
    assert b"\r\nOriginal-Envelope-Id: QQ314159\r\n" in notice
    assert b"\r\nAction: delivered\r\n" in notice


@pytest.mark.parametrize("to", [JOE, UMLAUT])
def test_postfix_names_the_original_recipient(client: Clients, postfix: Postfix, to: str) -> None:
    sender = "ann@example.org"
    with client(f"smtp://127.0.0.1:{postfix.smtp}") as session:
        session.send(CONTENT, mail_from=sender, recipients=[to], dsn=DSN(notify=("SUCCESS",)))
    postfix.take(to)
    notice = postfix.take(sender).content.decode()
    kind = "rfc822" if to.isascii() else "utf-8"
    assert f"\r\nOriginal-Recipient: {kind};{to}\r\n" in notice


def test_postfix_answers_the_verbs(client: Clients, postfix: Postfix) -> None:
    with client(f"smtp://127.0.0.1:{postfix.smtp}") as session:
        assert "CHUNKING" in session.server_info.extensions
        assert session.server_info.domain == "postfix.example"
        assert session.noop().code == 250
        assert session.reset().code == 250
        assert session.verify(JOE).code == 252
        assert session.send_command(b"NOOP really").code == 250
        with pytest.raises(CommandRefused) as refused:
            session.expand("list")
        assert refused.value.code in (500, 502)
        assert session.quit().code == 221


# aiosmtpd


@each_content
def test_aiosmtpd_takes_what_was_sent(client: Clients, content: bytes) -> None:
    with running_aiosmtpd() as server, client(f"smtp://127.0.0.1:{server.port}") as session:
        session.mail_tx(MailTx(ANN, [JOE], content))
    assert [message.data for message in server.messages] == [content]


def test_aiosmtpd_takes_utf_8(client: Clients) -> None:
    with (
        running_aiosmtpd(enable_SMTPUTF8=True) as server,
        client(f"smtp://127.0.0.1:{server.port}") as session,
    ):
        session.mail_tx(MailTx("ärger@bücher.example", [UMLAUT], CONTENT))
    (message,) = server.messages
    assert (message.mail_from, message.recipients) == ("ärger@bücher.example", [UMLAUT])


@pytest.mark.parametrize("mechanism", [Mechanism.PLAIN, Mechanism.LOGIN])
def test_aiosmtpd_takes_a_login(client: Clients, certificate: Certificate, mechanism: Mechanism) -> None:
    with (
        running_aiosmtpd(certificate.server) as server,
        client(f"smtp+starttls://localhost:{server.port}", tls=certificate.client) as session,
    ):
        session.authenticate(mechanism, JOE, PASSWORD)
        session.mail_tx(MailTx(ANN, [JOE], CONTENT))
    assert server.messages[0].data == CONTENT


# smtp-sink, which lacks and refuses what it is told to


SINKS = [(), ("-p",), ("-e",), ("-E",), ("-N",), ("-a", "-C", "-F")]
each_sink = pytest.mark.parametrize("options", SINKS, ids=" ".join)


@each_sink
def test_smtp_sink_takes_what_was_sent(client: Clients, sink: Sinks, options: tuple[str, ...]) -> None:
    server = sink(*options)
    content = CONTENTS["dots"] + CONTENTS["white space"]
    with client(f"smtp://127.0.0.1:{server.port}") as session:
        for number in range(3):
            session.mail_tx(MailTx(ANN, [JOE, ANN], b"X: %d\r\n" % number + content))
    dumps = sorted(server.dumps(), key=lambda dump: dump.content)
    assert [dump.content for dump in dumps] == [b"X: %d\r\n" % number + content for number in range(3)]
    assert {tuple(dump.recipients) for dump in dumps} == {(f"<{JOE}>", f"<{ANN}>")}


def test_smtp_sink_takes_eight_bits(client: Clients, sink: Sinks) -> None:
    server = sink()
    with client(f"smtp://127.0.0.1:{server.port}") as session:
        session.mail_tx(MailTx(ANN, [JOE], CONTENTS["eight bits"]))
    (dump,) = server.dumps()
    assert dump.content == CONTENTS["eight bits"]
    assert "BODY=8BITMIME" in dump.mail


def test_smtp_sink_without_8bitmime_gets_seven_bits(client: Clients, sink: Sinks) -> None:
    server = sink("-8")
    with client(f"smtp://127.0.0.1:{server.port}") as session:
        session.send(letter())
    (dump,) = server.dumps()
    assert dump.content.isascii()
    assert "BODY" not in dump.mail


STEPS = ["MAIL", "RCPT", "DATA", "."]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("option", "outcome"), [("-r", Outcome.TEMPORARY), ("-f", Outcome.PERMANENT)])
def test_smtp_sink_refuses_a_step(
    client: Clients, sink: Sinks, step: str, option: str, outcome: Outcome
) -> None:
    server = sink(option, step)
    with client(f"smtp://127.0.0.1:{server.port}") as session:
        for _ in range(2):  # and the session goes on
            with pytest.raises(MessageRefused) as refused:
                session.mail_tx(MailTx(ANN, [JOE], CONTENT))
            assert refused.value.result[JOE].outcome is outcome


@pytest.mark.parametrize("step", ["CONNECT", "EHLO", *STEPS])
@pytest.mark.parametrize("option", ["-q", "-Q"])
def test_smtp_sink_leaves_at_a_step(client: Clients, sink: Sinks, step: str, option: str) -> None:
    server = sink(option, step)
    with (
        pytest.raises(ClientError) as failed,
        client(f"smtp://127.0.0.1:{server.port}") as session,
    ):
        session.mail_tx(MailTx(ANN, [JOE], CONTENT))
    result = failed.value.result
    if result is not None:
        # Only what was sent to its end, and has no answer, is unknown.
        unknown = step == "." and option == "-q"
        assert result[JOE].outcome is (Outcome.UNKNOWN if unknown else Outcome.TEMPORARY)


def test_smtp_sink_refuses_ehlo(client: Clients, sink: Sinks) -> None:
    server = sink("-f", "EHLO")
    with client(f"smtp://127.0.0.1:{server.port}") as session:
        assert session.mail_tx(MailTx(ANN, [JOE], CONTENT)).accepted == [JOE]


def test_smtp_sink_takes_lmtp(client: Clients, sink: Sinks) -> None:
    server = sink("-L")
    with client(f"lmtp://127.0.0.1:{server.port}") as session:
        assert session.mail_tx(MailTx(ANN, [JOE, ANN], CONTENT)).accepted == [JOE, ANN]
