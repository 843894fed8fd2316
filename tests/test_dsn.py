"""Delivery status notifications: who is told what, and that nothing of it can be forged or broken."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import SMTP, strict
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpx._core import Response
from smtpx.dsn import double_bounce, report
from smtpx.mail import MailTx
from smtpx.outcome import Outcome
from smtpx.result import RecipientResult

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
UNTIL = NOW + timedelta(days=5)
GONE = RecipientResult(Outcome.PERMANENT, Response(550, "5.1.1 No such user"), "mx.b.example")
LATE = RecipientResult(Outcome.TEMPORARY, Response(451, "4.3.0 Later"), "mx.b.example")
TAKEN = RecipientResult(Outcome.ACCEPTED, Response(250, "2.0.0 OK"), "mx.b.example")
HERE = RecipientResult(Outcome.ACCEPTED, Response(250, "2.1.5 In the mailbox"))
ORIGINAL = b"From: joe@example.org\r\nMessage-ID: <1@example.org>\r\nSubject: x\r\n\r\nthe body\r\n"


def mail(data: bytes = ORIGINAL, sender: str = "joe@example.org", **arguments: Any) -> MailTx:
    recipients = arguments.pop("recipients", ["ann@b.example"])
    return MailTx(sender, recipients, data, received=NOW - timedelta(hours=4), **arguments)


def notice(original: MailTx, *results: RecipientResult, lists: tuple[str, ...] = ()) -> MailTx | None:
    outcomes = dict(zip(original.recipients, results, strict=True))
    return report(original, outcomes, host="mx.example.org", now=NOW, id="1-2-3", until=UNTIL, lists=lists)


def told(original: MailTx, *results: RecipientResult, lists: tuple[str, ...] = ()) -> EmailMessage:
    """The notification, which there must be, as a strict reader sees it."""
    made = notice(original, *results, lists=lists)
    assert made is not None
    return read(made.data)


def read(data: bytes) -> EmailMessage:
    message = message_from_bytes(data, policy=strict.clone(linesep="\r\n"))
    assert isinstance(message, EmailMessage)
    return message


def part(message: EmailMessage, number: int) -> Any:
    parts: Any = message.get_payload()
    return parts[number]


def fields(message: EmailMessage) -> list[dict[str, str]]:
    """The fields of message/delivery-status: those of the message, then those of each recipient."""
    blocks: list[Message] = part(message, 1).get_payload()
    return [{name: str(value) for name, value in block.items()} for block in blocks]


def text(message: EmailMessage) -> str:
    """The part for people, its lines joined."""
    return re.sub(r"\s+", " ", part(message, 0).get_content())


# The envelope and the header


def test_the_envelope_asks_for_no_answer() -> None:
    made = notice(mail(), GONE)
    assert made is not None
    assert (made.mail_from, made.recipients, made.rcpt_params) == (
        "",
        ["joe@example.org"],
        [{"NOTIFY": "NEVER"}],
    )
    assert (made.id, made.received, made.params) == ("1-2-3", NOW, {})


def test_the_header_says_what_it_is() -> None:
    message = told(mail(), GONE)
    assert message["From"] == "Mail Delivery System <MAILER-DAEMON@mx.example.org>"
    assert message["To"] == "joe@example.org"
    assert message["Subject"] == "Undelivered mail"
    assert message["Date"].datetime == NOW
    assert message["Message-ID"] == "<1-2-3@mx.example.org>"
    assert message["In-Reply-To"] == message["References"] == "<1@example.org>"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"


@pytest.mark.parametrize(
    "header",
    [b"", b"Message-ID: none\r\n", b"Message-ID: <a\x01b>\r\n", b"X: y\r\n\r\nMessage-ID: <a@b>\r\n"],
)
def test_a_message_without_a_message_id_is_not_referred_to(header: bytes) -> None:
    made = notice(mail(header + b"\r\nbody\r\n"), GONE)
    assert made is not None
    assert b"In-Reply-To" not in made.data


# Who is told what


@pytest.mark.parametrize("result", [GONE, LATE, TAKEN, HERE])
@pytest.mark.parametrize("notify", [None, "SUCCESS,FAILURE,DELAY"])
def test_h72_nothing_is_sent_to_the_null_reverse_path(result: RecipientResult, notify: str | None) -> None:
    params = [{} if notify is None else {"NOTIFY": notify}]
    assert notice(mail(sender="", rcpt_params=params), result) is None


@pytest.mark.parametrize(
    ("notify", "answered"),
    [
        (None, "failed delayed"),
        ("NEVER", ""),
        ("FAILURE", "failed"),
        ("DELAY", "delayed"),
        ("SUCCESS", "relayed delivered"),
        ("success,failure", "failed relayed delivered"),
        ("no such word", "failed delayed"),
    ],
)
def test_notify_says_of_what_the_sender_hears(notify: str | None, answered: str) -> None:
    of = {"failed": GONE, "delayed": LATE, "relayed": TAKEN, "delivered": HERE}
    params = [{} if notify is None else {"NOTIFY": notify}]
    heard = [name for name, result in of.items() if notice(mail(rcpt_params=params), result) is not None]
    assert heard == answered.split()


def test_the_next_host_that_reports_itself_is_not_forestalled() -> None:
    taken = RecipientResult(Outcome.ACCEPTED, TAKEN.response, TAKEN.remote, reports=True)
    assert notice(mail(rcpt_params=[{"NOTIFY": "SUCCESS"}]), taken) is None


def test_h80_one_notification_reports_the_recipients_that_failed_and_no_others() -> None:
    original = mail(recipients=["ann@b.example", "bob@b.example", "eve@b.example"])
    _, *groups = fields(told(original, GONE, TAKEN, GONE))
    assert [group["Final-Recipient"] for group in groups] == [
        "rfc822; ann@b.example",
        "rfc822; eve@b.example",
    ]


@pytest.mark.parametrize(
    ("result", "lists", "action", "status"),
    [
        (GONE, (), "failed", "5.1.1"),
        (RecipientResult(Outcome.PERMANENT, Response(554, "no")), (), "failed", "5.0.0"),
        (RecipientResult(Outcome.PERMANENT, Response(550, "4.4.1 no")), (), "failed", "5.0.0"),
        (RecipientResult(Outcome.PERMANENT, Response(451, "4.4.1 time out")), (), "failed", "4.4.7"),
        (RecipientResult(Outcome.PERMANENT), (), "failed", "5.0.0"),
        (LATE, (), "delayed", "4.3.0"),
        (RecipientResult(Outcome.UNKNOWN), (), "delayed", "4.0.0"),
        (TAKEN, (), "relayed", "2.0.0"),
        (HERE, (), "delivered", "2.1.5"),
        (HERE, ("ann@b.example",), "expanded", "2.1.5"),
    ],
)
def test_an_outcome_has_its_action_and_status(
    result: RecipientResult, lists: tuple[str, ...], action: str, status: str
) -> None:
    original = mail(rcpt_params=[{"NOTIFY": "SUCCESS,FAILURE,DELAY"}])
    group = fields(told(original, result, lists=lists))[1]
    assert (group["Action"], group["Status"]) == (action, status)


# The part for programs


def test_the_fields_of_a_failure() -> None:
    original = mail(params={"ENVID": "QQ+2B7"}, rcpt_params=[{"ORCPT": "rfc822;an+2Bn@x.example"}])
    assert fields(told(original, GONE)) == [
        {
            "Reporting-MTA": "dns; mx.example.org",
            "Original-Envelope-Id": "QQ+7",
            "Arrival-Date": "Mon, 04 May 2026 08:30:00 +0000",
        },
        {
            "Original-Recipient": "rfc822; an+n@x.example",
            "Final-Recipient": "rfc822; ann@b.example",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx.b.example",
            "Diagnostic-Code": "smtp; 550 5.1.1 No such user",
            "Last-Attempt-Date": "Mon, 04 May 2026 12:30:00 +0000",
        },
    ]


def test_a_delay_says_until_when_it_is_tried() -> None:
    message = told(mail(), LATE)
    assert fields(message)[1]["Will-Retry-Until"] == "Sat, 09 May 2026 12:30:00 +0000"
    assert "need not send it again: we keep trying until Sat, 09 May" in text(message)


def test_an_answer_of_our_own_is_not_called_smtp() -> None:
    result = RecipientResult(Outcome.PERMANENT, Response(550, "5.1.1 No such mailbox here"))
    group = fields(told(mail(), result))[1]
    assert group["Diagnostic-Code"] == "x-smtpx; 550 5.1.1 No such mailbox here"
    assert "Remote-MTA" not in group


def test_each_line_of_a_reply_is_told() -> None:
    result = RecipientResult(Outcome.PERMANENT, Response(550, "5.1.1 No", ["5.1.1 such"]), "mx.b.example")
    assert fields(told(mail(), result))[1]["Diagnostic-Code"] == "smtp; 550-5.1.1 No 550 5.1.1 such"


@pytest.mark.parametrize("name", ["ENVID", "ORCPT", "NOTIFY"])
@pytest.mark.parametrize("value", ["a+0D+0AX: y", "a\r\nX: y", "+", "rfc822;a+0D+0AX: y@b"])
def test_parameters_that_no_session_lets_through_count_as_absent(name: str, value: str) -> None:
    message = told(mail(params={name: value}, rcpt_params=[{name: value}]), GONE)
    assert {"Original-Envelope-Id", "Original-Recipient", "X"}.isdisjoint(chain(*fields(message)))


# The part for people


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        ("550 5.1.1 x", "Look for a typing error"),
        ("552 5.2.2 x", "The mailbox is full"),
        ("552 5.3.4 x", "too large"),
        ("550 5.7.1 x", "by its rules"),
        ("451 4.4.1 x", "in all that time"),
        ("554 x", "show this message to postmaster@mx.example.org"),
    ],
)
def test_a_failure_says_what_to_do(reply: str, advice: str) -> None:
    response = Response(int(reply[:3]), reply[4:])
    said = text(told(mail(), RecipientResult(Outcome.PERMANENT, response, "mx.b.example")))
    assert f"ann@b.example mx.b.example said: {reply}" in said
    assert advice in said


# The original


def test_the_header_of_the_original_comes_back() -> None:
    returned = part(told(mail(), GONE), 2)
    assert returned.get_content_type() == "text/rfc822-headers"
    assert returned.get_content().encode() == ORIGINAL.partition(b"\r\nthe body")[0]


def test_ret_full_brings_the_whole_original_back() -> None:
    returned = part(told(mail(params={"RET": "FULL"}), GONE), 2)
    assert returned.get_content_type() == "message/rfc822"
    assert returned.get_content().as_bytes(policy=SMTP) == ORIGINAL


@pytest.mark.parametrize(
    ("result", "data"),
    [
        (LATE, ORIGINAL),  # RFC 3461 4.3: RET is about failures
        (GONE, ORIGINAL + b"x" * 999 + b"\r\n"),
        (GONE, ORIGINAL + b"bare\n"),
        (GONE, ORIGINAL + b"\0\r\n"),
        (GONE, ORIGINAL + b"line\r\n" * 50_000),
    ],
)
def test_ret_full_is_the_header_alone_of_what_cannot_pass_or_is_large(
    result: RecipientResult, data: bytes
) -> None:
    returned = part(told(mail(data, params={"RET": "FULL"}), result), 2)
    assert returned.get_content_type() == "text/rfc822-headers"


def test_the_header_of_the_original_is_cut_at_the_end_of_a_line() -> None:
    made = notice(mail(b"X: 0123456\r\n" * 10_000 + b"\r\n"), GONE)
    assert made is not None
    assert len(made.data) < 70_000
    assert b"X: 0123456\r\n\r\n--" in made.data


def test_the_original_cannot_end_its_part() -> None:
    first = notice(mail(), GONE)
    assert first is not None
    message = told(mail(first.data, params={"RET": "FULL"}), GONE)
    assert [each.get_content_type() for each in message.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "message/rfc822",
    ]


# Beyond ASCII


def test_an_8_bit_original_makes_an_8_bit_notification() -> None:
    made = notice(mail(ORIGINAL + "é\r\n".encode("latin-1"), params={"RET": "FULL"}), GONE)
    assert made is not None
    assert made.params == {"BODY": "8BITMIME"}
    message = read(made.data)
    encodings = [each["Content-Transfer-Encoding"] for each in (message, *message.iter_parts())]
    assert encodings == ["8bit", "7bit", "7bit", "8bit"]


def test_an_8_bit_header_that_is_not_utf_8_is_quoted() -> None:
    made = notice(mail(b"Subject: \xe9\r\n\r\n"), GONE)
    assert made is not None
    assert made.data.isascii()
    returned = part(read(made.data), 2)
    assert returned.get_content_type() == "text/rfc822-headers"
    assert returned.get_payload(decode=True) == b"Subject: \xe9\r\n\r\n"


def test_h69_who_sent_by_smtputf8_gets_utf_8_back() -> None:
    original = mail(
        "Subject: é\r\n\r\n".encode(),
        sender="jö@example.org",
        recipients=["änn@b.example"],
        params={"SMTPUTF8": "", "RET": "FULL"},
        rcpt_params=[{"ORCPT": r"utf-8;\x{E4}nn@b.example"}],
    )
    made = notice(original, GONE)
    assert made is not None
    assert made.params == {"BODY": "8BITMIME", "SMTPUTF8": ""}
    assert [each.get_content_type() for each in read(made.data).iter_parts()] == [
        "text/plain",
        "message/global-delivery-status",
        "message/global",
    ]
    assert "To: <jö@example.org>\r\n".encode() in made.data
    assert "Original-Recipient: utf-8; änn@b.example\r\n".encode() in made.data
    assert "Final-Recipient: utf-8; änn@b.example\r\n".encode() in made.data
    original.params = {"SMTPUTF8": ""}
    made = notice(original, GONE)
    assert made is not None
    assert part(read(made.data), 2).get_content_type() == "message/global-headers"


def test_h69_who_did_not_gets_a_recipient_beyond_ascii_spelled_out() -> None:
    original = mail(recipients=["änn@b.example"])
    assert fields(told(original, GONE))[1]["Final-Recipient"] == r"utf-8; \x{E4}nn@b.example"


# Double bounces


def doubled(recipients: list[str], *results: RecipientResult, sender: str = "") -> MailTx | None:
    original = mail(sender=sender, recipients=recipients, rcpt_params=[{"NOTIFY": "NEVER"}] * len(recipients))
    return double_bounce(
        original,
        dict(zip(recipients, results, strict=True)),
        host="mx.example.org",
        now=NOW,
        id="1-2-3",
        postmaster="postmaster@example.org",
        members=["root@example.org"],
    )


def test_a_notification_that_fails_is_told_to_the_postmaster() -> None:
    made = doubled(["ann@b.example"], GONE)
    assert made is not None
    assert (made.mail_from, made.recipients) == ("", ["postmaster@example.org"])
    message = read(made.data)
    assert "a message that has no sender" in text(message)
    assert fields(message)[1]["Final-Recipient"] == "rfc822; ann@b.example"


@pytest.mark.parametrize(
    "recipient", ["postmaster@example.org", "PostMaster@EXAMPLE.org", "Root@example.org"]
)
def test_a_notice_to_the_postmaster_that_fails_is_told_to_nobody(recipient: str) -> None:
    assert doubled([recipient], GONE) is None


def test_only_a_failure_for_good_of_a_message_without_a_sender_is_a_double_bounce() -> None:
    assert doubled(["ann@b.example"], LATE) is None
    assert doubled(["ann@b.example"], HERE) is None
    assert doubled(["ann@b.example"], GONE, sender="joe@example.org") is None


# Whatever comes in

ANY_TEXT = st.text(st.characters(), max_size=60) | st.sampled_from(
    ["a\r\nX: y", "a\r\n\r\n--=_1-2-3--\r\n", "\x1b[2J", "x" * 5000, "é" * 2000, "\u202e", "\ud800", "+0D+0A"]
)
REPLY_TEXT = ANY_TEXT.map(lambda each: re.sub(r"[\0\r\n\ud800-\udfff]", " ", each))
REPLIES = st.builds(Response, st.sampled_from([250, 451, 550]), REPLY_TEXT, st.lists(REPLY_TEXT, max_size=3))
RESULTS = st.builds(RecipientResult, st.sampled_from(Outcome), st.none() | REPLIES, ANY_TEXT)
PARAMS = st.dictionaries(
    st.sampled_from(["ENVID", "ORCPT", "NOTIFY", "RET", "SMTPUTF8"]), ANY_TEXT, max_size=4
)
WELL_FORMED = st.lists(REPLY_TEXT.map(lambda each: f"X: {each[:90]}\r\n"), max_size=3).map(
    lambda lines: "".join(lines).encode() + b"\r\nbody\r\n"
)
ALLOWED = {
    "Original-Recipient",
    "Final-Recipient",
    "Action",
    "Status",
    "Remote-MTA",
    "Diagnostic-Code",
    "Last-Attempt-Date",
    "Will-Retry-Until",
}


@st.composite
def cases(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> tuple[MailTx, list[RecipientResult]]:
    recipients = draw(st.lists(ANY_TEXT, min_size=1, max_size=3, unique=True))
    params = [draw(PARAMS) for _ in recipients]
    whole = draw(st.sampled_from([{}, {"RET": "FULL"}, {"SMTPUTF8": ""}, {"RET": "FULL", "SMTPUTF8": ""}]))
    sender = draw(ANY_TEXT.filter(bool))
    made = mail(
        draw(originals), sender, recipients=recipients, params={**draw(PARAMS), **whole}, rcpt_params=params
    )
    return made, [draw(RESULTS) for _ in recipients]


@given(cases(WELL_FORMED))
def test_h81_a_notification_is_well_formed_whatever_it_tells(
    case: tuple[MailTx, list[RecipientResult]],
) -> None:
    made = notice(case[0], *case[1])
    if made is None:
        return
    message = read(made.data)  # which raises at any defect
    assert [name for name in message if name not in ("In-Reply-To", "References")] == [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    ]
    assert len(part(message, 0).get_content()) < 20_000
    status = part(message, 1)
    if status.get_content_type() == "message/delivery-status":
        for group in status.get_payload()[1:]:
            assert set(group.keys()) <= ALLOWED
            assert len(group.keys()) == len(set(group.keys()))


@given(cases(st.binary(max_size=300) | st.sampled_from([b"x" * 2000, b"\xff\r\n", b"a: \0\r\n", b"\r\r\n"])))
def test_h69a_a_notification_passes_whatever_the_original_is(
    case: tuple[MailTx, list[RecipientResult]],
) -> None:
    made = notice(case[0], *case[1])
    if made is None:
        return
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0|[^\r\n]{999}", made.data)
    header, _, body = made.data.partition(b"\r\n\r\n")
    assert (body.isascii(), header.isascii()) == ("BODY" not in made.params, "SMTPUTF8" not in made.params)
    header.decode()  # as UTF-8
    message = message_from_bytes(made.data, policy=SMTP)
    assert [*message.defects, *part_defects(message)] == []


def part_defects(message: Message) -> list[Any]:
    """The defects of the three parts themselves, not of an original that is within one."""
    parts: Any = message.get_payload()
    assert len(parts) == 3
    return [defect for each in parts for defect in each.defects]
