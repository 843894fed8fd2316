"""The Received line, and counting those that are there."""

from __future__ import annotations

import email
import email.policy
import ipaddress
import re
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpx.folding import on_the_wire
from smtpx.handover import fit
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


def test_a_domain_beyond_ascii_is_shown_as_a_labels_and_so_the_line_needs_no_smtputf8_further_on() -> None:
    shown = line(session(), ["joe@bücher.example"], params={"SMTPUTF8": ""})
    assert "for <joe@xn--bcher-kva.example>" in shown
    assert fit(MailTx("a@b.org", ["joe@xn--bcher-kva.example"], shown.encode()), {"8BITMIME"}).refused == {}


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


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        (UTC, "Thu, 29 Feb 2024 23:59:59 +0000"),
        (timezone(timedelta(0)), "Thu, 29 Feb 2024 23:59:59 +0000"),
        (timezone(timedelta(hours=5, minutes=30)), "Thu, 29 Feb 2024 23:59:59 +0530"),
        (timezone(timedelta(hours=-8)), "Thu, 29 Feb 2024 23:59:59 -0800"),
        (None, "Thu, 29 Feb 2024 23:59:59 -0000"),
    ],
)
def test_the_date_is_of_the_zone_that_it_came_with(zone: timezone | None, text: str) -> None:
    date = datetime(2024, 2, 29, 23, 59, 59, 1, zone)
    assert received_line(MailTx("", []), "mx", date).endswith(f";\r\n {text}\r\n".encode())


def plain_line(mail: MailTx, by: str, date: datetime) -> bytes:
    """The same line, as Python makes it."""
    lines = [f"by {plain_word(by)} with {plain_protocol(mail)} id {plain_word(mail.id)}"]
    session = mail.session
    if session is not None:
        literal = "" if isinstance(session.peer, str) else plain_literal(session.peer[0])
        lines.insert(0, f"from {plain_word(session.helo)}{literal}")
        if session.tls_info:
            lines[-1] += f" ({re.sub('[^A-Za-z0-9._ -]', '_', session.tls_info)[:255]})"
    if len(mail.recipients) == 1:
        path = on_the_wire(mail.recipients[0])
        shown = path.isascii() or "SMTPUTF8" in mail.params
        if shown and len(path) <= 900 and not re.search(r"[\x00-\x1f\x7f]", path):
            lines.append(f"for <{path}>")
    trace = "\r\n ".join(lines)
    return f"Received: {trace};\r\n {format_datetime(date)}\r\n".encode()


def plain_word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._:\[\]-]", "_", text)[:255] or "unknown"


def plain_protocol(mail: MailTx) -> str:
    source = mail.session
    if source is None or not source.esmtp:
        return "SMTP"
    name = "UTF8SMTP" if "SMTPUTF8" in mail.params else "ESMTP"
    return f"{name}{'S' if source.tls else ''}{'A' if source.user is not None else ''}"


def plain_literal(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return f" ([{address}])" if address.version == 4 else f" ([IPv6:{address}])"


ANY_TEXT = TEXT | st.text(st.characters(exclude_categories=())) | st.text("aü[]€", min_size=250, max_size=260)
SCOPES = st.sampled_from(["", "%eth0", "%", "/64", " "])
HOSTS = st.ip_addresses().map(str) | st.text("0123456789abcdef:.%", max_size=40) | ANY_TEXT
MAPPED = st.ip_addresses(v=4).map(lambda each: f"::ffff:{each}")
GROUPS = st.lists(st.sampled_from(["0", "0", "1", "00f0", "F", ""]), min_size=6, max_size=9).map(":".join)
PEERS = st.builds(lambda host, scope: (host + scope, 25), HOSTS | MAPPED | GROUPS, SCOPES) | TEXT
PATHS = ANY_TEXT | st.text("jö", min_size=898, max_size=903)
DATES = st.datetimes(
    timezones=st.none()
    | st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
    | st.just(UTC)
)


@st.composite
def sources(draw: st.DrawFn) -> Session:
    made = session(peer=draw(PEERS), helo=draw(ANY_TEXT), esmtp=draw(st.booleans()), tls=draw(st.booleans()))
    made.user, made.tls_info = draw(st.none() | TEXT), draw(ANY_TEXT)
    return made


@given(
    st.none() | sources(),
    st.lists(PATHS, max_size=2),
    ANY_TEXT,
    ANY_TEXT,
    st.sampled_from([{}, {"SMTPUTF8": ""}]),
    DATES,
)
def test_every_line_is_to_the_octet_what_python_makes(
    source: Session | None, recipients: list[str], by: str, name: str, params: dict[str, str], date: datetime
) -> None:
    mail = MailTx("", recipients, params=params, session=source, id=name)
    try:
        expected = plain_line(mail, by, date)
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            received_line(mail, by, date)
    else:
        assert received_line(mail, by, date) == expected


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


def plain_count(data: bytes) -> int:
    """The same number, as a regular expression finds it."""
    if data.startswith(b"\r\n"):
        return 0
    end = data.find(b"\r\n\r\n", 0, 256 * 1024)
    field = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)
    return sum(1 for _ in field.finditer(data, 0, min(len(data), 256 * 1024) if end < 0 else end))


PIECES = [b"\r\n", b"\n", b"\r", b"received", b"Received:", b"RECEIVED", b" ", b"\t", b":", b"x", b"\0\xff"]


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=5), max_size=40).map(b"".join))
def test_every_count_is_what_a_regular_expression_finds(data: bytes) -> None:
    assert count_received(data) == plain_count(data)


@pytest.mark.parametrize("tail", [b"\r\nReceived: a\r\n\r\nReceived: b\r\n", b"\nreceived \t:"])
def test_a_header_that_ends_about_256_kib_is_counted_to_there(tail: bytes) -> None:
    for short in range(len(tail) + 3):
        data = b"x" * (256 * 1024 - short) + tail
        assert count_received(data) == plain_count(data)
