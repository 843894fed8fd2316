"""The Received line, and counting those that are there."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpx.mail import MailTx
from smtpx.received import count_received, received_line
from smtpx.session import Peer, Session

DATE = datetime(2026, 1, 2, 3, 4, 5, 999999, UTC)


def session(
    *,
    peer: Peer = ("192.0.2.1", 1234),
    helo: str = "client.example",
    esmtp: bool = True,
    tls: bool = False,
    user: str | None = None,
) -> Session:
    made = Session("s1", peer, "smtp")
    made.helo, made.esmtp, made.tls, made.user = helo, esmtp, tls, user
    made.tls_info = "TLSv1.3 TLS_AES_256_GCM_SHA384" if tls else ""
    return made


def line(
    source: Session | None,
    recipients: list[str] | None = None,
    *,
    params: dict[str, str] | None = None,
) -> str:
    recipients = ["joe@example.org"] if recipients is None else recipients
    mail = MailTx("a@b.org", recipients, params=params, session=source, id="17")
    return received_line(mail, "mx.example.org", DATE).decode()


def test_the_line_says_from_by_with_id_for_and_when() -> None:
    assert line(session()) == (
        "Received: from client.example ([192.0.2.1])\r\n"
        " by mx.example.org with ESMTP id 17\r\n"
        " for <joe@example.org>;\r\n"
        " Fri, 02 Jan 2026 03:04:05 +0000\r\n"
    )


def test_an_encrypted_session_names_its_protocol_and_cipher() -> None:
    assert "with ESMTPS id 17 (TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n" in line(session(tls=True))


@pytest.mark.parametrize(
    ("source", "params", "word"),
    [
        (session(esmtp=False), {}, "SMTP"),
        (session(esmtp=False, tls=True), {}, "SMTP"),
        (session(), {}, "ESMTP"),
        (session(tls=True), {}, "ESMTPS"),
        (session(user="joe"), {}, "ESMTPA"),
        (session(tls=True, user="joe"), {}, "ESMTPSA"),
        (session(), {"SMTPUTF8": ""}, "UTF8SMTP"),
        (session(tls=True), {"SMTPUTF8": ""}, "UTF8SMTPS"),
        (session(user="joe"), {"SMTPUTF8": ""}, "UTF8SMTPA"),
        (session(tls=True, user="joe"), {"SMTPUTF8": ""}, "UTF8SMTPSA"),
    ],
)
def test_the_transmission_types_of_rfc_3848_and_rfc_6531(
    source: Session, params: dict[str, str], word: str
) -> None:
    assert f" with {word} id" in line(source, params=params)


@pytest.mark.parametrize(
    ("peer", "literal"),
    [
        (("2001:db8::1", 1), " ([IPv6:2001:db8::1])"),
        (("fe80::1%eth0", 1), " ([IPv6:fe80::1])"),
        (("::ffff:192.0.2.7", 1), " ([192.0.2.7])"),
        ("/run/smtp.sock", ""),
        ("", ""),
        (("no address", 1), ""),
    ],
)
def test_the_peer_is_an_address_literal(peer: Peer, literal: str) -> None:
    assert line(session(peer=peer)).startswith(f"Received: from client.example{literal}\r\n by")


def test_without_a_session_it_says_by_whom_only() -> None:
    assert line(None).startswith("Received: by mx.example.org with SMTP id 17\r\n for")


def test_the_user_who_logged_in_is_not_named() -> None:
    assert "secret-name" not in line(session(user="secret-name"))


def test_several_recipients_are_not_shown_to_each_other() -> None:
    shown = line(session(), ["joe@example.org", "blind@example.org"])
    assert "joe@" not in shown
    assert "blind@" not in shown


def test_an_address_in_utf8_is_shown_in_a_utf8_message_only() -> None:
    assert "for <jörg@example.org>" in line(session(), ["jörg@example.org"], params={"SMTPUTF8": ""})
    assert " for " not in line(session(), ["jörg@example.org"])


@pytest.mark.parametrize(
    "helo",
    ["a\r\nX-Injected: 1", "a\0b", "a) with (b", "a;b", "a b", "ü.example", "", "x" * 5000, "<a@b>", '"'],
)
def test_h28_whatever_the_client_calls_itself_stays_one_word(helo: str) -> None:
    head = line(session(helo=helo)).split("\r\n")[0]
    assert head.count(" ") == 3  # Received: from WORD ([192.0.2.1])
    assert head.isascii()
    assert len(head) < 400
    assert not set(head.split(" ")[2]) & set('\0\n\r()<>;"')


@pytest.mark.parametrize("helo", ["[192.0.2.1]", "[IPv6:::1]", "host_name", "localhost", "a-b.example"])
def test_an_ordinary_name_is_kept(helo: str) -> None:
    assert f"from {helo} (" in line(session(helo=helo))


TEXT = st.text(max_size=60)


@given(TEXT, TEXT, TEXT, TEXT)
def test_h28_no_text_adds_a_line_or_a_header(helo: str, recipient: str, info: str, name: str) -> None:
    source = session(helo=helo, tls=True)
    source.tls_info = info
    mail = MailTx("a@b.org", [recipient], session=source, params={"SMTPUTF8": ""}, id=name)
    octets = received_line(mail, helo, DATE)
    assert (
        octets.count(b"\r\n") == octets.count(b"\n") == octets.count(b"\r") == 3 + octets.count(b"\r\n for <")
    )
    parsed = email.message_from_bytes(octets + b"\r\nbody", policy=email.policy.compat32)
    assert list(parsed.keys()) == ["Received"]
    assert max(map(len, octets.split(b"\r\n"))) < 998


def test_an_address_too_long_for_a_header_line_is_left_out() -> None:
    assert " for " not in line(session(), ["x" * 1000 + "@example.org"])


# Counting


def test_received_lines_are_counted_in_any_case_and_folded() -> None:
    data = b"Received: a\r\n by b\r\nRECEIVED: c\r\nreceived : d\r\nX-Received: no\r\nSubject: x\r\n\r\nbody"
    assert count_received(data) == 3


def test_the_body_is_not_counted() -> None:
    assert count_received(b"Subject: x\r\n\r\nReceived: a\r\n") == 0
    assert count_received(b"\r\nReceived: a\r\n") == 0


def test_a_message_of_headers_alone_is_counted() -> None:
    assert count_received(b"Received: a\r\n" * 101) == 101
    assert count_received(b"") == 0


def test_our_own_line_counts() -> None:
    mail = MailTx("a@b.org", ["joe@example.org"], session=session(), id="1")
    assert count_received(received_line(mail, "mx", DATE) * 3 + b"\r\n") == 3


def test_a_header_without_end_is_looked_at_for_256_kib_only() -> None:
    data = b"X: x\r\n" * 50_000 + b"Received: a\r\n"
    assert count_received(data) == 0
