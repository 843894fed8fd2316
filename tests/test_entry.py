"""The envelope that the core writes, against what Python's json makes of the same fields."""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpx.mail import MailTx
from smtpx.session import Session
from smtpx.storage.entry import _check, decode_envelope, encode_envelope, entry_checksum


def plainly_encoded(mail: MailTx) -> bytes:
    def utc_text(moment: datetime | None) -> str | None:
        return None if moment is None else moment.astimezone(UTC).isoformat()

    _check(mail)
    session = mail.session
    fields = {
        "id": mail.id,
        "mail_from": mail.mail_from,
        "params": mail.params,
        "recipients": mail.recipients,
        "rcpt_params": mail.rcpt_params,
        "received": utc_text(mail.received),
        "postpone": utc_text(mail.postpone),
        "retry": mail.retry,
        "session": None if session is None else {name: getattr(session, name) for name in Session.__slots__},
    }
    return json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"


class Text(str):
    __slots__ = ()


class Texts(list[str]):
    """A list, but not list itself."""


class Moment(datetime):
    pass


class Count(IntEnum):
    MANY = 7


ANY_CHARACTER = st.characters(exclude_categories=())  # lone surrogates too
TEXTS = st.text(max_size=12) | st.text(ANY_CHARACTER, max_size=12) | st.text('ab"\\\n\x00\x7fü€𝄞')
ANY_TEXTS = TEXTS | TEXTS.map(Text)
PARAMS = st.dictionaries(ANY_TEXTS, ANY_TEXTS, max_size=3)
ANY_PARAMS = PARAMS | PARAMS.map(OrderedDict)
ZONES = st.sampled_from([UTC, timezone(timedelta(0)), timezone(timedelta(hours=-5, seconds=1))])
# A day from the ends, which no other zone can name.
DATES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=ZONES)
MOMENTS = st.none() | DATES | DATES.map(lambda each: each.replace(microsecond=0))
ANY_MOMENTS = MOMENTS | DATES.map(lambda each: Moment.combine(each.date(), each.timetz()))
NUMBERS = st.integers() | st.sampled_from([0, 1, True, False, 2**63 - 1, 2**63, -(2**63), 10**80, Count.MANY])
SIMPLE = st.none() | st.booleans() | NUMBERS | st.floats() | ANY_TEXTS
FACTS = st.recursive(
    SIMPLE,
    lambda each: (
        st.lists(each, max_size=3) | st.tuples(each, each) | st.dictionaries(SIMPLE, each, max_size=2)
    ),
    max_leaves=8,
)


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    made = Session.__new__(Session)
    for name in Session.__slots__:
        setattr(made, name, draw(FACTS))
    return made


@st.composite
def mails(draw: st.DrawFn) -> MailTx:
    recipients = draw(st.lists(ANY_TEXTS, max_size=3))
    rcpt_params = [draw(ANY_PARAMS) for _ in recipients]
    made = MailTx(
        draw(ANY_TEXTS),
        draw(st.sampled_from([list, Texts, tuple]))(recipients),
        params=draw(ANY_PARAMS),
        rcpt_params=rcpt_params,
        id=draw(ANY_TEXTS),
        received=draw(ANY_MOMENTS),
        postpone=draw(ANY_MOMENTS),
        retry=draw(NUMBERS),
        session=draw(st.none() | sessions()),
    )
    if draw(st.booleans()):
        return made
    wrong = st.none() | st.integers() | TEXTS | st.lists(st.integers() | PARAMS, max_size=2) | PARAMS
    field = draw(st.sampled_from(MailTx.__slots__))
    setattr(made, field, draw(wrong | st.dictionaries(TEXTS, st.integers(), max_size=1)))
    return made


@given(mails())
def test_an_envelope_is_to_the_octet_what_python_writes_and_refused_in_the_same_words(mail: MailTx) -> None:
    expected: bytes | None = None
    words = ""
    try:
        expected = plainly_encoded(mail)
    except TypeError as error:
        words = str(error)
    if expected is not None:
        assert encode_envelope(mail) == expected
    else:
        with pytest.raises(TypeError) as refused:
            encode_envelope(mail)
        assert str(refused.value) == words


def test_an_envelope_is_one_line_of_ascii() -> None:
    session = Session("s1", ("192.0.2.1", 25), "smtp")
    mail = MailTx('"\n"@ü.example', ["joe@𝄞.example"], id="1", session=session)
    mail.received = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    mail.postpone = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert encode_envelope(mail) == (
        b'{"id":"1","mail_from":"\\"\\n\\"@\\u00fc.example","params":{},'
        b'"recipients":["joe@\\ud834\\udd1e.example"],"rcpt_params":[{}],'
        b'"received":"2026-01-02T03:04:05+00:00","postpone":"2026-01-02T03:04:05.000006+00:00","retry":0,'
        b'"session":{"esmtp":false,"helo":"","id":"s1","peer":["192.0.2.1",25],"service":"smtp","tls":false,'
        b'"tls_info":"","user":null}}\n'
    )


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("mail_from", b"a@b.org", "mail_from, a str"),
        ("recipients", [b"joe@example.org"], "recipients, a list of str"),
        ("data", "text", "data, bytes"),
        ("params", {"SIZE": 10}, "params, a dict of str to str"),
        ("params", {1: "10"}, "params, a dict of str to str"),
        ("rcpt_params", [], "rcpt_params, a list with such a dict for each recipient"),
        ("rcpt_params", [{"NOTIFY": None}], "rcpt_params, a list with such a dict for each recipient"),
        ("id", None, "id, a str"),
        ("retry", "0", "retry, an int"),
        ("received", "2026-01-02T03:04:05+00:00", "received, a datetime or None"),
        ("postpone", 0, "postpone, a datetime or None"),
        ("session", "s1", "session, a Session or None"),
    ],
)
def test_a_field_of_another_type_is_named_and_nothing_is_written(
    field: str, value: object, words: str
) -> None:
    mail = MailTx("a@b.org", ["joe@example.org"], b"text", id="1")
    setattr(mail, field, value)
    with pytest.raises(TypeError) as error:
        encode_envelope(mail)
    assert str(error.value) == f"a message cannot be stored without its {words}"


def endless() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


def deep() -> list[Any]:
    made: list[Any] = []
    for _ in range(100_000):
        made = [made]
    return made


@pytest.mark.parametrize(
    ("fact", "error"),
    [(object(), TypeError), (endless(), ValueError), (deep(), RecursionError)],
    ids=["object", "endless", "deep"],
)
def test_a_session_that_json_cannot_write_is_refused_as_json_does(fact: Any, error: type[Exception]) -> None:
    session = Session("s1", "", "smtp")
    session.user = fact
    with pytest.raises(error):
        encode_envelope(MailTx("a@b.org", [], id="1", session=session))


@given(mails().filter(lambda mail: mail.session is None))
def test_what_was_written_is_read_again(mail: MailTx) -> None:
    try:
        envelope = encode_envelope(mail)
    except TypeError:
        return
    assert plainly_encoded(decode_envelope(envelope, mail.data)) == envelope


@given(st.binary(), st.binary(max_size=10_000))
def test_the_checksum_is_the_crc_32_of_zlib(envelope: bytes, content: bytes) -> None:
    assert entry_checksum(envelope, content) == zlib.crc32(envelope + content)
