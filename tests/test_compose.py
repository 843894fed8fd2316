"""The content that is sent of a message, for what a server offers."""

from __future__ import annotations

import copy
import tracemalloc
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpx.compose import Content, Envelope, Sendable, content
from smtpx.errors import NotOffered

TO_JOE = Envelope("ann@example.com", ["joe@example.org"], smtputf8=False)


def sent(message: Sendable, *, eight_bit: bool = True, smtputf8: bool = True, binary: bool = True) -> Content:
    return content(message, TO_JOE, eight_bit=eight_bit, smtputf8=smtputf8, binary=binary)


def octets(message: Sendable, **offered: bool) -> bytes:
    return b"".join(sent(message, **offered).chunks())


def oldest(message: Sendable) -> bytes:
    """What a server gets that offers nothing."""
    data = octets(message, eight_bit=False, smtputf8=False, binary=False)
    assert data.isascii()
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert b"\n" not in data.replace(b"\r\n", b"")
    return data


def read(data: bytes) -> EmailMessage:
    message = message_from_bytes(data, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def text_of(message: EmailMessage, subtype: str = "plain") -> str:
    part = message.get_body((subtype,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def written(text: str = "hello\n", **fields: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = "ann@example.com", "joe@example.org"
    for name, value in fields.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return message


# Octets


def test_octets_that_the_server_can_take_are_not_even_copied() -> None:
    data = b"From: a@b.c\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"
    assert sent(data).data is data


def test_ascii_is_seven_bit() -> None:
    assert sent(b"A: b\r\n\r\nhello\r\n") == Content(
        data=b"A: b\r\n\r\nhello\r\n", size=15, eight_bit=False, binary=False, smtputf8=False
    )


def test_a_body_beyond_ascii_is_eight_bit() -> None:
    found = sent(b"A: b\r\n\r\n\xff\r\n")
    assert (found.eight_bit, found.smtputf8, found.size) == (True, False, 11)


def test_a_header_beyond_ascii_needs_smtputf8() -> None:
    found = sent("Subject: Grüße\r\n\r\nhello\r\n".encode())
    assert (found.eight_bit, found.smtputf8) == (False, True)


def test_h69_a_header_beyond_ascii_is_never_mangled() -> None:
    with pytest.raises(NotOffered, match="header") as refused:
        sent("Subject: Grüße\r\n\r\nhello\r\n".encode(), smtputf8=False)
    assert refused.value.extension == "SMTPUTF8"


def test_h69_an_address_beyond_ascii_needs_smtputf8() -> None:
    envelope = Envelope("ann@example.com", ["joe@example.org", "jörg@example.org"], smtputf8=True)
    with pytest.raises(NotOffered, match=r"jörg@example\.org") as refused:
        content(b"\r\nhello\r\n", envelope, eight_bit=True, smtputf8=False, binary=False)
    assert refused.value.extension == "SMTPUTF8"


def test_an_address_beyond_ascii_asks_for_smtputf8_though_the_header_is_ascii() -> None:
    envelope = Envelope("jörg@example.com", ["joe@example.org"], smtputf8=True)
    assert content(b"\r\nhello\r\n", envelope, eight_bit=True, smtputf8=True, binary=False).smtputf8


def test_a_server_that_takes_smtputf8_takes_eight_bits() -> None:
    data = "Subject: Grüße\r\n\r\nGrüße\r\n".encode()
    assert sent(data, eight_bit=False, binary=False).data is data


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_other_bytes_are_bytes(kind: type[bytearray]) -> None:
    assert sent(kind(b"A: b\r\n\r\nhello\r\n")).data == b"A: b\r\n\r\nhello\r\n"


@pytest.mark.parametrize("data", [b"", b"hello", b"\r\n", b"\n\n\n", b"A: b"])
def test_content_without_header_or_body_goes_as_it_is(data: bytes) -> None:
    assert octets(data) == data


def test_h85_bare_newlines_are_left_to_the_engine() -> None:
    assert octets(b"A: b\n\nhello\rthere\n") == b"A: b\n\nhello\rthere\n"


# Bcc


def test_h87_bcc_in_octets_is_not_sent() -> None:
    data = b"From: a@b.c\r\nBcc: x@y.z,\r\n z@y.x\r\nResent-Bcc: q@r.s\r\nTo: d@e.f\r\n\r\nBcc: body\r\n"
    found = sent(data)
    assert found.data == b"From: a@b.c\r\nTo: d@e.f\r\n\r\nBcc: body\r\n"
    assert found.size == len(found.data)


def test_h87_bcc_in_a_message_object_is_not_sent() -> None:
    data = octets(written(Bcc="secret@example.org", Resent_Bcc="secret@example.org"))
    assert b"secret" not in data
    assert b"bcc" not in data.lower()


def test_h87_bcc_in_a_header_alone_is_not_sent() -> None:
    assert octets(b"Bcc: x@y.z\r\n") == b""


def test_h87_the_bcc_of_an_attached_message_is_its_own() -> None:
    message = written()
    message.add_attachment(written(Bcc="archived@example.org"))
    assert b"Bcc: archived@example.org\r\n" in octets(message)


def test_h87_a_bcc_beyond_ascii_asks_for_nothing() -> None:
    assert not sent("Bcc: jörg@example.org\r\n\r\nhello\r\n".encode(), smtputf8=False).smtputf8


# Message objects


def test_h84_a_message_object_cannot_inject_a_field() -> None:
    message: Message[Any, Any] = MIMEText("hello")
    message["Subject"] = "a\r\nBcc: secret@example.org"
    with pytest.raises(ValueError, match="Subject"):
        sent(message)


def test_h84_an_attached_message_object_cannot_inject_a_field() -> None:
    inner: Message[Any, Any] = MIMEText("hello")
    inner["Subject"] = "a\nb"
    message = MIMEMultipart(_subparts=[inner])
    with pytest.raises(ValueError, match="Subject"):
        sent(message)


@pytest.mark.parametrize("subtype", ["mixed", "signed"])
def test_the_callers_object_is_not_changed(subtype: str) -> None:
    message = written(Bcc="secret@example.org", Subject="Grüße")
    message.add_attachment(b"\0\r\n", "application", "octet-stream", cte="binary")
    attached = EmailMessage()
    attached.make_alternative()
    message.attach(attached)  # neither has a boundary yet
    message.set_type(f"multipart/{subtype}")
    before = copy.deepcopy(message)
    octets(message)
    for part, same in zip(message.walk(), before.walk(), strict=True):
        assert part.items() == same.items()
        assert part.is_multipart() or part.get_payload() == same.get_payload()


def test_a_field_with_a_name_alone_is_written_where_the_envelope_is_given() -> None:
    message = EmailMessage()
    message["To"] = "root, friends: ;"
    assert octets(message) == b"To: root, friends: ;\r\n\r\n"


def test_lines_end_with_crlf_whatever_the_policy() -> None:
    data = oldest(written("one\ntwo\r\nthree\n", Subject="x " * 100))
    assert data.endswith(b"\r\n\r\none\r\ntwo\r\nthree\r\n")


def test_from_at_the_start_of_a_line_is_not_mangled() -> None:
    message: Message[Any, Any] = MIMEText("From here\n")
    assert octets(message).endswith(b"\r\n\r\nFrom here\r\n")


def test_eight_bit_text_is_sent_as_it_is_where_the_server_takes_it() -> None:
    found = sent(written("Grüße\n"))
    assert found.eight_bit
    assert found.data is not None
    assert found.data.endswith("\r\n\r\nGrüße\r\n".encode())


def test_eight_bit_text_is_encoded_for_a_server_that_does_not() -> None:
    data = oldest(written("Grüße\n" * 3))
    assert b"quoted-printable" in data
    assert text_of(read(data)) == "Grüße\n" * 3


def test_names_beyond_ascii_need_no_smtputf8() -> None:
    message = written(Subject="Grüße", Cc="Jörg <joerg@bücher.example>")
    found = sent(message)
    assert not found.smtputf8
    assert b"<joerg@xn--bcher-kva.example>" in octets(message)


def test_a_header_address_beyond_ascii_needs_smtputf8() -> None:
    message = written(Subject="Grüße", Cc="jörg@example.org")
    found = sent(message)
    assert found.smtputf8
    assert found.data is not None
    assert "\r\nCc: jörg@example.org\r\n".encode() in found.data
    with pytest.raises(NotOffered, match="header"):
        sent(message, smtputf8=False)


@pytest.mark.parametrize("text", ["x" * 999, "ä" * 600, "short\n" + "y" * 5000 + "\nshort"])
def test_text_with_a_line_too_long_is_quoted_printable(text: str) -> None:
    message: Message[Any, Any] = Message()
    message["MIME-Version"] = "1.0"
    message["Content-Type"] = "text/plain; charset=utf-8"
    message["Content-Transfer-Encoding"] = "8bit"
    message.set_payload(text.encode().decode("ascii", "surrogateescape"))  # as a parser leaves it
    data = octets(message)
    assert max(map(len, data.split(b"\r\n"))) <= 76
    assert text_of(read(data)) == text


def test_text_with_nul_becomes_base64() -> None:
    message: Message[Any, Any] = MIMEText("a\0b")
    assert b"Content-Transfer-Encoding: base64\r\n" in octets(message)


def test_a_line_of_998_octets_stays() -> None:
    message: Message[Any, Any] = MIMEText("x" * 998 + "\n")
    assert octets(message).endswith(b"\r\n" + b"x" * 998 + b"\r\n")


def test_binary_of_a_message_object_becomes_base64() -> None:
    message = written()
    message.add_attachment(b"\0\r\n\n\xff", "application", "octet-stream", cte="binary")
    part = next(read(octets(message)).iter_attachments())
    assert isinstance(part, EmailMessage)
    assert part["Content-Transfer-Encoding"] == "base64"
    assert part.get_content() == b"\0\r\n\n\xff"


def test_characters_with_a_charset_are_sent_in_it() -> None:
    message: Message[Any, Any] = Message()
    message["Content-Type"] = "text/plain; charset=iso-8859-1"
    message.set_payload("Grüße")  # as message_from_string() leaves it
    assert octets(message).endswith(b"Gr\xfc\xdfe")


@pytest.mark.parametrize("charset", [None, "us-ascii", "no-such-charset"])
def test_characters_without_their_charset_are_refused(charset: str | None) -> None:
    message: Message[Any, Any] = Message()
    message["Content-Type"] = f"text/plain; charset={charset}" if charset else "text/plain"
    message.set_payload("Grüße")
    with pytest.raises(ValueError, match=r"set_content\(\)"):
        sent(message)


def test_a_delivery_status_is_fields_between_empty_lines() -> None:
    data = b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a.b\r\n\r\nStatus: 5.1.1\r\n"
    assert octets(message_from_bytes(data)) == data


def test_parts_under_a_type_that_has_none_are_refused() -> None:
    message: Message[Any, Any] = Message()
    message["Content-Type"] = "text/plain"
    message.attach(MIMEText("x"))
    with pytest.raises(ValueError, match="text/plain"):
        sent(message)


# What is signed


def signed(inner: EmailMessage) -> MIMEMultipart:
    message = MIMEMultipart("signed", protocol="application/pgp-signature")
    message.attach(inner)
    message.attach(MIMEApplication(b"-----", "pgp-signature"))
    return message


def test_a_part_that_is_signed_is_written_as_the_standard_library_does() -> None:
    inner = written("Grüße\n", Subject="Grüße, " * 30)
    assert inner.as_bytes(policy=policy.SMTP.clone(max_line_length=0)) in octets(signed(inner))


def test_h69a_a_signed_part_of_a_message_object_is_never_touched() -> None:
    with pytest.raises(NotOffered, match="signature"):
        sent(signed(written("Grüße\n")), eight_bit=False, smtputf8=False)


def test_a_message_object_with_a_dkim_signature_is_written_as_the_standard_library_does() -> None:
    message = written(Subject="Grüße, " * 30, DKIM_Signature="v=1; b=" + "x" * 200)
    unsent = copy.deepcopy(message)
    message["Bcc"] = "secret@example.org"
    assert octets(message) == unsent.as_bytes(policy=policy.SMTP)


def test_h84_a_signed_message_object_cannot_inject_a_field() -> None:
    inner: Message[Any, Any] = MIMEText("hello")
    inner["Subject"] = "a\r\nb"
    with pytest.raises(ValueError, match="Subject"):
        sent(MIMEMultipart("signed", _subparts=[inner]))


# Round trips: what is read from the wire is what was written

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=200)


@given(
    texts, texts, st.binary(max_size=300), st.text(st.characters(exclude_categories=["C", "Z"]), max_size=80)
)
def test_a_message_comes_back_from_the_oldest_server(text: str, html: str, blob: bytes, subject: str) -> None:
    message = written(text, Subject=subject)
    message.add_alternative(html, subtype="html")
    message.add_attachment(blob, "application", "x-blob", filename="Übersicht.bin")
    message.add_attachment(written("inner " + text, Subject=subject))
    found = read(oldest(message))
    for subtype in ("plain", "html"):
        assert text_of(found, subtype) == text_of(message, subtype)
    first, second = found.iter_attachments()
    assert isinstance(first, EmailMessage)
    assert (first.get_content(), first.get_filename()) == (blob, "Übersicht.bin")
    assert isinstance(second, EmailMessage)
    assert text_of(second.get_content()) == text_of(written("inner " + text))
    assert str(found["Subject"]) == str(message["Subject"])
    assert str(second.get_content()["Subject"]) == str(message["Subject"])


@given(st.lists(st.binary(max_size=60), max_size=4), st.binary(max_size=20), st.booleans(), st.booleans())
def test_the_old_kind_comes_back(bodies: list[bytes], text: bytes, eight_bit: bool, parsed: bool) -> None:
    message: Message[Any, Any] = MIMEMultipart(_subparts=[MIMEApplication(body) for body in bodies])
    message.attach(MIMEText(text.hex() + "ß", "plain", "utf-8"))
    if parsed:
        message = message_from_bytes(bytes(message))
    found = message_from_bytes(octets(message, eight_bit=eight_bit, smtputf8=False))
    leaves = [part.get_payload(decode=True) for part in found.walk() if not part.is_multipart()]
    assert leaves == [*bodies, (text.hex() + "ß").encode()]


# Memory


def test_a_large_message_object_is_held_twice_at_most() -> None:
    message = written()
    message.add_attachment(b"\xff" * 3_000_000, "application", "octet-stream")
    tracemalloc.start()
    try:
        size = sent(message).size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.3 * size  # beside the object, which was there before
