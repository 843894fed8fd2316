"""What a submission is given and loses, and that nothing else of it is touched."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from smtpx.submission import completed

DATE = b"Date: Mon, 04 May 2026 12:30:00 +0000\r\n"
MESSAGE_ID = b"Message-ID: <1-2-3@mx.example.org>\r\n"


def complete(data: bytes, host: str = "mx.example.org") -> bytes:
    return completed(data, id="1-2-3", host=host, date=datetime(2026, 5, 4, 12, 30, tzinfo=UTC))


def test_what_is_whole_stays_the_same_object() -> None:
    data = b"date : x\r\nMESSAGE-id:\r\n <y@z>\r\nSubject:  odd \t\r\n\r\nBcc: not a field\r\n"
    assert complete(data) is data


@pytest.mark.parametrize(
    ("header", "added"),
    [
        (b"Subject: x\r\n", DATE + MESSAGE_ID),
        (b"Date: x\r\n", MESSAGE_ID),
        (b"Message-ID: <x@y>\r\n", DATE),
        (b"X-Date: x\r\nX: y\r\n date: folded\r\nResent-Date: z\r\n", DATE + MESSAGE_ID),
        (b"", DATE + MESSAGE_ID),
    ],
)
def test_a_missing_date_and_message_id_are_added(header: bytes, added: bytes) -> None:
    rest = header + b"\r\nDate: of the body\r\n"
    assert complete(rest) == added + rest


@pytest.mark.parametrize(
    "field",
    [
        b"Bcc: a@b\r\n",
        b"bCC \t: a@b,\r\n\tc@d,\r\n e@f\r\n",
        b"BCC:\r\n",
        b"Resent-Bcc: a@b\r\n",
        b"Bcc: a@b\r\nbcc: c@d\r\n",
    ],
)
@pytest.mark.parametrize("before", [b"", b"To: x@y\r\n"])
@pytest.mark.parametrize("behind", [b"", b"X-Bcc: stays\r\n"])
def test_blind_copies_are_taken_out(field: bytes, before: bytes, behind: bytes) -> None:
    whole = DATE + MESSAGE_ID
    body = b"\r\nBcc: of the body\r\n"
    assert complete(before + field + behind + whole + body) == before + behind + whole + body


def test_text_without_a_header_does_not_become_one() -> None:
    assert complete(b"just text\r\n") == DATE + MESSAGE_ID + b"\r\njust text\r\n"


def test_a_header_without_a_body_stays_one() -> None:
    assert complete(b"Subject: x\r\n") == DATE + MESSAGE_ID + b"Subject: x\r\n"


def test_a_host_beyond_ascii_makes_an_ascii_message_id() -> None:
    assert b"Message-ID: <1-2-3@xn--bcher-kva.example>\r\n" in complete(b"\r\n", "bücher.example")
