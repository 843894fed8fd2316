"""The envelope that a message's header names, or that is given."""

from __future__ import annotations

import io
from email import message_from_bytes
from email.header import Header
from email.message import EmailMessage, Message
from email.mime.text import MIMEText
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpx import AddressError, parse_path
from smtpx.compose import Envelope, Sendable, envelope, source
from smtpx.mime import render

if TYPE_CHECKING:
    from pathlib import Path


def header(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\nhello\r\n"


def both(message: Sendable) -> tuple[str, list[str]]:
    found = envelope(message)
    return found.mail_from, found.recipients


# Where it comes from


def test_sender_and_recipients_are_from_to_cc_and_bcc() -> None:
    message = EmailMessage()
    message["From"] = "Ann <ann@example.com>"
    message["To"] = "Joe <joe@example.org>, bob@example.org"
    message["Cc"] = "carol@example.org"
    message["Bcc"] = "dave@example.org"
    assert both(message) == (
        "ann@example.com",
        ["joe@example.org", "bob@example.org", "carol@example.org", "dave@example.org"],
    )


def test_sender_comes_before_from() -> None:
    message = header(
        "From: ann@example.com, bob@example.com", "Sender: ann@example.com", "To: joe@example.org"
    )
    assert both(message)[0] == "ann@example.com"


def test_several_authors_without_a_sender_are_refused() -> None:
    with pytest.raises(ValueError, match=r"more than one address.*Sender"):
        envelope(header("From: ann@example.com, bob@example.com", "To: joe@example.org"))


def test_no_author_is_refused() -> None:
    with pytest.raises(ValueError, match="mail_from="):
        envelope(header("To: joe@example.org"))


def test_no_recipient_is_refused() -> None:
    with pytest.raises(ValueError, match="recipients="):
        envelope(header("From: ann@example.com", "To: undisclosed-recipients:;"))


@pytest.mark.parametrize("recipients", [[], ()])
def test_an_empty_list_of_recipients_is_refused(recipients: list[str]) -> None:
    with pytest.raises(ValueError, match="no recipient"):
        envelope(header("From: ann@example.com", "To: joe@example.org"), recipients=recipients)


def test_the_members_of_a_group_are_recipients() -> None:
    message = header(
        "From: ann@example.com", "To: friends: joe@example.org, Bob <bob@example.org>;, c@example.org"
    )
    assert both(message)[1] == ["joe@example.org", "bob@example.org", "c@example.org"]


def test_every_to_field_counts() -> None:
    message = header("From: ann@example.com", "To: joe@example.org", "To: bob@example.org")
    assert both(message)[1] == ["joe@example.org", "bob@example.org"]


def test_what_is_given_wins_over_the_header() -> None:
    message = header("From: ann@example.com", "To: joe@example.org")
    assert envelope(message, "list@example.net", ["bob@example.net"]) == Envelope(
        "list@example.net", ["bob@example.net"], smtputf8=False
    )


def test_one_recipient_may_be_a_str() -> None:
    assert envelope(b"\r\n", "ann@example.com", "joe@example.org").recipients == ["joe@example.org"]


def test_the_null_path_can_be_given() -> None:
    assert envelope(header("From: ann@example.com", "To: joe@example.org"), "").mail_from == ""


def test_an_envelope_that_is_given_needs_no_header() -> None:
    assert envelope(b"no header at all", "", ["joe@example.org"]).recipients == ["joe@example.org"]


def test_postmaster_needs_no_domain() -> None:
    assert envelope(b"", "", ["Postmaster"]).recipients == ["Postmaster"]


# Resent messages


def test_a_resent_message_goes_to_whom_it_is_resent() -> None:
    message = header(
        "Resent-From: carol@example.com",
        "Resent-To: dave@example.org",
        "Resent-Bcc: eve@example.org",
        "From: ann@example.com",
        "To: joe@example.org",
    )
    assert both(message) == ("carol@example.com", ["dave@example.org", "eve@example.org"])


def test_resent_sender_comes_before_resent_from() -> None:
    message = header(
        "Resent-From: a@example.com", "Resent-Sender: b@example.com", "Resent-To: joe@example.org"
    )
    assert both(message)[0] == "b@example.com"


def test_of_several_resendings_the_first_in_the_header_is_the_latest() -> None:
    message = header(
        "Resent-From: new@example.com",
        "Resent-To: new@example.org",
        "Resent-From: old@example.com",
        "Resent-To: old@example.org",
        "Resent-Cc: old.cc@example.org",
    )
    assert both(message) == ("new@example.com", ["new@example.org"])


def test_a_trace_field_ends_the_fields_of_a_resending() -> None:
    message = header(
        "Resent-From: new@example.com",
        "Resent-To: new@example.org",
        "Received: from a by b; Thu, 1 Jan 1970 00:00:00 +0000",
        "Resent-Cc: old@example.org",
        "Resent-From: old@example.com",
    )
    assert both(message)[1] == ["new@example.org"]


def test_other_fields_do_not_end_a_resending() -> None:
    message = message_from_bytes(header("From: ann@example.com", "To: joe@example.org"))
    message["Resent-From"] = "carol@example.com"
    message["X-Note"] = "between"
    message["Resent-To"] = "dave@example.org"
    assert both(message) == ("carol@example.com", ["dave@example.org"])


# What an address becomes


def test_a_recipient_named_twice_is_one() -> None:
    message = header(
        "From: a@example.com", "To: joe@example.org, Joe <joe@EXAMPLE.org>", "Cc: joe@example.org"
    )
    assert both(message)[1] == ["joe@example.org"]


def test_local_parts_that_differ_in_case_are_two() -> None:
    assert envelope(b"", "", ["Joe@example.org", "joe@example.org"]).recipients == [
        "Joe@example.org",
        "joe@example.org",
    ]


def test_u_label_and_a_label_are_one_domain() -> None:
    assert envelope(b"", "", ["joe@bücher.example", "joe@xn--bcher-kva.example"]).recipients == [
        "joe@xn--bcher-kva.example"
    ]


def test_a_domain_beyond_ascii_becomes_a_labels_and_needs_no_smtputf8() -> None:
    found = envelope(header("From: ann@straße.example", "To: joe@bücher.example"))
    assert found == Envelope("ann@xn--strae-oqa.example", ["joe@xn--bcher-kva.example"], smtputf8=False)


@pytest.mark.parametrize(
    ("mail_from", "recipient"), [("jörg@a.org", "joe@b.org"), ("ann@a.org", "jörg@b.org")]
)
def test_a_local_part_beyond_ascii_needs_smtputf8(mail_from: str, recipient: str) -> None:
    assert envelope(b"", mail_from, [recipient]) == Envelope(mail_from, [recipient], smtputf8=True)


def test_a_local_part_beyond_ascii_keeps_its_domain() -> None:
    assert envelope(b"", "", ["jörg@bücher.example"]).recipients == ["jörg@bücher.example"]


def test_a_raw_utf8_header_gives_its_addresses() -> None:
    assert both(header("From: jörg@example.com", "To: Jörg <jörg@bücher.example>")) == (
        "jörg@example.com",
        ["jörg@bücher.example"],
    )


@pytest.mark.parametrize(
    "local", ['"a b"', '"a@b"', '"a\\"b"', '"a\\\\b"', '"a>b"', '"a,b"', '"<>"', '"a..b"', '""']
)
def test_a_quoted_local_part_stays_quoted(local: str) -> None:
    address = f"{local}@example.org"
    assert envelope(header("From: ann@example.com", f"To: Joe <{address}>")).recipients == [address]
    assert parse_path(f"<{address}>") == address


def test_needless_quotes_are_taken_off() -> None:
    assert both(header("From: ann@example.com", 'To: "joe"@example.org'))[1] == ["joe@example.org"]


@pytest.mark.parametrize(
    "line",
    [
        "To: joe",
        "To: Doe, Joe <joe@example.org>",
        "To: joe@exa mple.org",
        "To: joe@-example.org",
        "To: joe@example..org",
        "To: joe@\u2603.example",
        "To: joe@",
    ],
)
def test_an_address_that_is_none_is_refused_with_its_field(line: str) -> None:
    with pytest.raises(AddressError, match=r"^To: "):
        envelope(header("From: ann@example.com", line))


@pytest.mark.parametrize(
    "address", ["joe", "", "<joe@example.org>", "Joe <joe@example.org>", "a@b.org, c@d.org", '"joe"']
)
def test_a_recipient_that_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(AddressError, match="no address"):
        envelope(b"", "", [address])


@pytest.mark.parametrize("char", ["\r", "\n", "\r\n", "\0"])
@pytest.mark.parametrize(
    "where", ["{}joe@example.org", "jo{}e@example.org", "joe@exam{}ple.org", "joe@example.org{}"]
)
def test_h84_a_line_end_or_nul_in_an_address_is_refused(char: str, where: str) -> None:
    address = where.format(char)
    with pytest.raises(AddressError):
        envelope(b"", address, ["joe@example.org"])
    with pytest.raises(AddressError):
        envelope(b"", "ann@example.com", [address])


def test_h84_half_a_character_in_an_address_is_refused() -> None:
    with pytest.raises(AddressError):
        envelope(b"", "", ["j\udce9@example.org"])


@given(st.lists(st.text(max_size=40), max_size=3), st.none() | st.text(max_size=40))
def test_whatever_is_given_it_is_refused_or_goes_on_the_wire(
    recipients: list[str], mail_from: str | None
) -> None:
    try:
        found = envelope(header("From: ann@example.com"), mail_from, recipients)
    except ValueError:
        return
    for address in (found.mail_from, *found.recipients):
        assert parse_path(f"<{address}>") == address
        assert not set(address) & set("\r\n\0")


# What a message may be


def test_a_field_that_was_set_to_a_list_of_str() -> None:
    message = EmailMessage()
    message["From"] = "ann@example.com"
    message["To"] = ["Jöe <joe@example.org>", "bob@example.org"]
    assert envelope(message).recipients == ["joe@example.org", "bob@example.org"]
    assert b"To: =?utf-8?b?SsO2ZQ==?= <joe@example.org>, bob@example.org\r\n" in render(message)


def test_a_mime_message_of_the_old_kind() -> None:
    message: Message[Any, Any] = MIMEText("hello")
    message["From"] = Header("Jörg <joerg@example.com>", "utf-8")  # the name of an old habit: all in one word
    message["To"] = "Jöe <joe@example.org>"
    assert envelope(message, "joerg@example.com").recipients == ["joe@example.org"]


def test_a_header_object_keeps_its_comma_in_the_name() -> None:
    message: Message[Any, Any] = Message()
    name = Header("Müller, Jan", "utf-8")
    name.append("<jan@example.com>", "us-ascii")
    message["From"] = name
    message["To"] = "joe@example.org"
    assert both(message)[0] == "jan@example.com"


def test_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mail.eml"
    path.write_bytes(header("From: ann@example.com", "To: joe@example.org"))
    assert both(path) == ("ann@example.com", ["joe@example.org"])


def test_a_file_is_read_from_where_it_stands() -> None:
    file = io.BytesIO(b"skipped" + header("From: ann@example.com", "To: joe@example.org"))
    file.seek(7)
    assert both(source(file)) == ("ann@example.com", ["joe@example.org"])


@pytest.mark.parametrize("newline", [b"\n", b"\r", b"\r\n"])
def test_lines_may_end_in_any_way(newline: bytes) -> None:
    message = header("From: ann@example.com", "To: joe@example.org,", " bob@example.org").replace(
        b"\r\n", newline
    )
    assert both(message + b"To: body@example.org") == (
        "ann@example.com",
        ["joe@example.org", "bob@example.org"],
    )


def test_an_address_in_the_body_is_no_recipient() -> None:
    assert both(header("From: a@example.com", "To: b@example.org") + b"\r\nBcc: c@example.org\r\n")[1] == [
        "b@example.org"
    ]


@pytest.mark.parametrize("message", ["From: a@b.org", 7, None, io.StringIO("From: a@b.org")])
def test_what_is_no_message_is_a_type_error(message: Sendable) -> None:
    with pytest.raises(TypeError, match="EmailMessage, bytes, a Path or a binary file"):
        envelope(message)
