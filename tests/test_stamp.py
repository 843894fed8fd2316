"""What is put on top of a message in a mailbox."""

from __future__ import annotations

import pytest
from smtpx.mail import MailTx
from smtpx.stamp import stamped, was_delivered_to


def mail(data: bytes, sender: str = "a@b.org", **params: str) -> MailTx:
    return MailTx(sender, ["joe@example.org"], data, params=params)


def test_a_message_gets_return_path_and_delivered_to_and_lf() -> None:
    assert stamped(mail(b"Subject: x\r\n\r\nhi\r\n"), "joe@example.org") == (
        b"Return-Path: <a@b.org>\nDelivered-To: joe@example.org\nSubject: x\n\nhi\n"
    )


def test_the_null_reverse_path_is_shown_as_such() -> None:
    assert stamped(mail(b"\r\nhi\r\n", ""), "joe@example.org").startswith(b"Return-Path: <>\n")


def test_there_is_one_return_path_the_envelopes() -> None:
    data = (
        b"A: 1\r\nReturn-Path: <x@evil>\r\n folded\r\nB: 2\r\nRETURN-PATH : <y>\r\n\r\nReturn-Path: body\r\n"
    )
    assert stamped(mail(data), "joe@example.org") == (
        b"Return-Path: <a@b.org>\nDelivered-To: joe@example.org\nA: 1\nB: 2\n\nReturn-Path: body\n"
    )


def test_a_message_without_a_header_gets_one() -> None:
    assert stamped(mail(b"\r\nhi\r\n"), "j@e.org") == b"Return-Path: <a@b.org>\nDelivered-To: j@e.org\n\nhi\n"


def test_what_is_binary_keeps_its_octets() -> None:
    data = b"Subject: x\r\n\r\n\x00\r\n\xff\n"
    kept = stamped(mail(data, BODY="BINARYMIME"), "joe@example.org")
    assert kept == b"Return-Path: <a@b.org>\r\nDelivered-To: joe@example.org\r\n" + data


def test_8_bit_content_and_internationalised_addresses_are_utf_8() -> None:
    kept = stamped(mail("Subject: ü\r\n\r\nß\r\n".encode(), "jürgen@b.org"), "jörg@example.org")
    expected = "Return-Path: <jürgen@b.org>\nDelivered-To: jörg@example.org\nSubject: ü\n\nß\n"
    assert kept == expected.encode()


def test_no_address_makes_a_header() -> None:
    kept = stamped(mail(b"\r\n", "a\r\nBcc: x@b.org"), "joe\n\n@example.org")
    assert kept.count(b"\n") == 3


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b"Delivered-To: joe@example.org\r\n", True),
        (b"A: 1\r\nDELIVERED-TO:<JOE@Example.org>\r\n", True),
        (b"Delivered-To: joe+x@example.org\r\n", False),
        (b"Delivered-To: ann@example.org\r\n", False),
        (b"X-Delivered-To: joe@example.org\r\n", False),
        (b"A: 1\r\n\r\nDelivered-To: joe@example.org\r\n", False),
    ],
)
def test_h73_a_message_that_has_been_in_this_mailbox_is_known(header: bytes, found: bool) -> None:
    assert was_delivered_to(mail(header + b"\r\nhi\r\n"), "joe@example.org") is found
