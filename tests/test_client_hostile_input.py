"""HOSTILE rows 69, 84, 85 and 87: what a program gives the client, and what never reaches the wire."""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from smtpx import MailTx, Mechanism
from smtpx.errors import ClientError, NotOffered

from tests.clients import CONTENT, mail
from tests.sessions import polite

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clients import Clients
    from tests.conftest import Scripted

    Call = Callable[[smtpx.SyncClient, str], object]

ANN, JOE, BOB = "ann@example.com", "joe@example.org", "bob@example.org"
EVIL = ["\r\nRCPT TO:<evil@example.net>", "\n", "\r", "\0"]
each_evil = pytest.mark.parametrize("evil", EVIL, ids=repr)


# Octets that would be another command

CALLS: dict[str, Call] = {
    "mail_from": lambda client, evil: client.mail_tx(MailTx(f"ann{evil}@example.com", [JOE], CONTENT)),
    "mail_from's end": lambda client, evil: client.mail_tx(MailTx(f"{ANN}{evil}", [JOE], CONTENT)),
    "recipient": lambda client, evil: client.mail_tx(mail(JOE, f"{BOB}{evil}")),
    "parameter": lambda client, evil: client.mail_tx(MailTx(ANN, [JOE], CONTENT, params={f"X{evil}": "1"})),
    "value": lambda client, evil: client.mail_tx(MailTx(ANN, [JOE], CONTENT, params={"ENVID": f"x{evil}"})),
    "parameter of RCPT": lambda client, evil: client.mail_tx(
        MailTx(ANN, [JOE], CONTENT, rcpt_params=[{f"NOTIFY{evil}": "NEVER"}])
    ),
    "value of RCPT": lambda client, evil: client.mail_tx(
        MailTx(ANN, [JOE], CONTENT, rcpt_params=[{"NOTIFY": f"NEVER{evil}"}])
    ),
    "send's mail_from": lambda client, evil: client.send(CONTENT, mail_from=f"{ANN}{evil}", recipients=[JOE]),
    "send's recipient": lambda client, evil: client.send(CONTENT, mail_from=ANN, recipients=[f"{JOE}{evil}"]),
    "command": lambda client, evil: client.send_command(b"NOOP" + evil.encode()),
    "verify": lambda client, evil: client.verify(f"joe{evil}"),
    "expand": lambda client, evil: client.expand(f"list{evil}"),
    "help": lambda client, evil: client.help(f"MAIL{evil}"),
}


@each_evil
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_h84_an_argument_that_would_be_a_command_is_refused(
    client: Clients, scripted: Scripted, call: Call, evil: str
) -> None:
    server = scripted(polite("DSN", "AUTH PLAIN"))
    with client(server.url()) as session:
        with pytest.raises(ValueError, match=r".") as refused:
            call(session, evil)
        session.noop()  # the session goes on
    assert isinstance(refused.value, smtpx.SMTPError)
    ehlo, *rest = server.received[0].split(b"\r\n")
    assert ehlo.startswith(b"EHLO ")
    assert rest == [b"NOOP", b"QUIT", b""]


@each_evil
def test_h84_a_local_name_that_would_be_a_command_is_refused(
    client: Clients, scripted: Scripted, evil: str
) -> None:
    server = scripted()
    with pytest.raises(ValueError, match=r"."), client(server.url(), f"me.example{evil}"):
        pass


@pytest.mark.parametrize("evil", ["%0D%0ARCPT", "%0A", "%00"])
@pytest.mark.parametrize("place", ["smtp://joe{}:x@{}", "smtp://joe:x{}@{}", "smtp://{1}{0}"])
def test_h84_a_url_that_would_be_a_command_is_refused(
    client: Clients, scripted: Scripted, place: str, evil: str
) -> None:
    server = scripted()
    url = place.format(evil, f"127.0.0.1:{server.port}")
    with pytest.raises(ValueError, match=r"."), client(url):
        pass


@pytest.mark.parametrize("login", [("j\0oe", "secret"), ("joe", "sec\0ret")])
def test_h84_a_login_that_has_a_nul_is_refused(
    client: Clients, scripted: Scripted, login: tuple[str, str]
) -> None:
    server = scripted(polite("AUTH PLAIN"))
    with (
        client(server.url(), cleartext_auth=True) as session,
        pytest.raises(ValueError, match=r"."),
    ):
        session.authenticate(Mechanism.PLAIN, *login)
    assert b"AUTH" not in server.received[0]


# What is merely no address of RFC 5321 is the server's to judge: some know addresses with two dots in a row.
NO_ADDRESSES = ["", "joe@c.example>", "<joe@c.example>", "a b@c.example"]


@pytest.mark.parametrize("address", NO_ADDRESSES, ids=repr)
def test_h84_an_address_that_ends_its_path_early_is_refused(
    client: Clients, scripted: Scripted, address: str
) -> None:
    server = scripted(polite())
    with client(server.url()) as session, pytest.raises(ValueError, match=r"."):
        session.mail_tx(mail(JOE, address))
    assert b"MAIL" not in server.received[0]


@each_evil
def test_h84_a_header_that_would_be_two_is_refused(client: Clients, scripted: Scripted, evil: str) -> None:
    message = EmailMessage()
    message["From"], message["To"] = ANN, JOE
    # EmailMessage would refuse it by itself; a program may have gone round that.
    message._headers.append(("Subject", f"x{evil}Bcc: evil@example.net"))  # type: ignore[attr-defined]
    server = scripted(polite())
    with client(server.url()) as session, pytest.raises(ValueError, match=r"."):
        session.send(message)
    assert b"MAIL" not in server.received[0]


# Line ends of the content

BARE = {
    b"a\nb\n": b"a\r\nb\r\n",
    b"a\rb\r": b"a\r\nb\r\n",
    b"a\r\r\nb": b"a\r\n\r\nb\r\n",
    b"a\n\nb\r\n": b"a\r\n\r\nb\r\n",
    b"a\n.\nQUIT\r\n": b"a\r\n..\r\nQUIT\r\n",
    b"a\r.\rQUIT\r\n": b"a\r\n..\r\nQUIT\r\n",
    b"a\n.\r\nQUIT\r\n": b"a\r\n..\r\nQUIT\r\n",
    b"a\r\n.\nQUIT\r\n": b"a\r\n..\r\nQUIT\r\n",
}


@pytest.mark.parametrize("content", BARE, ids=repr)
def test_h85_bare_line_ends_are_mended(client: Clients, scripted: Scripted, content: bytes) -> None:
    server = scripted(polite())
    with client(server.url()) as session:
        session.mail_tx(mail(data=content))
    assert server.contents == [BARE[content] + b".\r\n"]


@pytest.mark.parametrize("content", BARE, ids=repr)
def test_h85_bare_line_ends_are_mended_in_chunks(client: Clients, scripted: Scripted, content: bytes) -> None:
    server = scripted(polite("CHUNKING"))
    with client(server.url()) as session:
        session.mail_tx(mail(data=content))
    # No dots are doubled in chunks, and a last line that has no end may be left so (RFC 3030 2).
    assert b"".join(server.contents).removesuffix(b"\r\n") == BARE[content].replace(
        b"\r\n..", b"\r\n."
    ).removesuffix(b"\r\n")


@pytest.mark.parametrize("content", BARE, ids=repr)
def test_h85_bare_line_ends_are_refused_where_that_is_asked_for(
    client: Clients, scripted: Scripted, content: bytes
) -> None:
    server = scripted(polite())
    with client(server.url(), newlines="strict") as session, pytest.raises(ValueError, match=r"."):
        session.mail_tx(mail(data=content))
    assert b"QUIT\r\n.\r\n" not in server.received[0]
    assert server.contents == []


@pytest.mark.parametrize("content", [b"", b".", b".\r\n", b"..\r\n", b"\r\n.\r\n", b"a\r\n.b"], ids=repr)
def test_dots_are_doubled(client: Clients, scripted: Scripted, content: bytes) -> None:
    server = scripted(polite())
    with client(server.url()) as session:
        session.mail_tx(mail(data=content))
    (arrived,) = server.contents
    taken = smtpx.dot_unstuff(arrived.removesuffix(b".\r\n"))
    assert taken.removesuffix(b"\r\n") == content.removesuffix(b"\r\n")


# Who is not to be seen


@pytest.mark.parametrize("header", ["Bcc", "BCC", "Resent-Bcc"])
@pytest.mark.parametrize("as_bytes", [False, True], ids=["EmailMessage", "bytes"])
def test_h87_bcc_is_never_on_the_wire(
    client: Clients, scripted: Scripted, header: str, as_bytes: bool
) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = ANN, JOE, "hi"
    if header.startswith("Resent"):
        message["Resent-From"], message["Resent-To"] = ANN, JOE
    message[header] = f"Bob <{BOB}>"
    message.set_content("hello")
    given = message.as_bytes(policy=SMTP) if as_bytes else message
    server = scripted(polite())
    with client(server.url()) as session:
        assert sorted(session.send(given).accepted) == [BOB, JOE]
    (content,) = server.contents
    assert b"bcc" not in content.lower()
    assert BOB.encode() not in content
    assert message[header] == f"Bob <{BOB}>"  # the program's message is as it was


# What the server cannot take


def message_of(text: str, to: str = JOE, subject: str = "hi") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = ANN, to, subject
    message.set_content(text)
    return message


@pytest.mark.parametrize("keywords", [(), ("8BITMIME", "SMTPUTF8")], ids="+".join)
def test_h69_a_message_of_ascii_needs_no_extension(
    client: Clients, scripted: Scripted, keywords: tuple[str, ...]
) -> None:
    server = scripted(polite(*keywords))
    with client(server.url()) as session:
        session.send(message_of("hello"))
    assert b"SMTPUTF8" not in server.received[0]


def test_h69_an_address_beyond_ascii_is_not_sent_to_a_server_without_smtputf8(
    client: Clients, scripted: Scripted
) -> None:
    server = scripted(polite("8BITMIME"))
    with client(server.url()) as session, pytest.raises(NotOffered) as refused:
        session.mail_tx(mail("jörg@example.org"))
    assert refused.value.extension == "SMTPUTF8"
    assert b"MAIL" not in server.received[0]


def test_h69_an_address_beyond_ascii_is_sent_with_the_parameter(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("8BITMIME", "SMTPUTF8"))
    with client(server.url()) as session:
        session.mail_tx(mail("jörg@example.org"))
    assert "RCPT TO:<jörg@example.org>".encode() in server.received[0]
    mail_line = next(line for line in server.received[0].split(b"\r\n") if line.startswith(b"MAIL"))
    assert b" SMTPUTF8" in mail_line


def test_h69_a_header_beyond_ascii_is_encoded(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite())
    with client(server.url()) as session:
        session.send(message_of("hello", subject="grüße"))
    assert server.contents[0].isascii()
    assert b"Subject: =?utf-8?" in server.contents[0]


@pytest.mark.parametrize("keywords", [(), ("CHUNKING",)], ids="+".join)
def test_h69a_eight_bits_are_encoded_for_a_server_that_takes_seven(
    client: Clients, scripted: Scripted, keywords: tuple[str, ...]
) -> None:
    server = scripted(polite(*keywords))
    message = message_of("grüße")
    message.replace_header("Content-Transfer-Encoding", "8bit")
    message.set_payload("grüße\n".encode().decode("ascii", "surrogateescape"))
    with client(server.url()) as session:
        session.send(message)
    assert b"".join(server.contents).isascii()
    assert b"BODY=" not in server.received[0]


def test_h69a_eight_bits_of_a_ready_message_are_not_sent_to_a_server_that_takes_seven(
    client: Clients, scripted: Scripted
) -> None:
    server = scripted(polite())
    with client(server.url()) as session, pytest.raises(ClientError):
        session.mail_tx(mail(data=b"Subject: x\r\n\r\n\xff\r\n"))
    assert b"MAIL" not in server.received[0]


def test_a_message_over_the_servers_size_is_not_sent(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("SIZE 100"))
    with client(server.url()) as session, pytest.raises(ClientError):
        session.mail_tx(mail(data=b"x" * 101))
    assert b"MAIL" not in server.received[0]


@pytest.mark.parametrize("message", [None, 5, ["text"]], ids=repr)
def test_what_is_no_message_is_a_type_error(client: Clients, scripted: Scripted, message: Any) -> None:
    server = scripted(polite())
    with client(server.url()) as session, pytest.raises(TypeError):
        session.send(message, mail_from=ANN, recipients=[JOE])
